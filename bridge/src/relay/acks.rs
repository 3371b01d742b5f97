//! PUBACK, PUBREC, PUBREL and PUBCOMP: passed on with their identifier and reason code, so that the
//! two sessions run the exchange with each other. Reason strings and user properties are left out.
//!
//! An error would end the exchange, and with it the message. Where the reason says that it is the
//! time that is wrong and not the message, the link ends instead: the message stays unacknowledged in
//! its session and is sent again by the next link, after the back-off.

use outpost_protocol::{
    Packet, PacketId, Properties, PubAck, PubComp, PubRec, PubRel, QoS, ReasonCode,
};

use super::{Relay, protocol_error, put};
use crate::link_error::LinkError;
use crate::output::Outputs;
use crate::side::Side;

/// A 3.1.1 broker cannot say that it takes no QoS 2; RabbitMQ 3.10 shows it like this.
const PUBACK_FOR_QOS_2: &str =
    "PUBACK for a message with QoS 2 (maximum_qos = 1 keeps QoS 2 from a remote broker)";

impl Relay {
    pub(super) fn handle_pub_ack(
        &mut self,
        from: Side,
        ack: &PubAck<'_>,
        now_ms: u64,
        out: &mut Outputs,
    ) -> Result<(), LinkError> {
        let (packet_id, reason, properties) = (ack.packet_id, ack.reason, Properties::EMPTY);
        let to = from.other();
        let came_exactly_once = self.flows[to].exactly_once.contains(packet_id);
        if came_exactly_once && self.peers[from].maximum_qos == QoS::ExactlyOnce {
            return Err(protocol_error(from, PUBACK_FOR_QOS_2));
        }
        self.judge(from, packet_id, reason, now_ms)?;
        if !self.flows[to].acknowledged(packet_id, true, now_ms) {
            // Of no message that this link has brought.
            return Ok(());
        }
        if !reason.is_error() {
            self.count_acknowledged(from, now_ms);
        }
        let passed_on = if came_exactly_once {
            Packet::PubRec(PubRec { packet_id, reason, properties })
        } else {
            Packet::PubAck(PubAck { packet_id, reason, properties })
        };
        put(passed_on, &self.peers[to], &mut out[to]);
        Ok(())
    }

    pub(super) fn handle_pub_rec(
        &mut self,
        from: Side,
        ack: &PubRec<'_>,
        now_ms: u64,
        out: &mut Outputs,
    ) -> Result<(), LinkError> {
        let (packet_id, reason, properties) = (ack.packet_id, ack.reason, Properties::EMPTY);
        let to = from.other();
        let flow = &self.flows[to];
        if flow.pending.contains(packet_id) && !flow.exactly_once.contains(packet_id) {
            return Err(protocol_error(from, "PUBREC for a message with QoS 1"));
        }
        self.judge(from, packet_id, reason, now_ms)?;
        // [MQTT-4.3.3-4]: an error ends the exchange.
        self.flows[to].acknowledged(packet_id, reason.is_error(), now_ms);
        let passed_on = Packet::PubRec(PubRec { packet_id, reason, properties });
        put(passed_on, &self.peers[to], &mut out[to]);
        Ok(())
    }

    pub(super) fn handle_pub_rel(
        &mut self,
        from: Side,
        ack: &PubRel<'_>,
        now_ms: u64,
        out: &mut Outputs,
    ) {
        let (packet_id, reason, properties) = (ack.packet_id, ack.reason, Properties::EMPTY);
        let to = from.other();
        if self.peers[to].maximum_qos < QoS::ExactlyOnce {
            // The message went on with a lower QoS, and the other end has acknowledged it already.
            let reason = ReasonCode::Success;
            let answer = Packet::PubComp(PubComp { packet_id, reason, properties });
            put(answer, &self.peers[from], &mut out[from]);
            return;
        }
        self.flows[from].released(packet_id, now_ms);
        let passed_on = Packet::PubRel(PubRel { packet_id, reason, properties });
        put(passed_on, &self.peers[to], &mut out[to]);
    }

    pub(super) fn handle_pub_comp(
        &mut self,
        from: Side,
        ack: &PubComp<'_>,
        now_ms: u64,
        out: &mut Outputs,
    ) -> Result<(), LinkError> {
        if self.is_swept(from) {
            return self.handle_swept(from, now_ms, out);
        }
        let (packet_id, reason, properties) = (ack.packet_id, ack.reason, Properties::EMPTY);
        let to = from.other();
        let was_pending = self.flows[to].acknowledged(packet_id, true, now_ms);
        if was_pending && !reason.is_error() {
            self.count_acknowledged(from, now_ms);
        }
        let passed_on = Packet::PubComp(PubComp { packet_id, reason, properties });
        put(passed_on, &self.peers[to], &mut out[to]);
        Ok(())
    }

    /// What an error in an acknowledgement of a PUBLISH means.
    fn judge(
        &mut self,
        from: Side,
        packet_id: PacketId,
        reason: ReasonCode,
        now_ms: u64,
    ) -> Result<(), LinkError> {
        if !reason.is_error() {
            return Ok(());
        }
        let source = from.other();
        let topic = self.flows[source].topics.topic(packet_id).to_owned();
        if is_transient(reason) {
            return Err(LinkError::Busy { side: from, reason, topic });
        }
        self.refused(source, topic, reason, now_ms);
        Ok(())
    }

    fn count_acknowledged(&mut self, by: Side, now_ms: u64) {
        self.counts.forwarded[by.other()] += 1;
        self.acknowledged_ms[by] = Some(now_ms);
    }
}

/// Whether the same message may be taken later.
fn is_transient(reason: ReasonCode) -> bool {
    matches!(
        reason,
        ReasonCode::UnspecifiedError
            | ReasonCode::ImplementationSpecificError
            | ReasonCode::ServerUnavailable
            | ReasonCode::ServerBusy
            | ReasonCode::MessageRateTooHigh
            | ReasonCode::QuotaExceeded
    )
}
