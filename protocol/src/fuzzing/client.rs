//! The client under a script that the fuzzer writes: requests, lost connections, time, and a server
//! that sends whatever it likes.

use std::collections::BTreeSet;
use std::vec::Vec;

use super::{Bytes, MAX_SIZE, with_packet};
use crate::client::{Buffers, Client, Config, ConnectOptions, Event, Handled, Message};
use crate::{
    ConnAck, Packet, PacketId, Properties, Property, ProtocolVersion, PubAck, PubComp, PubRec, QoS,
    ReasonCode, RetainHandling, SubscribeFilter, SubscriptionOptions, decode,
};

/// The first byte says which version; the rest is a script of pairs of bytes, what to do and how.
///
/// What the client writes is always a stream of whole legal packets with CONNECT at its start and
/// nothing behind DISCONNECT, however it is cut into writes; each message that it took comes to its
/// end at most once, and is in flight until then.
pub fn client(data: &[u8]) {
    let Some((first, script)) = data.split_first() else { return };
    let version = match first % 3 {
        0 => ProtocolVersion::V31,
        1 => ProtocolVersion::V311,
        _ => ProtocolVersion::V5,
    };
    let mut run = Run::new(version, script);
    while run.step() {
        run.check();
    }
}

struct Run<'s> {
    client: Client<Vec<u8>, Vec<u8>, 6, 4>,
    version: ProtocolVersion,
    script: &'s [u8],
    now_ms: u64,
    /// What the server has sent and the client has not taken.
    input: Vec<u8>,
    /// What the client has written on this connection and was not decoded yet.
    written: Vec<u8>,
    is_first: bool,
    is_ended: bool,
    next_token: u32,
    in_flight: BTreeSet<u32>,
}

impl<'s> Run<'s> {
    fn new(version: ProtocolVersion, script: &'s [u8]) -> Self {
        let config = Config { version, ..Config::new(512) };
        let buffers = Buffers { output: std::vec![0; 96], retained: std::vec![0; 200] };
        Self {
            client: Client::new(config, buffers),
            version,
            script,
            now_ms: 0,
            input: Vec::new(),
            written: Vec::new(),
            is_first: true,
            is_ended: false,
            next_token: 0,
            in_flight: BTreeSet::new(),
        }
    }

    /// False: the script has ended.
    fn step(&mut self) -> bool {
        let [what, how, rest @ ..] = self.script else { return false };
        self.script = rest;
        match what % 12 {
            0 => self.connect(how & 1 == 1),
            1 => self.close(),
            2 => self.accept(*how),
            3 | 4 => self.publish(*how),
            5 => self.request(*how),
            6 => self.pass_time(u64::from(*how)),
            7 => self.write(usize::from(*how)),
            8 => self.acknowledge(*how),
            9 => self.send_packet(usize::from(*how)),
            10 => self.send_bytes(usize::from(*how)),
            _ => self.write(usize::MAX),
        }
        true
    }

    fn connect(&mut self, clean_start: bool) {
        self.close();
        let options = ConnectOptions { clean_start, ..ConnectOptions::new("c") };
        self.client.connect(self.now_ms, &options).expect("CONNECT fits");
        assert!(!self.client.is_written(), "CONNECT is not written");
    }

    fn close(&mut self) {
        self.client.handle_closed();
        self.input.clear();
        self.written.clear();
        self.is_first = true;
        self.is_ended = false;
    }

    fn accept(&mut self, how: u8) {
        let receive_maximum = [Property::ReceiveMaximum(u16::from(how >> 1).max(1))];
        let conn_ack = ConnAck {
            session_present: how & 1 == 1,
            reason: ReasonCode::Success,
            properties: Properties::list(&receive_maximum),
        };
        self.send(&Packet::ConnAck(conn_ack));
    }

    fn publish(&mut self, how: u8) {
        let qos = QoS::try_from(how % 3).expect("below 3");
        let payload = std::vec![how; usize::from(how)];
        let token = self.next_token;
        let message = Message { token, ..Message::new("t/u", &payload, qos) };
        if let Ok(Some(_)) = self.client.publish(&message) {
            self.in_flight.insert(token);
            self.next_token += 1;
        }
    }

