//! A client without a mind of its own: it sends what the test says and shows what comes.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Instant;

use outpost_protocol::{
    Buffer, BufferFull, Connect, Disconnect, Packet, PacketId, Properties, ProtocolVersion,
    Publish, QoS, ReasonCode, Subscribe, SubscribeFilter, SubscribeFilters, Unsubscribe,
    UnsubscribeFilters, decode,
};

use crate::broker::DEADLINE;
use crate::received::{
    self, ConnAck, FromReceived, PingResp, PubAck, PubComp, PubRec, PubRel, Received, SubAck,
    UnsubAck,
};

/// The largest packet there can be.
pub(crate) const ANY_SIZE: u32 = 268_435_460;

/// A connection to a broker. Dropped, the connection is cut without DISCONNECT.
#[derive(Debug)]
pub struct RawClient {
    stream: TcpStream,
    version: ProtocolVersion,
    input: Vec<u8>,
    /// Packets that came while another was waited for.
    stash: VecDeque<Received>,
    last_packet_id: u16,
    connack: Option<ConnAck>,
}

/// Bytes to be sent.
#[derive(Debug)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Buffer for Bytes {
    fn put(&mut self, bytes: &[u8]) -> Result<(), BufferFull> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

impl RawClient {
    /// Opens a network connection without sending anything.
    pub fn open(address: SocketAddr, version: ProtocolVersion) -> Self {
        let stream = TcpStream::connect_timeout(&address, DEADLINE).expect("connect to the broker");
        stream.set_nodelay(true).expect("set TCP_NODELAY");
        Self {
            stream,
            version,
            input: Vec::new(),
            stash: VecDeque::new(),
            last_packet_id: 0,
            connack: None,
        }
    }

    /// Sends CONNECT and expects CONNACK with Success.
    pub fn connect(&mut self, connect: &Connect<'_>) -> &ConnAck {
        self.send(&Packet::Connect(connect.clone()));
        let connack = self.expect::<ConnAck>();
        assert_eq!(connack.reason, ReasonCode::Success, "{connack:?}");
        self.connack.insert(connack)
    }

    /// The CONNACK that let it in.
    pub fn connack(&self) -> &ConnAck {
        self.connack.as_ref().expect("the client is connected")
    }

    // ---- sending

    /// Sends a packet.
    pub fn send(&mut self, packet: &Packet<'_>) {
        let bytes = self.encode(packet);
        self.send_bytes(&bytes);
    }

