//! The two halves of the QoS 1 and QoS 2 flows (4.3).
//!
//! [`SendState`] is the rule of the sending half for one message. Who sends keeps it beside the
//! message, which may have to be sent again: the client in its ring of packets
//! (`client/retained.rs`), the broker in its sessions. The receiving half needs packet identifiers
//! alone: [`ReceivingHalf`] is the client's table of them, of fixed size; the broker has its own,
//! which grows with what a 3.1.1 client sends.

use crate::packet_id::PacketId;
use crate::qos::QoS;
use crate::reason_code::ReasonCode;

/// What the sender of a message waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendState {
    /// QoS 1: PUBLISH is unacknowledged until PUBACK comes [MQTT-4.3.2-3].
    AwaitPubAck,
    /// QoS 2: PUBLISH is unacknowledged until PUBREC comes [MQTT-4.3.3-3].
    AwaitPubRec,
    /// QoS 2: PUBREL is unacknowledged until PUBCOMP comes [MQTT-4.3.3-5]. The PUBLISH is never
    /// sent again [MQTT-4.3.3-6].
    AwaitPubComp,
}

/// The kind of an acknowledgement that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// PUBACK.
    PubAck,
    /// PUBREC.
    PubRec,
    /// PUBCOMP.
    PubComp,
}

/// What follows from an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendStep {
    /// The flow has ended; its packet identifier is free again.
    Done,
    /// PUBREL is to be sent.
    SendPubRel,
}

impl SendState {
    /// The state after the PUBLISH was sent; none at QoS 0.
    pub const fn first(qos: QoS) -> Option<Self> {
        match qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce => Some(Self::AwaitPubAck),
            QoS::ExactlyOnce => Some(Self::AwaitPubRec),
        }
    }

    /// Goes on with an acknowledgement of this flow's packet identifier.
    ///
    /// PUBACK and PUBREC with an error end the flow: the message counts as acknowledged
    /// [MQTT-4.4.0-2]. Any other PUBREC asks for PUBREL [MQTT-4.3.3-4], a repeated one again.
    ///
    /// # Errors
    /// [`ReasonCode::ProtocolError`] for an acknowledgement of the wrong kind; the state stays.
    pub fn handle(&mut self, ack: Ack, reason: ReasonCode) -> Result<SendStep, ReasonCode> {
        match (*self, ack) {
            (Self::AwaitPubAck, Ack::PubAck) | (Self::AwaitPubComp, Ack::PubComp) => {
                Ok(SendStep::Done)
            }
            (Self::AwaitPubRec | Self::AwaitPubComp, Ack::PubRec) if reason.is_error() => {
                Ok(SendStep::Done)
            }
            (Self::AwaitPubRec | Self::AwaitPubComp, Ack::PubRec) => {
                *self = Self::AwaitPubComp;
                Ok(SendStep::SendPubRel)
            }
            _ => Err(ReasonCode::ProtocolError),
        }
    }
}

/// What a QoS 2 PUBLISH is to its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// A new message: take it, answer PUBREC [MQTT-4.3.3-8].
    New,
    /// A message that was taken already: only answer PUBREC [MQTT-4.3.3-10].
    Duplicate,
    /// A new one, for which there is no room: the sender goes beyond the Receive Maximum.
    Full,
}

/// Up to `N` packet identifiers of QoS 2 messages that were received and are not yet released.
#[derive(Clone, Debug)]
pub struct ReceivingHalf<const N: usize> {
    ids: [Option<PacketId>; N],
    len: usize,
}

impl<const N: usize> ReceivingHalf<N> {
    /// None received.
    pub const fn new() -> Self {
        Self { ids: [None; N], len: 0 }
    }

    /// A QoS 2 PUBLISH came.
    pub fn insert(&mut self, id: PacketId) -> Received {
        if self.contains(id) {
            return Received::Duplicate;
        }
        if self.len == N {
            return Received::Full;
        }
        self.ids[self.len] = Some(id);
        self.len += 1;
        Received::New
    }

