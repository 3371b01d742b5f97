//! A subscriber with its session state, which checks each message as it comes: a gap in a stream is
//! a message that was lost or overtaken.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use outpost_protocol::{
    Connect, Disconnect, Packet, PacketId, Properties, ProtocolVersion, PubAck, PubComp, PubRec,
    QoS, ReasonCode, Subscribe, SubscribeFilters,
};
use outpost_tests::{Link, Publish, Received, filter, v5};

use crate::draw::Draw;
use crate::publisher::{KEEP, Publisher};
use crate::stage::Stage;
use crate::stream::{END, Numbers, Stream};

/// Packets that one who flaps takes in one connection, at the most.
const FLAP_PACKETS_MAX: u64 = 600;

/// When a subscriber is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Whenever the broker is there.
    Stays,
    /// In few lives of many: a long queue gathers meanwhile.
    Away,
    /// It comes and goes, with and without a word, and with messages it has not acknowledged.
    Flaps,
}

impl Habit {
    fn suits(self, life: u32) -> bool {
        self != Self::Away || life % 20 >= 16
    }
}

/// A durable session.
pub struct Subscriber {
    client_id: &'static str,
    version: ProtocolVersion,
    filters: &'static [&'static str],
    habit: Habit,
    draw: Draw,
    /// QoS 2 messages that have come and are not released.
    unreleased: BTreeSet<PacketId>,
    streams: Streams,
    /// Packets of the connection that brought the most.
    pub packets_most: u64,
    has_ended: bool,
}

/// What has come.
enum Streams {
    /// Every message of each stream: one more than the highest number.
    Own(Numbers),
    /// Some of them, the rest goes to others.
    Shared { share: Share, last: Numbers },
}

/// What all members of a shared subscription have got.
#[derive(Clone, Default)]
pub struct Share(Arc<Mutex<BTreeMap<Stream, BTreeSet<u32>>>>);

impl Share {
    /// Checks that all messages have come to one or another member.
    pub fn check_complete(&self, publisher: &Publisher) {
        let seen = self.lock();
        for (stream, count) in publisher.streams("s") {
            let missing: Vec<u32> = (0..count).filter(|n| !seen[stream].contains(n)).collect();
            assert!(missing.is_empty(), "{stream:?}: lost: {missing:?}");
        }
    }

