//! PUBACK, PUBREC, PUBREL and PUBCOMP from a client.

use outpost_protocol::{Ack, PacketId, PubRec, PubRel, ReasonCode, SendStep};

use super::bug::Bug;
use super::connection::ConnId;
use super::output::{AckKind, Output};
use super::session::Content;
use super::time::Instant;
use super::topics::SessionKey;
use super::{Broker, Handled};

impl Broker {
    pub(super) fn handle_pubrec(
        &mut self,
        now: Instant,
        id: ConnId,
        key: SessionKey,
        ack: &PubRec<'_>,
    ) -> Handled {
        if self.sessions[key as usize].is_to_resend(ack.packet_id) {
            // The client may mean what it got on a former connection; it is asked again.
            return Handled::Done;
        }
        if self.sessions[key as usize].find_inflight(ack.packet_id).is_none() {
            // The identifier may come from before a session was lost: the client is helped to its
            // end of the flow [MQTT-4.3.3-5].
            if !ack.reason.is_error() {
                let pubrel = Output::Ack(AckKind::PubRel, ack.packet_id, ReasonCode::Success);
                self.push_output(id, pubrel);
            }
            return Handled::Done;
        }
        self.handle_ack(now, id, key, Ack::PubRec, ack.packet_id, ack.reason)
    }

    /// The end of a QoS 2 message from the client [MQTT-4.3.3-11].
    pub(super) fn handle_pubrel(
        &mut self,
        now: Instant,
        id: ConnId,
        key: SessionKey,
        ack: &PubRel<'_>,
    ) -> Handled {
        let session = &mut self.sessions[key as usize];
        let was_received = session.received.remove(&ack.packet_id);
        let is_durable = session.is_durable();
        let (after, reason) = match (was_received, is_durable) {
            (true, true) => {
                // The client may use the identifier again at once: a restart must know it as free.
                self.touch_session(now, key);
                (self.pending.urgent(now), ReasonCode::Success)
            }
            (true, false) => (0, ReasonCode::Success),
            (false, _) => (self.all_durable_after(), self.unknown_pubrel_reason(id)),
        };
        self.push_after(id, after, Output::Ack(AckKind::PubComp, ack.packet_id, reason));
        Handled::Done
    }

    /// What a PUBREL of an unknown identifier is answered with. In a session that was resumed it may
    /// be one whose PUBCOMP was lost with the connection before: its flow is complete, and clients
    /// such as MQTT.js take 0x92 for a failed publication (4.3.3: no error during recovery).
    fn unknown_pubrel_reason(&self, id: ConnId) -> ReasonCode {
        let is_resumed = self.connection(id).is_some_and(|c| !c.has_new_session);
        if is_resumed { ReasonCode::Success } else { ReasonCode::PacketIdentifierNotFound }
    }

    /// The sending half. An identifier that is not in use is no fault: its session may have been
    /// lost, or the packet crossed a reconnection.
    pub(super) fn handle_ack(
        &mut self,
        now: Instant,
        id: ConnId,
        key: SessionKey,
        ack: Ack,
        packet_id: PacketId,
        reason: ReasonCode,
    ) -> Handled {
        let is_lost = self.has_bug(Bug::LostPubRel);
        let session = &mut self.sessions[key as usize];
        let Some(inflight) = session.find_inflight(packet_id) else { return Handled::Done };
        match inflight.state.handle(ack, reason) {
            Ok(SendStep::Done) => {
                let landed = session.land(packet_id).expect("it was found just now");
                match &landed.content {
                    Content::Message(queued) => self.finish(now, key, queued),
                    Content::Number(seq) => self.finish_number(now, key, *seq),
                    Content::Released => self.touch_session(now, key),
                }
                self.pump(now, key);
                self.send_retained_ahead(now, key);
                Handled::Done
            }
            Ok(SendStep::SendPubRel) => {
                let content = std::mem::replace(&mut inflight.content, Content::Released);
                let is_durable = session.is_durable() && !is_lost;
                if let Content::Message(queued) = content {
                    self.finish(now, key, &queued);
                }
                self.touch_session(now, key);
                // The client forgets the message with PUBREL: were the state not durable before, a
                // restart would send the message again, as a new one.
                let after = if is_durable { self.pending.urgent(now) } else { 0 };
                let pubrel = Output::Ack(AckKind::PubRel, packet_id, ReasonCode::Success);
                self.push_after(id, after, pubrel);
                Handled::Done
            }
            Err(reason) => self.fail(now, id, reason, "an acknowledgement of the wrong kind"),
        }
    }
}