    /// PUBREL came, or PUBREC was sent with an error [MQTT-4.3.3-9]: the next PUBLISH with this
    /// packet identifier is a new message [MQTT-4.3.3-12]. Whether it was there; PUBCOMP is the
    /// answer either way [MQTT-4.3.3-11], with 0x92 where it was not.
    pub fn release(&mut self, id: PacketId) -> bool {
        let Some(at) = self.ids[..self.len].iter().position(|other| *other == Some(id)) else {
            return false;
        };
        self.ids[at..self.len].rotate_left(1);
        self.len -= 1;
        self.ids[self.len] = None;
        true
    }

    /// Whether a packet identifier was received and not yet released.
    pub fn contains(&self, id: PacketId) -> bool {
        self.iter().any(|other| other == id)
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of them, in the order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = PacketId> + '_ {
        self.ids[..self.len].iter().flatten().copied()
    }

    /// Forgets all: the session has ended.
    pub fn clear(&mut self) {
        *self = Self::new();
    }
}

impl<const N: usize> Default for ReceivingHalf<N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::testing::id;

    const SUCCESS: ReasonCode = ReasonCode::Success;

    /// [MQTT-4.3.2-3] [MQTT-4.4.0-2]
    #[test]
    fn puback_ends_qos_1() {
        for reason in [SUCCESS, ReasonCode::QuotaExceeded] {
            let mut state = SendState::first(QoS::AtLeastOnce).expect("QoS 1 is acknowledged");
            assert_eq!(state.handle(Ack::PubRec, SUCCESS), Err(ReasonCode::ProtocolError));
            assert_eq!(state.handle(Ack::PubComp, SUCCESS), Err(ReasonCode::ProtocolError));
            assert_eq!(state.handle(Ack::PubAck, reason), Ok(SendStep::Done));
        }
        assert_eq!(SendState::first(QoS::AtMostOnce), None);
    }

    /// [MQTT-4.3.3-3] [MQTT-4.3.3-4] [MQTT-4.3.3-5]
    #[test]
    fn qos_2_goes_by_pubrec_pubrel_pubcomp() {
        let mut state = SendState::first(QoS::ExactlyOnce).expect("QoS 2 is acknowledged");
        assert_eq!(state.handle(Ack::PubAck, SUCCESS), Err(ReasonCode::ProtocolError));
        assert_eq!(state.handle(Ack::PubComp, SUCCESS), Err(ReasonCode::ProtocolError));
        assert_eq!(
            state.handle(Ack::PubRec, ReasonCode::NoMatchingSubscribers),
            Ok(SendStep::SendPubRel)
        );
        assert_eq!(state, SendState::AwaitPubComp);
        assert_eq!(state.handle(Ack::PubRec, SUCCESS), Ok(SendStep::SendPubRel), "a repeated one");
        assert_eq!(state.handle(Ack::PubAck, SUCCESS), Err(ReasonCode::ProtocolError));
        assert_eq!(
            state.handle(Ack::PubComp, ReasonCode::PacketIdentifierNotFound),
            Ok(SendStep::Done)
        );
    }

    /// [MQTT-4.3.3-4] [MQTT-4.4.0-2]
    #[test]
    fn an_error_in_pubrec_ends_qos_2() {
        let mut state = SendState::AwaitPubRec;
        assert_eq!(state.handle(Ack::PubRec, ReasonCode::NotAuthorized), Ok(SendStep::Done));
    }

    /// [MQTT-4.3.3-10] [MQTT-4.3.3-12]
    #[test]
    fn a_received_identifier_is_a_duplicate_until_it_is_released() {
        let mut half = ReceivingHalf::<2>::new();
        assert_eq!(half.insert(id(7)), Received::New);
        assert_eq!(half.insert(id(7)), Received::Duplicate);
        assert_eq!(half.insert(id(8)), Received::New);
        assert_eq!(half.insert(id(9)), Received::Full);
        assert_eq!(half.insert(id(8)), Received::Duplicate, "also where it is full");
        assert!(half.release(id(7)));
        assert!(!half.release(id(7)));
        assert_eq!(half.insert(id(7)), Received::New);
        assert_eq!(half.iter().map(PacketId::value).collect::<Vec<_>>(), [8, 7]);
        assert_eq!(half.len(), 2);
        half.clear();
        assert!(half.is_empty() && !half.contains(id(8)));
    }
}