    /// Sends packets in one write.
    pub fn send_all(&mut self, packets: &[Packet<'_>]) {
        let bytes: Vec<u8> = packets.iter().flat_map(|packet| self.encode(packet)).collect();
        self.send_bytes(&bytes);
    }

    /// The bytes of a packet in this connection's version.
    pub fn encode(&self, packet: &Packet<'_>) -> Vec<u8> {
        let mut bytes = Bytes(Vec::new());
        packet.encode(self.version, &mut bytes).expect("a packet that can be encoded");
        bytes.0
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("send");
    }

    /// Sends bytes, and takes it if the broker has closed the connection already.
    pub fn send_if_open(&mut self, bytes: &[u8]) {
        // A refused write is one of the two outcomes that the test allows.
        let _ = self.stream.write_all(bytes);
    }

    /// A second handle of the same connection, to send from another thread.
    pub fn second_handle(&self) -> Self {
        let stream = self.stream.try_clone().expect("clone the socket");
        Self {
            stream,
            version: self.version,
            input: Vec::new(),
            stash: VecDeque::new(),
            last_packet_id: self.last_packet_id,
            connack: self.connack.clone(),
        }
    }

    /// A packet identifier that this client has not used yet.
    pub fn next_packet_id(&mut self) -> PacketId {
        self.last_packet_id += 1;
        PacketId::new(self.last_packet_id).expect("fewer than 65536 packets")
    }

    /// Publishes and completes the flow of its QoS, with a packet identifier of its own where none
    /// is given. Once it returns, the broker has dealt with the message: a QoS 0 PUBLISH is
    /// followed by a PINGREQ.
    ///
    /// # Panics
    /// When an acknowledgement is wrong or says an error.
    pub fn publish(&mut self, publish: &Publish<'_>) {
        let packet_id = match publish.qos {
            QoS::AtMostOnce => None,
            _ => Some(publish.packet_id.unwrap_or_else(|| self.next_packet_id())),
        };
        self.send(&Packet::Publish(Publish { packet_id, ..publish.clone() }));
        match packet_id {
            None => self.ping(),
            Some(id) if publish.qos == QoS::AtLeastOnce => {
                let ack = self.wait_for::<PubAck>();
                assert_eq!(ack.packet_id, id, "{ack:?}");
                assert!(!ack.reason.is_error(), "{ack:?}");
            }
            Some(id) => {
                let ack = self.wait_for::<PubRec>();
                assert_eq!(ack.packet_id, id, "{ack:?}");
                assert!(!ack.reason.is_error(), "{ack:?}");
                self.release(id);
            }
        }
    }

    /// The second half of a QoS 2 flow as its sender: PUBREL, then PUBCOMP.
    pub fn release(&mut self, packet_id: PacketId) {
        self.pubrel(packet_id);
        let ack = self.wait_for::<PubComp>();
        assert_eq!((ack.packet_id, ack.reason), (packet_id, ReasonCode::Success));
    }

    /// Sends PUBACK.
    pub fn puback(&mut self, packet_id: PacketId) {
        self.puback_with(packet_id, ReasonCode::Success);
    }

    /// Sends PUBACK with a reason code.
    pub fn puback_with(&mut self, packet_id: PacketId, reason: ReasonCode) {
        let properties = Properties::EMPTY;
        self.send(&Packet::PubAck(outpost_protocol::PubAck { packet_id, reason, properties }));
    }

    /// Sends PUBREC.
    pub fn pubrec(&mut self, packet_id: PacketId) {
        self.pubrec_with(packet_id, ReasonCode::Success);
    }

    /// Sends PUBREC with a reason code.
    pub fn pubrec_with(&mut self, packet_id: PacketId, reason: ReasonCode) {
        let properties = Properties::EMPTY;
        self.send(&Packet::PubRec(outpost_protocol::PubRec { packet_id, reason, properties }));
    }

    /// Sends PUBREL.
    pub fn pubrel(&mut self, packet_id: PacketId) {
        let (reason, properties) = (ReasonCode::Success, Properties::EMPTY);
        self.send(&Packet::PubRel(outpost_protocol::PubRel { packet_id, reason, properties }));
    }

    /// Sends PUBCOMP.
    pub fn pubcomp(&mut self, packet_id: PacketId) {
        let (reason, properties) = (ReasonCode::Success, Properties::EMPTY);
        self.send(&Packet::PubComp(outpost_protocol::PubComp { packet_id, reason, properties }));
    }

    /// Subscribes to one filter and expects it to be granted with the QoS asked for.
    pub fn subscribe(&mut self, filter: &str, qos: QoS) {
        let reasons = self.subscribe_to(&[crate::filter(filter, qos)], Properties::EMPTY).reasons;
        assert_eq!(reasons.iter().map(|&r| r as u8).collect::<Vec<_>>(), [qos as u8], "{filter}");
    }

    /// Sends SUBSCRIBE and returns the SUBACK, whose packet identifier is checked. What is
    /// published to the client meanwhile is kept for later.
    pub fn subscribe_to(
        &mut self,
        filters: &[SubscribeFilter<'_>],
        properties: Properties<'_>,
    ) -> SubAck {
        let packet_id = self.next_packet_id();
        let filters = SubscribeFilters::List(filters);
        self.send(&Packet::Subscribe(Subscribe { packet_id, properties, filters }));
        let ack = self.wait_for::<SubAck>();
        assert_eq!(ack.packet_id, packet_id, "{ack:?}");
        ack
    }

    /// Sends UNSUBSCRIBE and returns the UNSUBACK, whose packet identifier is checked. What is
    /// published to the client meanwhile is kept for later.
    pub fn unsubscribe(&mut self, filters: &[&str]) -> UnsubAck {
        let packet_id = self.next_packet_id();
        let (filters, properties) = (UnsubscribeFilters::List(filters), Properties::EMPTY);
        self.send(&Packet::Unsubscribe(Unsubscribe { packet_id, properties, filters }));
        let ack = self.wait_for::<UnsubAck>();
        assert_eq!(ack.packet_id, packet_id, "{ack:?}");
        ack
    }

    /// PINGREQ and PINGRESP. What is published to the client meanwhile is kept for later.
    pub fn ping(&mut self) {
        self.send(&Packet::PingReq);
        self.wait_for::<PingResp>();
    }

    /// Sends DISCONNECT with Normal disconnection and waits until the broker has closed.
    pub fn disconnect(self) {
        self.disconnect_with(ReasonCode::Success, Properties::EMPTY);
    }

    /// Sends DISCONNECT and waits until the broker has closed. Packets that come before are not
    /// looked at.
    pub fn disconnect_with(mut self, reason: ReasonCode, properties: Properties<'_>) {
        self.send(&Packet::Disconnect(Disconnect { reason, properties }));
        self.cut();
    }

    /// Closes its side without DISCONNECT and waits until the broker has closed, too.
    pub fn cut(mut self) {
        // It fails only if the broker has closed already, which is what is waited for.
        let _ = self.stream.shutdown(Shutdown::Write);
        while self.receive().is_some() {}
    }

    // ---- receiving

    /// The next packet, which has to be of the kind asked for.
    ///
    /// # Panics
    /// When another comes, the connection closes or nothing comes in time.
    #[track_caller]
    pub fn expect<T: FromReceived>(&mut self) -> T {
        let Some(received) = self.next_packet() else {
            panic!("the connection was closed instead of {}", T::NAME)
        };
        T::from_received(received)
            .unwrap_or_else(|other| panic!("{other:?} came instead of {}", T::NAME))
    }

    /// The next packet, or nothing if the connection is closed.
    #[track_caller]
    pub fn next_packet(&mut self) -> Option<Received> {
        self.stash.pop_front().or_else(|| self.receive())
    }

    /// A packet that came while another was waited for, if there is one.
    pub fn stashed(&mut self) -> Option<Received> {
        self.stash.pop_front()
    }

    /// The next packet of the kind asked for. PUBLISH packets that come before it are kept for
    /// [`RawClient::expect`].
    #[track_caller]
    pub fn wait_for<T: FromReceived>(&mut self) -> T {
        loop {
            let Some(received) = self.receive() else {
                panic!("the connection was closed instead of {}", T::NAME)
            };
            match T::from_received(received) {
                Ok(packet) => return packet,
                Err(other @ Received::Publish(_)) => self.stash.push_back(other),
                Err(other) => panic!("{other:?} came instead of {}", T::NAME),
            }
        }
    }

    /// The next PUBLISH, acknowledged as its QoS asks for, PUBREL and PUBCOMP included.
    #[track_caller]
    pub fn take(&mut self) -> received::Publish {
        let publish = self.expect::<received::Publish>();
        match publish.qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.puback(publish.id()),
            QoS::ExactlyOnce => {
                self.pubrec(publish.id());
                assert_eq!(self.wait_for::<PubRel>().packet_id, publish.id());
                self.pubcomp(publish.id());
            }
        }
        publish
    }

    /// Checks that nothing has come and nothing is on the way: the next packet is the answer to a
    /// PINGREQ sent now.
    #[track_caller]
    pub fn expect_nothing(&mut self) {
        self.send(&Packet::PingReq);
        self.expect::<PingResp>();
    }

    /// Checks that the broker closes the connection without another packet.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        if let Some(received) = self.next_packet() {
            panic!("{received:?} came instead of a closed connection");
        }
    }

    /// Checks that the broker refuses what was sent: 5.0 clients get DISCONNECT with `reason`, all
    /// are closed.
    #[track_caller]
    pub fn expect_disconnect(&mut self, reason: ReasonCode) {
        if self.version == ProtocolVersion::V5 {
            let disconnect = self.expect::<received::Disconnect>();
            assert_eq!(disconnect.reason, reason, "{disconnect:?}");
        }
        self.expect_closed();
    }

    /// The bytes of the next packet as they came, header included.
    #[track_caller]
    pub fn expect_bytes(&mut self) -> Vec<u8> {
        assert!(self.stash.is_empty(), "a packet was kept that has been decoded: {:?}", self.stash);
        let deadline = Instant::now() + DEADLINE;
        loop {
            let len = outpost_protocol::packet_len(&self.input).expect("a valid fixed header");
            if let Some(len) = len.filter(|&len| len <= self.input.len()) {
                return self.input.drain(..len).collect();
            }
            assert!(self.fill(deadline), "the connection was closed instead of a packet");
        }
    }

    /// All that comes until the broker closes the connection, as it comes.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + DEADLINE;
        while self.fill(deadline) {}
        std::mem::take(&mut self.input)
    }

    /// Whether something has come that nobody has looked at. It does not wait.
    pub fn has_input(&mut self) -> bool {
        self.stream.set_nonblocking(true).expect("do not block");
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).expect("block again");
        !self.stash.is_empty() || !self.input.is_empty() || matches!(peeked, Ok(1))
    }

    #[track_caller]
    fn receive(&mut self) -> Option<Received> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let packet = decode(&self.input, self.version, ANY_SIZE)
                .unwrap_or_else(|error| panic!("{error}: {:02x?}", self.input));
            if let Some((packet, len)) = packet {
                let received = Received::new(&packet);
                self.input.drain(..len);
                return Some(received);
            }
            if !self.fill(deadline) {
                assert!(self.input.is_empty(), "half a packet came: {:02x?}", self.input);
                return None;
            }
        }
    }

    /// Reads once; false when the connection is closed.
    #[track_caller]
    fn fill(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "nothing came in {DEADLINE:?}; begun: {:02x?}", self.input);
        self.stream.set_read_timeout(Some(left)).expect("set the timeout");
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.input.extend_from_slice(&buffer[..count]);
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("nothing came in {DEADLINE:?}; begun: {:02x?}", self.input)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            // A broker that closes with our bytes unread resets the connection.
            Err(_) => false,
        }
    }
}
