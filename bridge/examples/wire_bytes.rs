//! What a message costs on the wire and in CPU, from one Outpost to another: small JSON telemetry with
//! QoS 1, plain, with topic aliases, and compressed, in bursts of several sizes. The table of
//! docs/BENCHMARKS.md:
//!
//!     cargo run --release -p outpost-bridge --example wire_bytes
//!
//! Counted are the bytes of the stream, PUBLISH and PUBACK; TCP, IP and TLS add theirs once a burst.

#![allow(clippy::print_stdout, reason = "the table is what it is for")]

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use outpost_bridge::compression::Compressed;
use outpost_bridge::origin::{self, Origin};
use outpost_bridge::output::Output;
use outpost_bridge::peering::NodeId;
use outpost_protocol::{
    Packet, PacketId, Properties, Property, ProtocolVersion, PubAck, Publish, QoS, ReasonCode,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

const TOPICS: usize = 30;
const MESSAGES: usize = 20_000;

/// A variant of the wire.
#[derive(Clone, Copy)]
struct Variant {
    name: &'static str,
    aliases: bool,
    origin: bool,
    /// None: plain.
    level: Option<i32>,
}

/// Bytes that were written and wait to be read.
#[derive(Default)]
struct Wire(Vec<u8>);

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let bytes = &mut self.get_mut().0;
        let count = bytes.len().min(buffer.remaining());
        buffer.put_slice(&bytes[..count]);
        bytes.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().0.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Numbers that look random and are the same in each run.
struct Noise(u64);

impl Noise {
    fn below(&mut self, end: u64) -> u64 {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// The packets of all messages, each way, without compression.
fn packets(variant: Variant) -> (Vec<Vec<u8>>, Vec<Vec<u8>>, usize) {
    let (mut out, mut back, mut payload_bytes) = (Vec::new(), Vec::new(), 0);
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    for number in 0..MESSAGES {
        let machine = noise.below(TOPICS as u64);
        let topic = format!("plant7/line{}/press{machine:02}/telemetry", machine % 4);
        let payload = format!(
            "{{\"ts\":{},\"id\":\"press-{machine:02}\",\"temp\":{}.{:02},\"pressure\":{}.{},\"rpm\":{},\"state\":\"run\"}}",
            1_764_271_474_000 + number as u64 * 37 + noise.below(30),
            60 + noise.below(20),
            noise.below(100),
            4 + noise.below(3),
            noise.below(1000),
            1400 + noise.below(200),
        );
        payload_bytes += payload.len();
        let packet_id = PacketId::new(u16::try_from(number % 100 + 1).expect("small"));
        let is_known = variant.aliases && number >= TOPICS * 8;
        let alias = u16::try_from(machine + 1).expect("small");
        let text = Origin {
            node: NodeId(0x51f0_77ab_0934_c2de),
            number: Some(918_273 + number as u64),
            hops: 1,
        }
        .to_string();
        let mut properties = Vec::new();
        if variant.aliases {
            properties.push(Property::TopicAlias(alias));
        }
        if variant.origin {
            properties.push(Property::UserProperty(origin::KEY, &text));
        }
        let publish = Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: if is_known { "" } else { &topic },
            packet_id,
            properties: Properties::list(&properties),
            payload: payload.as_bytes(),
        };
        let ack = PubAck {
            packet_id: packet_id.expect("not 0"),
            reason: ReasonCode::Success,
            properties: Properties::EMPTY,
        };
        out.push(encoded(Packet::Publish(publish)));
        back.push(encoded(Packet::PubAck(ack)));
    }
    (out, back, payload_bytes)
}

fn encoded(packet: Packet<'_>) -> Vec<u8> {
    let mut out = Output::default();
    packet.encode(ProtocolVersion::V5, &mut out).expect("an output grows");
    out.pending().to_vec()
}

/// The bytes on the wire of one direction in bursts of `burst` packets, and the CPU time of both ends in
/// nanoseconds.
async fn sent(packets: &[Vec<u8>], burst: usize, level: Option<i32>) -> (usize, u128) {
    let Some(level) = level else { return (packets.iter().map(Vec::len).sum(), 0) };
    let mut near = Compressed::new(Wire::default(), Vec::new(), level);
    let mut far = Compressed::new(Wire::default(), Vec::new(), level);
    let (mut bytes, start) = (0, Instant::now());
    for packets in packets.chunks(burst) {
        let whole = packets.concat();
        near.write_all(&whole).await.expect("memory takes all");
        near.flush().await.expect("memory takes all");
        let wire = std::mem::take(&mut near.get_mut().0);
        bytes += wire.len();
        far.get_mut().0 = wire;
        let mut got = vec![0; whole.len()];
        far.read_exact(&mut got).await.expect("all has come");
        assert_eq!(got, whole);
    }
    (bytes, start.elapsed().as_nanos())
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let plain = Variant {
        name: "plain, as to a broker of another make",
        aliases: false,
        origin: false,
        level: None,
    };
    let variants = [
        plain,
        Variant { name: "plain with origin", origin: true, ..plain },
        Variant { name: "aliases", aliases: true, ..plain },
        Variant { name: "aliases with origin", aliases: true, origin: true, ..plain },
        Variant { name: "zstd 1 with origin", origin: true, level: Some(1), ..plain },
        Variant { name: "zstd 3 with origin", origin: true, level: Some(3), ..plain },
        Variant { name: "zstd 6 with origin", origin: true, level: Some(6), ..plain },
        Variant { name: "zstd 9 with origin", origin: true, level: Some(9), ..plain },
        Variant { name: "zstd 19 with origin", origin: true, level: Some(19), ..plain },
        Variant {
            name: "zstd 3 and aliases with origin",
            aliases: true,
            origin: true,
            level: Some(3),
        },
        Variant { name: "zstd 3 without origin", level: Some(3), ..plain },
    ];
    println!("| wire | burst | PUBLISH bytes | PUBACK bytes | CPU us, both ends |");
    println!("|---|---:|---:|---:|---:|");
    let mut payload_bytes = 0;
    for variant in variants {
        let (out, back, bytes) = packets(variant);
        payload_bytes = bytes;
        for burst in [1, 10, 100] {
            let (there, there_ns) = sent(&out, burst, variant.level).await;
            let (again, again_ns) = sent(&back, burst, variant.level).await;
            let each = |bytes: usize| bytes as f64 / MESSAGES as f64;
            let us = (there_ns + again_ns) as f64 / MESSAGES as f64 / 1000.0;
            println!(
                "| {} | {burst} | {:.1} | {:.1} | {us:.1} |",
                variant.name,
                each(there),
                each(again)
            );
        }
    }
    println!("\npayload: {:.1} bytes", payload_bytes as f64 / MESSAGES as f64);
}
