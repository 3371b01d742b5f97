//! A clock, a transport and a scripted server for the tests; time is tokio's, paused.

#![allow(dead_code, unreachable_pub, reason = "not every test uses all of it")]

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use embedded_io_async::{ErrorType, Read, Write};
use outpost_firmware_client::{Client, Clock, ConnectOptions, Settings};
use outpost_protocol::{
    Buffer, BufferFull, ConnAck, Packet, PacketId, Properties, Property, ProtocolVersion, PubAck,
    Publish, QoS, ReasonCode, decode,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{Duration, Instant, sleep_until};

/// Input 256, output 128, retained 512 bytes, 4 in flight, 4 on their way in, 3 queued of 48 bytes.
pub type TestClient<K> = Client<K, 256, 128, 512, 4, 4, 3, 48>;

pub struct TokioClock(Instant);

impl Clock for TokioClock {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap()
    }

    async fn wait_until(&self, deadline_ms: u64) {
        sleep_until(self.0 + Duration::from_millis(deadline_ms)).await;
    }
}

pub fn client(settings: Settings) -> TestClient<TokioClock> {
    Client::new(settings, TokioClock(Instant::now()))
}

pub fn options() -> ConnectOptions<'static> {
    ConnectOptions::new("sensor")
}

/// One end of a pipe as embedded-io sees it.
pub struct Transport(DuplexStream);

impl ErrorType for Transport {
    type Error = std::io::Error;
}

impl Read for Transport {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
        AsyncReadExt::read(&mut self.0, buf).await
    }
}

impl Write for Transport {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Self::Error> {
        AsyncWriteExt::write(&mut self.0, buf).await
    }

    async fn flush(&mut self) -> Result<(), Self::Error> {
        AsyncWriteExt::flush(&mut self.0).await
    }
}

/// The server's end of a connection, played by the test.
pub struct Peer {
    stream: DuplexStream,
    version: ProtocolVersion,
    input: Vec<u8>,
    used: usize,
}

/// A transport that holds up to `capacity` bytes each way, and its other end.
pub fn pipe(version: ProtocolVersion, capacity: usize) -> (Transport, Peer) {
    let (near, far) = tokio::io::duplex(capacity);
    (Transport(near), Peer { stream: far, version, input: Vec::new(), used: 0 })
}

impl Peer {
    /// The next packet. None: the client has closed the connection.
    pub async fn next(&mut self) -> Option<Packet<'_>> {
        self.input.drain(..self.used);
        self.used = loop {
            if let Some((_, used)) = decode(&self.input, self.version, u32::MAX).unwrap() {
                break used;
            }
            if self.stream.read_buf(&mut self.input).await.unwrap() == 0 {
                assert!(self.input.is_empty(), "a packet was cut off");
                return None;
            }
        };
        decode(&self.input, self.version, u32::MAX).unwrap().map(|(packet, _)| packet)
    }

    pub async fn send(&mut self, packet: Packet<'_>) {
        let mut out = Bytes(Vec::new());
        packet.encode(self.version, &mut out).unwrap();
        self.stream.write_all(&out.0).await.unwrap();
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Takes the CONNECT and accepts it.
    pub async fn accept(&mut self, session_present: bool, properties: &[Property<'_>]) {
        let packet = self.next().await;
        assert!(matches!(packet, Some(Packet::Connect(_))), "{packet:?}");
        let properties = Properties::list(properties);
        let reason = ReasonCode::Success;
        self.send(Packet::ConnAck(ConnAck { session_present, reason, properties })).await;
    }

    /// Takes a PUBLISH: its payload, packet id and DUP flag.
    pub async fn publish(&mut self) -> (Vec<u8>, Option<PacketId>, bool) {
        match self.next().await {
            Some(Packet::Publish(packet)) => {
                (packet.payload.to_vec(), packet.packet_id, packet.dup)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Takes a PUBLISH of QoS 1 and acknowledges it.
    pub async fn publish_and_ack(&mut self) -> Vec<u8> {
        let (payload, packet_id, _) = self.publish().await;
        self.send(Packet::PubAck(PubAck::success(packet_id.unwrap()))).await;
        payload
    }
}

pub fn incoming(payload: &[u8], qos: QoS, id: u16) -> Packet<'_> {
    Packet::Publish(Publish {
        dup: false,
        qos,
        retain: false,
        topic: "in",
        packet_id: PacketId::new(id),
        properties: Properties::EMPTY,
        payload,
    })
}

struct Bytes(Vec<u8>);

impl Buffer for Bytes {
    fn put(&mut self, bytes: &[u8]) -> Result<(), BufferFull> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// Polls a future once and drops it.
pub fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
