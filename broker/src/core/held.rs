//! Messages of 3.1 and 3.1.1 clients that a full queue has no room for yet. These clients cannot be
//! told: their PUBACK or PUBREC waits (`QueueFull::Reject`). All else that they send is handled
//! meanwhile. Were they not read from, the acknowledgements that make room could not come, where a
//! client waits for its own queue, or two for each other's.
//!
//! At most `receive_maximum` messages and, but for the last, `output_bytes_max` bytes of one
//! connection are held; then nothing more is read from it.

use outpost_protocol::{Packet, ProtocolVersion, Publish, decode};

use super::connection::ConnId;
use super::output::ByteBuffer;
use super::time::Instant;
use super::{Broker, Handled};

impl Broker {
    /// Keeps a message until there is room for it, behind those that are held already.
    pub(super) fn hold(&mut self, now: Instant, id: ConnId, publish: &Publish<'_>) -> Handled {
        let limits = &self.settings.limits;
        let messages_max = usize::from(limits.receive_maximum);
        let bytes_max = limits.output_bytes_max as usize;
        let connection = &mut self.connections[id.index()];
        let held_bytes: usize = connection.held.iter().map(|bytes| bytes.len()).sum();
        if connection.held.len() >= messages_max || held_bytes >= bytes_max {
            return self.wait(now, id);
        }
        let mut bytes = ByteBuffer::default();
        publish.encode(connection.version, &mut bytes).expect("it was a packet before");
        connection.held.push_back(bytes.0.into_boxed_slice());
        self.wait(now, id);
        Handled::Done
    }

    /// Tries again with the messages of connections that may find room now.
    pub(super) fn take_up_held(&mut self, now: Instant) {
        while let Some(id) = self.room_for.pop_first() {
            while self.take_up_next(now, id) {}
        }
    }

    /// Tries again with the next message of a connection. False: there is none, or no room for it.
    fn take_up_next(&mut self, now: Instant, id: ConnId) -> bool {
        let Some(connection) = self.connection_mut(id) else { return false };
        let version = connection.version;
        let (Some(session), Some(bytes)) = (connection.session, connection.held.pop_front()) else {
            return false;
        };
        let publish = decode_held(&bytes, version);
        let handled = self.handle_held(now, id, session, &publish);
        let Some(connection) = self.connection_mut(id) else { return false };
        match handled {
            Handled::Wait => connection.held.push_front(bytes),
            Handled::Done if connection.held.is_empty() => connection.waits_since = None,
            Handled::Done | Handled::Closed => {}
        }
        handled == Handled::Done
    }
}

fn decode_held(bytes: &[u8], version: ProtocolVersion) -> Publish<'_> {
    match decode(bytes, version, u32::MAX) {
        Ok(Some((Packet::Publish(publish), _))) => publish,
        other => unreachable!("a PUBLISH was held, not {other:?}"),
    }
}
