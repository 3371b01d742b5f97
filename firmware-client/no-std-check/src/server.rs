//! A transport whose other end is a small server in memory. It sends every message back.

use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use outpost_protocol::{
    ConnAck, Packet, PacketId, Properties, ProtocolVersion, PubAck, PubComp, PubRec, PubRel,
    Publish, QoS, ReasonCode, ReasonCodes, SliceBuffer, SubAck, decode,
};

pub(crate) struct Server {
    version: ProtocolVersion,
    has_session: bool,
    is_subscribed: bool,
    is_closed: bool,
    next_packet_id: PacketId,
    input: Bytes,
    output: Bytes,
}

struct Bytes {
    bytes: [u8; 4096],
    len: usize,
}

impl Server {
    pub(crate) fn new(version: ProtocolVersion) -> Self {
        let bytes = || Bytes { bytes: [0; 4096], len: 0 };
        Self {
            version,
            has_session: false,
            is_subscribed: false,
            is_closed: false,
            next_packet_id: PacketId::MIN,
            input: bytes(),
            output: bytes(),
        }
    }

    pub(crate) fn comes_back(&mut self) {
        self.is_closed = false;
        self.input.len = 0;
        self.output.len = 0;
    }

    fn handle_input(&mut self) -> Result<(), ErrorKind> {
        let input = self.input.bytes;
        let mut rest = &input[..self.input.len];
        while let Some((packet, used)) =
            decode(rest, self.version, u32::MAX).map_err(|_| ErrorKind::InvalidData)?
        {
            rest = &rest[used..];
            self.handle(packet)?;
        }
        self.input.bytes[..rest.len()].copy_from_slice(rest);
        self.input.len = rest.len();
        Ok(())
    }

    fn handle(&mut self, packet: Packet<'_>) -> Result<(), ErrorKind> {
        let properties = Properties::EMPTY;
        match packet {
            Packet::Connect(_) => {
                let session_present = core::mem::replace(&mut self.has_session, true);
                let reason = ReasonCode::Success;
                self.send(Packet::ConnAck(ConnAck { session_present, reason, properties }))
            }
            Packet::Subscribe(packet) => {
                self.is_subscribed = true;
                let reasons = ReasonCodes::List(&[ReasonCode::GrantedQoS2]);
                let packet_id = packet.packet_id;
                self.send(Packet::SubAck(SubAck { packet_id, properties, reasons }))
            }
            Packet::Publish(packet) => self.handle_publish(&packet),
            Packet::PubRel(packet) => {
                self.send(Packet::PubComp(PubComp::success(packet.packet_id)))
            }
            Packet::PubRec(packet) => self.send(Packet::PubRel(PubRel::success(packet.packet_id))),
            _ => Ok(()),
        }
    }

    fn handle_publish(&mut self, publish: &Publish<'_>) -> Result<(), ErrorKind> {
        self.is_closed |= publish.topic == "close";
        match (publish.packet_id, publish.qos) {
            (Some(id), QoS::AtLeastOnce) => self.send(Packet::PubAck(PubAck::success(id)))?,
            (Some(id), _) => self.send(Packet::PubRec(PubRec::success(id)))?,
            (None, _) => {}
        }
        if !self.is_subscribed || publish.qos == QoS::AtMostOnce {
            return Ok(());
        }
        let packet_id = Some(self.next_packet_id);
        self.next_packet_id = self.next_packet_id.next();
        // QoS 2 would need an eye on the client's Receive Maximum.
        let qos = QoS::AtLeastOnce;
        self.send(Packet::Publish(Publish { packet_id, qos, dup: false, ..publish.clone() }))
    }

    fn send(&mut self, packet: Packet<'_>) -> Result<(), ErrorKind> {
        let Bytes { bytes, len } = &mut self.output;
        let mut out = SliceBuffer::new(&mut bytes[*len..]);
        packet.encode(self.version, &mut out).map_err(|_| ErrorKind::OutOfMemory)?;
        *len += out.len();
        Ok(())
    }
}

impl ErrorType for Server {
    type Error = ErrorKind;
}

impl Read for Server {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
        let len = self.output.len.min(buf.len());
        buf[..len].copy_from_slice(&self.output.bytes[..len]);
        self.output.bytes.copy_within(len..self.output.len, 0);
        self.output.len -= len;
        if len == 0 && !self.is_closed {
            core::future::pending::<()>().await;
        }
        Ok(len)
    }
}

impl Write for Server {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Self::Error> {
        let Bytes { bytes, len } = &mut self.input;
        let taken = buf.len().min(bytes.len() - *len);
        bytes[*len..*len + taken].copy_from_slice(&buf[..taken]);
        *len += taken;
        self.handle_input()?;
        Ok(taken)
    }

    async fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}
