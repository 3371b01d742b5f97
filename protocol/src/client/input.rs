//! What comes in: one packet at a time, its consequences, and what the caller is told.

use crate::{
    Ack, ConnAck, DecodeError, Disconnect, Packet, PacketId, Properties, ProtocolVersion, PubAck,
    PubComp, PubRec, PubRel, Publish, QoS, ReasonCode, Received, SubAck, UnsubAck, decode,
};

use super::event::{Event, Handled};
use super::pending::Request;
use super::retained::AckStep;
use super::terms::{Asked, Terms};
use super::{Client, ConnectionError, Phase};

/// The longest answer that one packet can ask for: a PUBREL or PUBCOMP with a reason code.
const ANSWER_BYTES_MAX: usize = 6;

type PacketResult<'i> = Result<Option<Event<'i>>, DecodeError>;

impl<O, R, const IN_FLIGHT: usize, const RECEIVE: usize> Client<O, R, IN_FLIGHT, RECEIVE>
where
    O: AsRef<[u8]> + AsMut<[u8]>,
    R: AsRef<[u8]> + AsMut<[u8]>,
{
    /// Takes the first packet of `input`, the bytes that were read and not yet taken. To be called
    /// until it says [`Handled::Incomplete`] (an empty `input` is fine); then write the output.
    ///
    /// Calling it says that the message which it gave before is done with.
    ///
    /// # Errors
    /// The connection must end.
    pub fn handle_input<'i>(&mut self, input: &'i [u8]) -> Result<Handled<'i>, ConnectionError> {
        let is_connecting = matches!(self.phase, Phase::AwaitConnAck { .. });
        if !is_connecting && let Some(published) = self.retained.take_ended() {
            return Ok(Handled::Taken { used: 0, event: Some(Event::Published(published)) });
        }
        if matches!(self.phase, Phase::Closed | Phase::Closing) {
            return Ok(match input.len() {
                0 => Handled::Incomplete,
                used => Handled::Taken { used, event: None },
            });
        }
        if !self.acknowledge_last() || self.staged.room() < ANSWER_BYTES_MAX {
            return Ok(Handled::OutputFull);
        }
        let max_size = self.config.maximum_packet_size;
        let handled = match decode(input, self.config.version, max_size) {
            Ok(None) => Ok(Handled::Incomplete),
            Ok(Some((packet, used))) => {
                self.handle_packet(packet).map(|event| Handled::Taken { used, event })
            }
            Err(error) => Err(error),
        };
        handled.map_err(|error| self.fail(ConnectionError::Protocol(error)))
    }

    /// False: no room for the acknowledgement yet.
    fn acknowledge_last(&mut self) -> bool {
        let Some((packet_id, qos)) = self.unacknowledged else { return true };
        let answer = match qos {
            QoS::ExactlyOnce => Packet::PubRec(PubRec::success(packet_id)),
            QoS::AtLeastOnce | QoS::AtMostOnce => Packet::PubAck(PubAck::success(packet_id)),
        };
        let is_staged = self.answer(answer).is_ok();
        if is_staged {
            self.unacknowledged = None;
        }
        is_staged
    }

    fn handle_packet<'i>(&mut self, packet: Packet<'i>) -> PacketResult<'i> {
        match (self.phase, packet) {
            (Phase::AwaitConnAck { .. }, Packet::ConnAck(packet)) => self.handle_conn_ack(packet),
            (_, Packet::Auth(packet)) if self.config.version.is_v5() => {
                Ok(Some(Event::Auth(packet)))
            }
            (Phase::AwaitConnAck { .. }, _) => Err(violation("a packet before CONNACK")),
            (_, Packet::Publish(packet)) => self.handle_publish(packet),
            (_, Packet::PubRel(packet)) => self.handle_pub_rel(packet.packet_id),
            (_, Packet::PubAck(packet)) => {
                self.handle_ack(packet.packet_id, Ack::PubAck, packet.reason)
            }
            (_, Packet::PubRec(packet)) => {
                self.handle_ack(packet.packet_id, Ack::PubRec, packet.reason)
            }
            (_, Packet::PubComp(packet)) => {
                self.handle_ack(packet.packet_id, Ack::PubComp, packet.reason)
            }
            (_, Packet::SubAck(packet)) => self.handle_sub_ack(packet),
            (_, Packet::UnsubAck(packet)) => self.handle_unsub_ack(packet),
            (_, Packet::PingResp) => {
                self.keep_alive.handle_ping_resp();
                Ok(None)
            }
            (_, Packet::Disconnect(packet)) => self.handle_disconnect(packet),
            (_, Packet::ConnAck(_)) => Err(violation("a second CONNACK")),
            (
                _,
                Packet::Connect(_)
                | Packet::Subscribe(_)
                | Packet::Unsubscribe(_)
                | Packet::PingReq
                | Packet::Auth(_),
            ) => Err(violation("a packet that a server does not send")),
        }
    }

    fn handle_conn_ack<'i>(&mut self, packet: ConnAck<'i>) -> PacketResult<'i> {
        if packet.reason.is_error() {
            self.phase = Phase::Closing;
            return Ok(Some(Event::Refused(packet)));
        }
        if packet.session_present && self.clean_start {
            return Err(violation("CONNACK: session present after a clean start"));
        }
        // The CONNACK of 3.1 does not say whether there was a session: ask for one and there is.
        let session_present = match self.config.version {
            ProtocolVersion::V31 => !self.clean_start,
            ProtocolVersion::V311 | ProtocolVersion::V5 => packet.session_present,
        };
        let is_v5 = self.config.version.is_v5();
        let receive_maximum = if is_v5 { u16::MAX } else { self.config.send_quota_3x.max(1) };
        let keep_alive_s = self.keep_alive_s;
        let terms = Terms::new(&packet, &Asked { session_present, receive_maximum, keep_alive_s });
        self.keep_alive.handle_server_keep_alive(terms.keep_alive_s);
        if let Some(client_id) = packet.properties.assigned_client_identifier() {
            self.assigned.set(client_id);
        }
        self.quota = terms.receive_maximum;
        self.retained.restart(session_present, &terms);
        if !session_present {
            self.receiving.clear();
        }
        self.phase = Phase::Connected(terms);
        Ok(Some(Event::Connected(packet)))
    }

    fn handle_publish<'i>(&mut self, packet: Publish<'i>) -> PacketResult<'i> {
        // [MQTT-3.1.2-26], [MQTT-3.1.2-27]
        let topic_alias = packet.properties.topic_alias().unwrap_or(0);
        if topic_alias > self.topic_alias_maximum {
            let reason = ReasonCode::TopicAliasInvalid;
            return Err(DecodeError { reason, what: "PUBLISH: a topic alias that is not allowed" });
        }
        let Some(packet_id) = packet.packet_id else { return Ok(Some(Event::Message(packet))) };
        if packet.qos == QoS::ExactlyOnce {
            match self.receiving.insert(packet_id) {
                Received::New => {}
                Received::Duplicate => {
                    return self.answer(Packet::PubRec(PubRec::success(packet_id)));
                }
                Received::Full => {
                    let reason = ReasonCode::ReceiveMaximumExceeded;
                    return Err(DecodeError { reason, what: "PUBLISH: too many QoS 2 messages" });
                }
            }
        }
        self.unacknowledged = Some((packet_id, packet.qos));
        Ok(Some(Event::Message(packet)))
    }

    fn handle_pub_rel<'i>(&mut self, packet_id: PacketId) -> PacketResult<'i> {
        let is_known = self.receiving.release(packet_id);
        let reason =
            if is_known { ReasonCode::Success } else { ReasonCode::PacketIdentifierNotFound };
        self.answer(Packet::PubComp(PubComp { packet_id, reason, properties: Properties::EMPTY }))
    }

    fn handle_ack<'i>(
        &mut self,
        packet_id: PacketId,
        ack: Ack,
        reason: ReasonCode,
    ) -> PacketResult<'i> {
        let step = self
            .retained
            .handle_ack(packet_id, ack, reason)
            .map_err(|_| violation("an acknowledgement of the wrong kind"))?;
        match step {
            AckStep::Done { published, counted } => {
                // [MQTT-4.9.0-1]
                self.quota = self.quota.saturating_add(u16::from(counted));
                Ok(Some(Event::Published(published)))
            }
            AckStep::SendPubRel => self.answer(Packet::PubRel(PubRel::success(packet_id))),
            AckStep::Unknown if ack == Ack::PubRec && !reason.is_error() => {
                let reason = ReasonCode::PacketIdentifierNotFound;
                let properties = Properties::EMPTY;
                self.answer(Packet::PubRel(PubRel { packet_id, reason, properties }))
            }
            AckStep::Early | AckStep::Unknown => Ok(None),
        }
    }

    fn handle_sub_ack<'i>(&mut self, packet: SubAck<'i>) -> PacketResult<'i> {
        match self.pending.remove(packet.packet_id, Request::Subscribe) {
            // [MQTT-3.9.3-1]
            Some(filters) if filters == packet.reasons.len() => Ok(Some(Event::Subscribed(packet))),
            Some(_) => Err(violation("SUBACK: not one reason code for each filter")),
            None => Err(violation("SUBACK: no such SUBSCRIBE")),
        }
    }

    fn handle_unsub_ack<'i>(&mut self, packet: UnsubAck<'i>) -> PacketResult<'i> {
        let is_v5 = self.config.version.is_v5();
        match self.pending.remove(packet.packet_id, Request::Unsubscribe) {
            // [MQTT-3.11.3-1]; 3.1 and 3.1.1 have no reason codes there.
            Some(filters) if !is_v5 || filters == packet.reasons.len() => {
                Ok(Some(Event::Unsubscribed(packet)))
            }
            Some(_) => Err(violation("UNSUBACK: not one reason code for each filter")),
            None => Err(violation("UNSUBACK: no such UNSUBSCRIBE")),
        }
    }

    fn handle_disconnect<'i>(&mut self, packet: Disconnect<'i>) -> PacketResult<'i> {
        if !self.config.version.is_v5() {
            return Err(violation("a packet that a server does not send"));
        }
        self.phase = Phase::Closing;
        Ok(Some(Event::Disconnected(packet)))
    }

    /// There is room: `handle_input` has looked.
    fn answer<'i>(&mut self, packet: Packet<'_>) -> PacketResult<'i> {
        match self.staged.push(&packet, self.config.version) {
            Ok(()) => Ok(None),
            Err(_) => Err(DecodeError {
                reason: ReasonCode::ImplementationSpecificError,
                what: "no room for an answer",
            }),
        }
    }
}

const fn violation(what: &'static str) -> DecodeError {
    DecodeError { reason: ReasonCode::ProtocolError, what }
}
