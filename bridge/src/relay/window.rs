//! Messages that the other end does not take yet, because as many as it allows are unacknowledged.
//!
//! A broker that speaks 5.0 is told how many the other one takes. One that speaks 3.1.1 cannot be told,
//! and has a window of its own; and Mosquitto 2.0.11 sends more than it may after a reconnection, with
//! either version. What is beyond is held here, in its order, as it came. It is not acknowledged, and so
//! is nothing that must not be lost.

use std::collections::VecDeque;

use outpost_protocol::{Packet, Publish, QoS, decode};

use super::{Relay, protocol_error};
use crate::link_error::LinkError;
use crate::output::{Output, Outputs};
use crate::side::Side;

/// Messages of QoS 1 and 2 that came from one end and wait for room at the other.
#[derive(Debug, Default)]
pub(super) struct Beyond {
    packets: VecDeque<Output>,
    bytes: usize,
}

impl Relay {
    /// Takes a message whose topic is known, or puts it behind those that wait for room.
    ///
    /// # Errors
    /// More waits than may wait for an end.
    pub(super) fn take_within_window(
        &mut self,
        from: Side,
        publish: &Publish<'_>,
        now_ms: u64,
        out: &mut Outputs,
    ) -> Result<(), LinkError> {
        let is_free = self.beyond[from].packets.is_empty() && self.has_room(from);
        if publish.qos == QoS::AtMostOnce || is_free {
            self.take(from, publish, now_ms, out);
            return Ok(());
        }
        let mut packet = Output::default();
        Packet::Publish(publish.clone())
            .encode(self.peers[from].version, &mut packet)
            .map_err(|error| protocol_error(from, &error.to_string()))?;
        let beyond = &mut self.beyond[from];
        beyond.bytes += packet.len();
        beyond.packets.push_back(packet);
        match beyond.bytes > self.output_bytes_max {
            true => Err(LinkError::Overflow(from.other())),
            false => Ok(()),
        }
    }

    /// Takes those that there is room for now.
    pub(super) fn fill_window(
        &mut self,
        from: Side,
        now_ms: u64,
        out: &mut Outputs,
    ) -> Result<(), LinkError> {
        while self.has_room(from)
            && let Some(packet) = self.beyond[from].packets.pop_front()
        {
            self.beyond[from].bytes -= packet.len();
            let decoded = decode(packet.pending(), self.peers[from].version, u32::MAX)
                .map_err(|error| protocol_error(from, &error.to_string()))?;
            if let Some((Packet::Publish(publish), _)) = decoded {
                self.take(from, &publish, now_ms, out);
            }
        }
        Ok(())
    }

    fn has_room(&self, from: Side) -> bool {
        let taken = self.peers[from.other()].receive_maximum;
        let window = match from {
            Side::Local => taken,
            Side::Remote => taken.min(self.receive_maximum),
        };
        self.flows[from].pending.len() < window.into()
    }
}
