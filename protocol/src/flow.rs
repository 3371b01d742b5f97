//! The two halves of the QoS 1 and QoS 2 flows (4.3): state rules, and tables of fixed size.
//!
//! No messages are kept here, only packet identifiers and what they wait for. The broker's sessions
//! use the rules of [`SendState`]; the client uses the tables as well.

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

/// Up to `N` packet identifiers in flight with what they wait for.
///
/// They stand in the order in which their packets must be sent again after a reconnection: first
/// the PUBRELs in the order in which the PUBRECs came [MQTT-4.6.0-4], then the PUBLISHes in the
/// order in which they were sent [MQTT-4.6.0-1]. `N` is the send quota [MQTT-4.9.0-1]; a lower
/// Receive Maximum is kept by asking [`Self::len`] before [`Self::insert`].
#[derive(Clone, Debug)]
pub struct SendingHalf<const N: usize> {
    flows: [Option<(PacketId, SendState)>; N],
    len: usize,
    next: PacketId,
}

impl<const N: usize> SendingHalf<N> {
    /// Nothing in flight.
    pub const fn new() -> Self {
        Self { flows: [None; N], len: 0, next: PacketId::MIN }
    }

    /// How many are in flight.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether none is in flight.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether no more may be sent [MQTT-4.9.0-2].
    pub const fn is_full(&self) -> bool {
        self.len == N
    }

    /// A packet identifier that is not in flight here [MQTT-2.2.1-3]; none where the table is full
    /// or holds all there are. `is_used` tells what the caller uses elsewhere (SUBSCRIBE and
    /// UNSUBSCRIBE take theirs from the same numbers).
    pub fn free_packet_id(&mut self, is_used: impl Fn(PacketId) -> bool) -> Option<PacketId> {
        if self.is_full() {
            return None;
        }
        for _ in 0..u16::MAX {
            let id = self.next;
            self.next = id.next();
            if !self.contains(id) && !is_used(id) {
                return Some(id);
            }
        }
        None
    }

    /// A PUBLISH above QoS 0 was sent with this packet identifier. False, and nothing is changed,
    /// where the table is full, the packet identifier in flight or the QoS 0.
    #[must_use]
    pub fn insert(&mut self, id: PacketId, qos: QoS) -> bool {
        match SendState::first(qos) {
            Some(state) => self.restore(id, state),
            None => false,
        }
    }

    /// Puts a flow back behind the others of its kind, as a session that was stored had it. False,
    /// and nothing is changed, where the table is full or the packet identifier in flight.
    #[must_use]
    pub fn restore(&mut self, id: PacketId, state: SendState) -> bool {
        if self.is_full() || self.contains(id) {
            return false;
        }
        self.flows[self.len] = Some((id, state));
        self.len += 1;
        if state == SendState::AwaitPubComp {
            self.move_behind_released(self.len - 1);
        }
        true
    }

    /// An acknowledgement came.
    ///
    /// # Errors
    /// [`ReasonCode::PacketIdentifierNotFound`] where the packet identifier is not in flight, and
    /// those of [`SendState::handle`].
    pub fn handle(
        &mut self,
        id: PacketId,
        ack: Ack,
        reason: ReasonCode,
    ) -> Result<SendStep, ReasonCode> {
        let at = self.position(id).ok_or(ReasonCode::PacketIdentifierNotFound)?;
        let Some((_, state)) = &mut self.flows[at] else {
            return Err(ReasonCode::PacketIdentifierNotFound);
        };
        let was_released = *state == SendState::AwaitPubComp;
        let step = state.handle(ack, reason)?;
        match step {
            SendStep::Done => self.remove_at(at),
            SendStep::SendPubRel if was_released => {}
            SendStep::SendPubRel => self.move_behind_released(at),
        }
        Ok(step)
    }

    /// What a packet identifier waits for.
    pub fn state(&self, id: PacketId) -> Option<SendState> {
        self.iter().find(|(other, _)| *other == id).map(|(_, state)| state)
    }

    /// Whether a packet identifier is in flight.
    pub fn contains(&self, id: PacketId) -> bool {
        self.position(id).is_some()
    }