    /// Whether it is the first of its number.
    fn insert(&self, stream: &Stream, number: u32) -> bool {
        self.lock().entry(stream.clone()).or_default().insert(number)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Stream, BTreeSet<u32>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscriber {
    pub fn new(
        client_id: &'static str,
        version: ProtocolVersion,
        filters: &'static [&'static str],
        habit: Habit,
        draw: Draw,
    ) -> Self {
        Self {
            client_id,
            version,
            filters,
            habit,
            draw,
            unreleased: BTreeSet::new(),
            streams: Streams::Own(Numbers::new()),
            packets_most: 0,
            has_ended: false,
        }
    }

    /// As a member of a shared subscription.
    pub fn of(self, share: &Share) -> Self {
        let streams = Streams::Shared { share: share.clone(), last: Numbers::new() };
        Self { streams, ..self }
    }

    /// Makes the session.
    pub fn subscribe(&mut self, stage: &Stage) {
        let (mut link, _) = self.connect(stage).expect("the broker is there");
        let filters: Vec<_> = self.filters.iter().chain(&[END]).collect();
        let filters: Vec<_> = filters.iter().map(|name| filter(name, QoS::ExactlyOnce)).collect();
        link.put(&Packet::Subscribe(Subscribe {
            packet_id: PacketId::MIN,
            properties: Properties::EMPTY,
            filters: SubscribeFilters::List(&filters),
        }));
        let received = link.next_packet().expect("the broker is there");
        let Received::SubAck(suback) = received else { panic!("{received:?}") };
        assert!(suback.reasons.iter().all(|&reason| reason as u8 == 2), "{suback:?}");
    }

    /// Receives by its habit until the last message.
    pub fn run(&mut self, stage: &Stage) {
        while let Some(life) = stage.wait_for_life(|life| self.habit.suits(life)) {
            match self.live(stage) {
                Some(()) if self.has_ended => return,
                Some(()) => {}
                None => stage.expect_killed(life),
            }
        }
    }

    /// One connection; nothing when it is lost.
    fn live(&mut self, stage: &Stage) -> Option<()> {
        let (mut link, session_present) = self.connect(stage)?;
        assert!(session_present, "{}: session lost", self.client_id);
        let packets_max = match self.habit {
            Habit::Flaps => 1 + self.draw.below(FLAP_PACKETS_MAX),
            Habit::Stays | Habit::Away => u64::MAX,
        };
        let mut packets = 0;
        while !(self.has_ended && self.unreleased.is_empty()) {
            if packets >= packets_max && !stage.is_last() {
                return self.go(link);
            }
            let received = link.next_packet()?;
            self.handle(&mut link, stage, received);
            packets += 1;
            self.packets_most = self.packets_most.max(packets);
        }
        self.expect_nothing(link)
    }

    fn connect(&self, stage: &Stage) -> Option<(Link, bool)> {
        let is_v5 = self.version == ProtocolVersion::V5;
        let properties = if is_v5 { Properties::list(&KEEP) } else { Properties::EMPTY };
        let connect =
            Connect { version: self.version, clean_start: false, properties, ..v5(self.client_id) };
        let (link, connack) = Link::connect(stage.address, &connect)?;
        Some((link, connack.session_present))
    }

    /// Leaves: with DISCONNECT, or cut with acknowledgements that were never sent.
    fn go(&mut self, mut link: Link) -> Option<()> {
        if self.draw.one_in(2) {
            link.put(&Packet::Disconnect(Disconnect::new(ReasonCode::Success)));
            link.flush()?;
        }
        Some(())
    }

    fn handle(&mut self, link: &mut Link, stage: &Stage, received: Received) {
        match received {
            Received::Publish(publish) => {
                stage.received();
                self.handle_publish(link, &publish);
            }
            Received::PubRel(release) => {
                self.unreleased.remove(&release.packet_id);
                link.put(&Packet::PubComp(PubComp::success(release.packet_id)));
            }
            other => panic!("{}: {other:?}", self.client_id),
        }
    }

    fn handle_publish(&mut self, link: &mut Link, publish: &Publish) {
        let id = publish.id();
        match publish.qos {
            QoS::AtMostOnce => panic!("{}: {publish:?}", self.client_id),
            QoS::AtLeastOnce => link.put(&Packet::PubAck(PubAck::success(id))),
            QoS::ExactlyOnce => link.put(&Packet::PubRec(PubRec::success(id))),
        }
        let is_new = publish.qos == QoS::AtLeastOnce || self.unreleased.insert(id);
        if is_new && publish.topic == END {
            self.has_ended = true;
        } else if is_new {
            let (stream, number) = Stream::of(publish);
            self.streams.record(self.client_id, &stream, number);
        }
    }

    /// Nothing comes after the end of all flows.
    fn expect_nothing(&self, mut link: Link) -> Option<()> {
        link.put(&Packet::PingReq);
        let received = link.next_packet()?;
        assert_eq!(received, Received::PingResp, "{}: after the end", self.client_id);
        Some(())
    }

    /// Checks that all messages of a publisher have come.
    pub fn check_complete(&self, publisher: &Publisher, kinds: &[&str]) {
        let Streams::Own(next) = &self.streams else { panic!("{} shares", self.client_id) };
        for (stream, count) in kinds.iter().flat_map(|kind| publisher.streams(kind)) {
            assert_eq!(next.get(stream), Some(&count), "{}: {stream:?}", self.client_id);
        }
    }
}

impl Streams {
    /// Takes account of a message. QoS 1 may come again, QoS 2 may not.
    fn record(&mut self, who: &str, stream: &Stream, number: u32) {
        let is_qos_2 = stream.qos == QoS::ExactlyOnce;
        match self {
            Self::Own(next) => {
                let next = next.entry(stream.clone()).or_default();
                assert!(number <= *next, "{who}: {stream:?}: {number} comes, {next} was lost");
                let is_new = number == *next;
                assert!(is_new || !is_qos_2, "{who}: {stream:?}: {number} came twice");
                *next += u32::from(is_new);
            }
            Self::Shared { share, last } => {
                let is_new = share.insert(stream, number);
                assert!(is_new || !is_qos_2, "{who}: {stream:?}: {number} came twice");
                // QoS 1: what came to the one and was sent again after a kill may go to the other.
                let before = last.insert(stream.clone(), number);
                let is_later = before.is_none_or(|before| before < number);
                assert!(is_later || !is_qos_2, "{who}: {stream:?}: {number} after {before:?}");
            }
        }
    }
}
