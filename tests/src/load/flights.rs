//! A publisher's messages of QoS 1 and 2 that are not yet acknowledged.

use outpost_protocol::{Ack, PacketId, QoS, ReasonCode, SendState, SendStep};

/// One message in flight.
#[derive(Clone, Copy, Debug)]
struct Flight {
    state: SendState,
    published_ns: u64,
}

/// What an acknowledgement means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Acked {
    /// The exchange is over.
    Done { published_ns: u64, refused: bool },
    /// PUBREL is due.
    SendPubRel,
    /// It belongs to no exchange.
    Unexpected,
}

/// The flights of one publisher: packet identifiers go round in twice the window, so that one is
/// free whenever the window is open and the oldest one is not stuck.
#[derive(Debug)]
pub(crate) struct Flights {
    slots: Vec<Option<Flight>>,
    next: usize,
    window: usize,
    in_flight: usize,
}

impl Flights {
    pub(crate) fn new(window: u16) -> Self {
        let window = usize::from(window);
        Self { slots: vec![None; window * 2], next: 0, window, in_flight: 0 }
    }

    /// Takes a packet identifier; none while the window is full.
    #[inline]
    pub(crate) fn take(&mut self, qos: QoS, now_ns: u64) -> Option<PacketId> {
        if self.in_flight == self.window || self.slots[self.next].is_some() {
            return None;
        }
        let packet_id = PacketId::new(u16::try_from(self.next + 1).ok()?)?;
        self.slots[self.next] =
            Some(Flight { state: SendState::first(qos)?, published_ns: now_ns });
        self.next = (self.next + 1) % self.slots.len();
        self.in_flight += 1;
        Some(packet_id)
    }

    #[inline]
    pub(crate) fn handle(&mut self, id: PacketId, ack: Ack, reason: ReasonCode) -> Acked {
        let slot = usize::from(id.value()) - 1;
        let Some(Some(flight)) = self.slots.get_mut(slot) else { return Acked::Unexpected };
        let published_ns = flight.published_ns;
        match flight.state.handle(ack, reason) {
            Ok(SendStep::SendPubRel) => Acked::SendPubRel,
            Ok(SendStep::Done) => {
                self.slots[slot] = None;
                self.in_flight -= 1;
                Acked::Done { published_ns, refused: reason.is_error() }
            }
            Err(_) => Acked::Unexpected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_bounds_what_is_in_flight_and_acknowledgements_open_it() {
        let mut flights = Flights::new(2);
        let first = flights.take(QoS::AtLeastOnce, 7).expect("the window is open");
        let second = flights.take(QoS::ExactlyOnce, 8).expect("the window is open");
        assert_eq!(flights.take(QoS::AtLeastOnce, 9), None);
        let done = Acked::Done { published_ns: 7, refused: false };
        assert_eq!(flights.handle(first, Ack::PubAck, ReasonCode::Success), done);
        assert_eq!(flights.handle(first, Ack::PubAck, ReasonCode::Success), Acked::Unexpected);
        let pubrec = flights.handle(second, Ack::PubRec, ReasonCode::Success);
        assert_eq!((pubrec, flights.in_flight), (Acked::SendPubRel, 1));
        let done = Acked::Done { published_ns: 8, refused: false };
        assert_eq!(flights.handle(second, Ack::PubComp, ReasonCode::Success), done);
        assert_eq!(flights.in_flight, 0);
    }
}