    /// All that is in flight, in the order of sending again.
    pub fn iter(&self) -> impl Iterator<Item = (PacketId, SendState)> + '_ {
        self.flows[..self.len].iter().flatten().copied()
    }

    /// Forgets all: the server has no session any more [MQTT-3.2.2-5].
    pub fn clear(&mut self) {
        self.flows = [None; N];
        self.len = 0;
    }

    fn position(&self, id: PacketId) -> Option<usize> {
        self.iter().position(|(other, _)| other == id)
    }

    fn remove_at(&mut self, at: usize) {
        self.flows[at..self.len].rotate_left(1);
        self.len -= 1;
        self.flows[self.len] = None;
    }

    /// Moves the flow at `at` forward, behind all that wait for PUBCOMP before it.
    fn move_behind_released(&mut self, at: usize) {
        let is_released = |flow: &Option<(PacketId, SendState)>| {
            matches!(flow, Some((_, SendState::AwaitPubComp)))
        };
        let to = self.flows[..at].iter().take_while(|flow| is_released(flow)).count();
        self.flows[to..=at].rotate_right(1);
    }
}

impl<const N: usize> Default for SendingHalf<N> {
    fn default() -> Self {
        Self::new()
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

    fn ids<const N: usize>(half: &SendingHalf<N>) -> Vec<u16> {
        half.iter().map(|(id, _)| id.value()).collect()
    }

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

    /// [MQTT-4.6.0-1] [MQTT-4.6.0-4]
    #[test]
    fn the_table_keeps_the_order_of_sending_again() {
        let mut half = SendingHalf::<5>::new();
        for value in 1..=5 {
            assert!(half.insert(id(value), QoS::ExactlyOnce));
        }
        for value in [4, 2] {
            assert_eq!(half.handle(id(value), Ack::PubRec, SUCCESS), Ok(SendStep::SendPubRel));
        }
        assert_eq!(ids(&half), [4, 2, 1, 3, 5], "PUBRELs by PUBREC, then PUBLISHes");
        assert_eq!(half.handle(id(4), Ack::PubRec, SUCCESS), Ok(SendStep::SendPubRel));
        assert_eq!(ids(&half), [4, 2, 1, 3, 5], "a repeated PUBREC moves nothing");
        assert_eq!(half.handle(id(4), Ack::PubComp, SUCCESS), Ok(SendStep::Done));
        assert_eq!(half.handle(id(1), Ack::PubRec, ReasonCode::QuotaExceeded), Ok(SendStep::Done));
        assert_eq!(ids(&half), [2, 3, 5]);
        assert_eq!(half.state(id(2)), Some(SendState::AwaitPubComp));
        assert!(half.restore(id(9), SendState::AwaitPubComp));
        assert_eq!(ids(&half), [2, 9, 3, 5]);
    }

    /// [MQTT-4.9.0-2]
    #[test]
    fn the_table_has_a_bound() {
        let mut half = SendingHalf::<2>::new();
        assert!(half.insert(id(1), QoS::AtLeastOnce));
        assert!(!half.insert(id(1), QoS::AtLeastOnce), "in flight already");
        assert!(!half.insert(id(2), QoS::AtMostOnce), "QoS 0 is not kept");
        assert!(half.insert(id(2), QoS::ExactlyOnce));
        assert!(half.is_full());
        assert!(!half.insert(id(3), QoS::AtLeastOnce));
        assert_eq!(half.free_packet_id(|_| false), None);
        let unknown = half.handle(id(3), Ack::PubAck, SUCCESS);
        assert_eq!(unknown, Err(ReasonCode::PacketIdentifierNotFound));
        half.clear();
        assert!(half.is_empty());
    }

    /// [MQTT-2.2.1-3]
    #[test]
    fn packet_identifiers_are_unused_ones_and_go_round() {
        let mut half = SendingHalf::<3>::new();
        assert_eq!(half.free_packet_id(|id| id.value() < 3), Some(id(3)));
        assert!(half.insert(id(4), QoS::AtLeastOnce));
        assert_eq!(half.free_packet_id(|_| false), Some(id(5)));
        assert_eq!(half.free_packet_id(|id| id.value() > 5), Some(id(1)), "1 after 65,535");
        assert_eq!(half.free_packet_id(|_| true), None);
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
