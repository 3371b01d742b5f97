//! The future of a connection, polled by hand over a pipe in memory: what it does with a wake-up, and
//! what it keeps while its client reads nothing.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use outpost_bridge::peering::Features;
use outpost_protocol::{
    Connect, Properties, Property, Publish, QoS, Subscribe, SubscribeFilter, SubscribeFilters,
    SubscriptionOptions,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, DuplexStream, ReadBuf};

use super::*;
use crate::core::limits::Limits;
use crate::core::{Broker, CommitPolicy, Peer, Settings};
use crate::net::clock::Clock;
use crate::store::BatchSource;

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A connection, the waker of its task, and its client's end of the pipe.
struct Served {
    connection: Connection,
    woken: Arc<Flag>,
    client: DuplexStream,
}

fn shared() -> Arc<Shared> {
    let clock = Clock::start();
    let settings = Settings {
        limits: Limits { inflight_max: 1_000, ..Limits::default() },
        commit: CommitPolicy::default(),
        topic_classes: Vec::new(),
        queues: Vec::new(),
        sys_interval_s: 0,
        features: Features::default(),
        version: "test",
        seed: 1,
    };
    Shared::new(Broker::new(clock.now(), settings), clock)
}

/// A client with a durable session that is connected to the core alone: nobody takes its outputs.
fn connect(shared: &Arc<Shared>, client_id: &str) -> ConnId {
    let connect = Connect {
        version: ProtocolVersion::V5,
        bridge: false,
        clean_start: true,
        keep_alive_s: 0,
        properties: Properties::list(&[Property::SessionExpiryInterval(60)]),
        client_id,
        will: None,
        user_name: None,
        password: None,
    };
    let peer = Peer { address: "test".into(), user_name: None, is_internal: false };
    shared.enter(None, |core| core.broker.handle_connect(core.now, peer, &connect, &[]))
}

/// A client that is subscribed to `#` at QoS 1, with its CONNACK still to be written. No SUBACK before a
/// commit.
fn serve(shared: &Arc<Shared>, client_id: &str, pipe_bytes: usize) -> Served {
    let id = connect(shared, client_id);
    let options = SubscriptionOptions::new(QoS::AtLeastOnce);
    let subscribe = Subscribe {
        packet_id: outpost_protocol::PacketId::new(1).unwrap(),
        properties: Properties::EMPTY,
        filters: SubscribeFilters::List(&[SubscribeFilter { filter: "#", options }]),
    };
    let options = shared.enter(None, |core| {
        core.broker.handle_packet(core.now, id, &Packet::Subscribe(subscribe));
        core.broker.encoder_options(id).unwrap()
    });
    let (client, stream) = tokio::io::duplex(pipe_bytes);
    let connection = Connection::new(
        Stream::Internal(Box::new(stream)),
        shared.clone(),
        id,
        Encoder::new(options),
        ProtocolVersion::V5,
        1 << 20,
        Vec::new(),
    );
    Served { connection, woken: Arc::default(), client }
}

/// A message of another client.
fn publish(shared: &Arc<Shared>, publisher: ConnId, payload: &[u8], qos: QoS, packet_id: u16) {
    let publish = Publish {
        dup: false,
        qos,
        retain: false,
        topic: "t",
        packet_id: outpost_protocol::PacketId::new(packet_id),
        properties: Properties::EMPTY,
        payload,
    };
    let handled = shared.enter(None, |core| {
        core.broker.handle_packet(core.now, publisher, &Packet::Publish(publish))
    });
    assert_eq!(handled, Handled::Done);
}

impl Served {
    /// Polls the task once, as a runtime does that was told to.
    fn poll(&mut self) -> Poll<io::Result<()>> {
        self.woken.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(self.woken.clone());
        self.connection.poll(&mut Context::from_waker(&waker))
    }

    fn is_woken(&self) -> bool {
        self.woken.0.load(Ordering::SeqCst)
    }

    fn send(&mut self, bytes: &[u8]) {
        let mut cx = Context::from_waker(Waker::noop());
        let sent = Pin::new(&mut self.client).poll_write(&mut cx, bytes);
        assert!(matches!(sent, Poll::Ready(Ok(n)) if n == bytes.len()), "{sent:?}");
    }