    fn request(&mut self, how: u8) {
        let options = SubscriptionOptions {
            qos: QoS::ExactlyOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::SendAtSubscribe,
        };
        // Whether they are taken depends on the state; that they change nothing else is checked.
        let filters = [SubscribeFilter { filter: "t/+", options }];
        let none = Properties::EMPTY;
        let _ = match how % 8 {
            0 => self.client.disconnect(ReasonCode::Success, none),
            1..=3 => self.client.unsubscribe(&["t/#"], none).map(|_| ()),
            _ => self.client.subscribe(&filters, none).map(|_| ()),
        };
    }

    fn pass_time(&mut self, seconds: u64) {
        self.now_ms += 1_000 * seconds;
        let was_due = self.client.poll_timeout().is_some_and(|due| due <= self.now_ms);
        let result = self.client.handle_timeout(self.now_ms);
        assert!(was_due || result.is_ok(), "gave up before its time");
    }

    /// Writes up to `len` bytes, and checks what has been written.
    fn write(&mut self, len: usize) {
        let mut left = len;
        loop {
            let output = self.client.poll_output();
            let len = output.len().min(left);
            if len == 0 {
                break;
            }
            self.written.extend_from_slice(&output[..len]);
            self.client.handle_written(self.now_ms, len);
            left -= len;
        }
        self.check_written();
    }

    fn check_written(&mut self) {
        let mut used = 0;
        loop {
            let decoded = decode(&self.written[used..], self.version, MAX_SIZE);
            let Some((packet, len)) = decoded.expect("the client writes legal packets") else {
                break;
            };
            assert_eq!(self.is_first, matches!(packet, Packet::Connect(_)), "{packet:?}");
            assert!(!self.is_ended, "behind DISCONNECT: {packet:?}");
            self.is_first = false;
            self.is_ended = matches!(packet, Packet::Disconnect(_));
            used += len;
        }
        self.written.drain(..used);
    }

    fn acknowledge(&mut self, how: u8) {
        let packet_id = PacketId::new(u16::from(how & 0x1F) + 1).expect("it is not 0");
        self.send(&match how >> 6 {
            0 => Packet::PubAck(PubAck::success(packet_id)),
            1 => Packet::PubRec(PubRec::success(packet_id)),
            _ => Packet::PubComp(PubComp::success(packet_id)),
        });
    }

    fn send_packet(&mut self, seed_len: usize) {
        let (seed, rest) = self.script.split_at(seed_len.min(self.script.len()));
        self.script = rest;
        let version = self.version;
        with_packet(seed, version, |packet| self.send(packet));
    }

    fn send_bytes(&mut self, len: usize) {
        let (bytes, rest) = self.script.split_at(len.min(self.script.len()));
        self.script = rest;
        self.input.extend_from_slice(bytes);
        self.handle_input();
    }

    fn send(&mut self, packet: &Packet<'_>) {
        let mut out = Bytes::default();
        packet.encode(self.version, &mut out).expect("a legal packet can be encoded");
        self.input.extend_from_slice(&out.0);
        self.handle_input();
    }

    fn handle_input(&mut self) {
        loop {
            let used = match self.client.handle_input(&self.input) {
                Ok(Handled::Incomplete) => return,
                Ok(Handled::OutputFull) => {
                    assert!(!self.client.poll_output().is_empty(), "full of nothing");
                    return;
                }
                Ok(Handled::Taken { used, event }) => {
                    assert!(used <= self.input.len());
                    assert!(used > 0 || event.is_some(), "no progress");
                    if let Some(Event::Published(published)) = event {
                        assert!(self.in_flight.remove(&published.token), "ended twice");
                    }
                    used
                }
                Err(_) => {
                    assert!(!self.client.is_open());
                    return;
                }
            };
            self.input.drain(..used);
        }
    }

    fn check(&mut self) {
        assert_eq!(self.client.in_flight(), self.in_flight.len());
        assert!(self.client.in_flight() <= 6);
        assert!(self.client.is_open() || self.client.poll_timeout().is_none());
    }
}
