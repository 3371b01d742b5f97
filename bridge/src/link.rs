//! One link while it lasts: moves bytes between the two connections and the relay. The clock and the
//! sockets are here, the decisions in `relay.rs`.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use outpost_protocol::{Disconnect, Packet, Properties, ProtocolVersion, Publish, QoS, ReasonCode};
use tokio::time::{Instant, sleep_until, timeout};

use crate::connect::BoxedStream;
use crate::end::MqttEnd;
use crate::gather::Gather;
use crate::link_error::LinkError;
use crate::output::{Output, Outputs};
use crate::relay::Relay;
use crate::side::{PerSide, Side};
use crate::turns::Turn;

/// What has to be written when a link ends may take this long.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// How far away a deadline is that does not exist.
const NEVER: Duration = Duration::from_secs(24 * 3600);

/// Milliseconds since the bridge was started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    pub(crate) fn now_ms(self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).expect("no program runs that long")
    }

    fn at(self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }
}

/// Two connections and the relay between them.
pub(crate) struct Link {
    pub(crate) ends: PerSide<MqttEnd<BoxedStream>>,
    pub(crate) outputs: Outputs,
    pub(crate) relay: Relay,
    /// Of what is written to the remote broker.
    pub(crate) gather: Gather,
    pub(crate) clock: Clock,
    /// Among the links that share the way.
    pub(crate) turn: Turn,
    /// The topic by which the remote broker is told whether the link is up.
    pub(crate) notification: Option<String>,
}

/// Tells whether the link is up.
pub(crate) fn notify(topic: &str, state: &[u8], version: ProtocolVersion, out: &mut Output) {
    let publish = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: true,
        topic,
        packet_id: None,
        properties: Properties::EMPTY,
        payload: state,
    };
    Packet::Publish(publish).encode(version, out).expect("an output grows, and the topic is short");
}

/// What one round of reading and writing moved.
#[derive(Default)]
struct Moved {
    read: PerSide<bool>,
    written: PerSide<bool>,
}

impl Link {
    /// Relays until the link ends. `observe` is called after each burst. It is safe to drop the
    /// future: nothing is lost between two polls.
    pub(crate) async fn run(&mut self, mut observe: impl FnMut(&mut Relay)) -> LinkError {
        let mut timer = pin!(sleep_until(Instant::now()));
        let mut others = self.turn.others();
        loop {
            let taken = self.take_packets(others.go_first());
            let now_ms = self.clock.now_ms();
            self.relay.note_outputs(now_ms, &self.outputs);
            self.gather.note(self.outputs.remote.len(), now_ms);
            observe(&mut self.relay);
            if let Err(error) = taken {
                return error;
            }
            let deadlines_ms = [self.relay.deadline_ms(), self.gather.deadline_ms(now_ms)];
            let deadline = deadlines_ms
                .into_iter()
                .flatten()
                .min()
                .map_or_else(|| Instant::now() + NEVER, |ms| self.clock.at(ms));
            // A deadline that has moved away is found out when the old one is reached, so that a
            // busy link does not touch the timer.
            if timer.is_elapsed() || deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
            let round = tokio::select! {
                moved = self.exchange() => moved.map(|moved| self.note_moved(&moved)),
                () = others.changed() => Ok(()),
                () = timer.as_mut() => {
                    self.relay.handle_timeout(self.clock.now_ms(), &mut self.outputs)
                }
            };
            if let Err(error) = round {
                return error;
            }
        }
    }

    /// Writes what still waits, such as acknowledgements that have come from the other end, and
    /// DISCONNECT, to the ends that still work.
    pub(crate) async fn close(&mut self, failed: Option<Side>) {
        for side in Side::BOTH.into_iter().filter(|&side| Some(side) != failed) {
            let version = self.relay.version(side);
            if let Some(topic) = self.notification.as_ref().filter(|_| side == Side::Remote) {
                notify(topic, b"0", version, &mut self.outputs[side]);
            }
            let disconnect =
                Disconnect { reason: ReasonCode::Success, properties: Properties::EMPTY };
            let out = &mut self.outputs[side];
            Packet::Disconnect(disconnect).encode(version, out).expect("an output grows");
        }
        let goodbye = poll_fn(|cx| {
            let done = Side::BOTH.map(|side| Some(side) == failed || self.poll_close(side, cx));
            if done == [true, true] { Poll::Ready(()) } else { Poll::Pending }
        });
        // Who takes no bytes any more is left behind.
        let _ = timeout(CLOSE_LIMIT, goodbye).await;
    }

    /// Whether this end is closed, or as good as that.
    fn poll_close(&mut self, side: Side, cx: &mut Context<'_>) -> bool {
        let (end, out) = (&mut self.ends[side], &mut self.outputs[side]);
        match end.poll_write(out, cx) {
            Err(_) => true,
            Ok(_) if out.is_empty() && end.is_flushed() => end.poll_shutdown(cx).is_ready(),
            Ok(_) => false,
        }
    }

    /// Hands the packets that have been read to the relay, as far as it takes them. What one end
    /// brings may be what lets the other end be read, hence the loop.
    fn take_packets(&mut self, yields: bool) -> Result<(), LinkError> {
        let now_ms = self.clock.now_ms();
        self.relay.yield_to_others(yields, now_ms, &mut self.outputs)?;
        loop {
            let local = self.take_packets_from(Side::Local, now_ms)?;
            let remote = self.take_packets_from(Side::Remote, now_ms)?;
            if !local && !remote {
                return Ok(());
            }
        }
    }

    /// True where there were any.
    fn take_packets_from(&mut self, side: Side, now_ms: u64) -> Result<bool, LinkError> {
        let mut any = false;
        while self.relay.may_read(side, &self.outputs) {
            let Some((packet, len)) = self.ends[side].next_packet()? else { break };
            self.relay.handle_packet(side, &packet, now_ms, &mut self.outputs)?;
            self.ends[side].consume(len);
            any = true;
        }
        Ok(any)
    }

    /// Writes and reads until something has moved.
    async fn exchange(&mut self) -> Result<Moved, LinkError> {
        poll_fn(|cx| self.poll_exchange(cx)).await
    }

    fn poll_exchange(&mut self, cx: &mut Context<'_>) -> Poll<Result<Moved, LinkError>> {
        let mut moved = Moved::default();
        for side in Side::BOTH {
            if self.may_write(side) {
                moved.written[side] = self.ends[side].poll_write(&mut self.outputs[side], cx)?;
            }
        }
        let is_taken = self.outputs.remote.is_empty() && self.ends.remote.is_flushed();
        self.turn.note(!is_taken && self.may_write(Side::Remote));
        for side in Side::BOTH {
            if self.relay.may_read(side, &self.outputs)
                && let Poll::Ready(read) = self.ends[side].poll_read(cx)
            {
                read?;
                moved.read[side] = true;
            }
        }
        let any = Side::BOTH.into_iter().any(|side| moved.written[side] || moved.read[side]);
        if any { Poll::Ready(Ok(moved)) } else { Poll::Pending }
    }

    /// What the stream has begun to send goes on.
    fn may_write(&self, side: Side) -> bool {
        side == Side::Local
            || !self.ends[side].is_flushed()
            || self.gather.is_due(self.clock.now_ms())
    }

    fn note_moved(&mut self, moved: &Moved) {
        let now_ms = self.clock.now_ms();
        for side in Side::BOTH {
            if moved.read[side] {
                self.relay.handle_received(side, now_ms);
            }
            if moved.written[side] {
                self.relay.handle_written(side, now_ms);
            }
        }
    }
}