    /// What has come to the client so far.
    fn received(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 1 << 20];
        let mut buffer = ReadBuf::new(&mut bytes);
        let mut cx = Context::from_waker(Waker::noop());
        let _ = Pin::new(&mut self.client).poll_read(&mut cx, &mut buffer);
        let len = buffer.filled().len();
        bytes.truncate(len);
        bytes
    }
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// A task that was woken for a message found the next part of a large packet instead, and forgot
/// that the core no longer had its waker: the client got nothing more before its packet was whole.
#[test]
fn a_large_packet_on_its_way_holds_no_delivery_up() {
    let shared = shared();
    let publisher = connect(&shared, "publisher");
    let mut served = serve(&shared, "subscriber", 256 * 1024);
    // A PUBLISH of 100,000 bytes begins; more than the half of a read has come.
    let mut begun = vec![0x30, 0xA0, 0x8D, 0x06, 0, 1, b't', 0];
    begun.resize(READ_BYTES * 3 / 4, b'x');
    served.send(&begun);
    assert!(served.poll().is_pending());
    served.received();

    publish(&shared, publisher, b"first", QoS::AtMostOnce, 0);
    assert!(served.is_woken());
    served.send(&[b'x'; 100]);
    assert!(served.poll().is_pending());
    assert!(has(&served.received(), b"first"));

    publish(&shared, publisher, b"second", QoS::AtMostOnce, 0);
    assert!(served.is_woken(), "the core has the waker again");
}

/// The socket had no room when the core was asked, and had room right after it: nobody would have
/// asked again.
#[test]
fn what_the_core_has_while_the_socket_is_full_is_not_forgotten() {
    let shared = shared();
    let mut served = serve(&shared, "c", 64 * 1024);
    assert!(served.poll().is_pending());
    let waker = Waker::noop();
    let mut cx = Context::from_waker(waker);
    let ping = [(Packet::PingReq, 2)];
    let burst = served.connection.enter(&mut cx, &ping, None, 2, false);
    assert!(burst.has_more);
    let burst = served.connection.enter(&mut cx, &[], None, 0, true);
    assert!(!burst.has_more);
}

/// All of a window was encoded for a client that read nothing of it, for each such client anew.
#[test]
fn a_client_that_reads_nothing_costs_no_copies_of_its_messages() {
    let shared = shared();
    let publisher = connect(&shared, "publisher");
    let mut served = serve(&shared, "subscriber", 1024);
    let payload = vec![b'x'; 10_000];
    for packet_id in 1..=500 {
        publish(&shared, publisher, &payload, QoS::AtLeastOnce, packet_id);
    }
    for _ in 0..3 {
        assert!(served.poll().is_pending());
    }
    let kept = served.connection.unwritten.capacity();
    assert!(kept <= WRITE_BYTES * 2 + payload.len(), "{kept} bytes");
    // And all of them come as it reads.
    let (mut received, mut messages) = (Vec::new(), 0);
    while messages < 500 {
        received.extend(served.received());
        while let Ok(Some((packet, len))) = decode(&received, ProtocolVersion::V5, 1 << 20) {
            messages += usize::from(matches!(packet, Packet::Publish(_)));
            received.drain(..len);
        }
        assert!(served.poll().is_pending());
    }
}

/// Only what waited for the socket was counted: SUBSCRIBE after SUBSCRIBE came in while the store was
/// busy, and their answers gathered without a bound.
#[test]
fn a_client_that_outruns_the_store_is_not_read() {
    let shared = shared();
    let mut served = serve(&shared, "c", 32 * 1024);
    let subscribe = [0x82, 7, 0, 1, 0, 0, 1, b'#', 1];
    let flood = subscribe.repeat(10_000);
    let mut cx = Context::from_waker(Waker::noop());
    let mut sent = 0;
    while sent < 4 << 20 {
        let rest = &flood[sent % subscribe.len()..];
        match Pin::new(&mut served.client).poll_write(&mut cx, rest) {
            Poll::Ready(written) => sent += written.unwrap(),
            Poll::Pending => break,
        }
        assert!(served.poll().is_pending());
    }
    let answers_max = Limits::default().output_bytes_max as usize / 32;
    let taken = sent / subscribe.len();
    assert!(taken < answers_max + 2 * READ_BYTES / subscribe.len(), "{taken} were taken");

    // The store has caught up: the answers leave, and the rest is read.
    served.woken.0.store(false, Ordering::SeqCst);
    while !served.is_woken() {
        let batch = shared.next_batch().unwrap();
        shared.committed(batch.number, 0);
    }
    let mut answers = 0;
    while answers < taken * 6 {
        assert!(served.poll().is_pending());
        let received = served.received().len();
        if received == 0 {
            let batch = shared.next_batch().unwrap();
            shared.committed(batch.number, 0);
        }
        answers += received;
    }
}

/// Its answers were never taken, so it never learnt that it was closed, and kept its place.
#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_closed_all_the_same() {
    let shared = shared();
    let publisher = connect(&shared, "publisher");
    let Served { connection, mut client, .. } = serve(&shared, "c", 1024);
    let id = connection.attached.id;
    let task = tokio::spawn(connection.run());
    for packet_id in 1..=10 {
        publish(&shared, publisher, &[b'x'; 10_000], QoS::AtLeastOnce, packet_id);
    }
    tokio::task::yield_now().await;
    // Another connection takes its client identifier.
    connect(&shared, "c");
    task.await.unwrap();
    shared.enter(None, |core| assert!(core.broker.encoder_options(id).is_none()));
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest.len(), 1024, "what fitted into the pipe");
}
