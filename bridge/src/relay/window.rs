//! Messages that the other end does not take yet, because as many as it allows are unacknowledged.
//!
//! A broker that speaks 5.0 is told how many the other one takes. One that speaks 3.1.1 cannot be told,
//! and has a window of its own; and Mosquitto 2.0.11 sends more than it may after a reconnection, with
//! either version. What is beyond is held here, in its order, as it came. It is not acknowledged, and so
//! is nothing that must not be lost.

use outpost_protocol::{Publish, QoS};

use super::{Relay, held};
use crate::link_error::LinkError;
use crate::output::Outputs;
use crate::side::Side;

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
        let is_free = self.beyond[from].is_empty() && self.has_room(from);
        if publish.qos == QoS::AtMostOnce || is_free {
            self.take(from, publish, now_ms, out);
            return Ok(());
        }
        self.beyond[from].push(from, publish, self.peers[from].version)?;
        match self.beyond[from].bytes() > self.output_bytes_max {
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
            && let Some(packet) = self.beyond[from].pop()
        {
            let publish = held::read(from, &packet, self.peers[from].version)?;
            self.take(from, &publish, now_ms, out);
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
