//! Messages that wait in the relay, in the order and in the form in which they came.
//!
//! They are not acknowledged: with the connection they are forgotten, and come again. How many there may
//! be is for those to say who hold them.

use std::collections::VecDeque;

use outpost_protocol::{Packet, ProtocolVersion, Publish, decode};

use super::protocol_error;
use crate::link_error::LinkError;
use crate::output::Output;
use crate::side::Side;

/// Messages from one end.
#[derive(Debug, Default)]
pub(super) struct Held {
    packets: VecDeque<Box<[u8]>>,
    bytes: usize,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Bytes of all of them.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Puts a message whose topic is known behind the others.
    ///
    /// # Errors
    /// It cannot be kept, which would be a fault of the end that it came from.
    pub(super) fn push(
        &mut self,
        from: Side,
        publish: &Publish<'_>,
        version: ProtocolVersion,
    ) -> Result<(), LinkError> {
        let mut packet = Output::default();
        Packet::Publish(publish.clone())
            .encode(version, &mut packet)
            .map_err(|error| protocol_error(from, &error.to_string()))?;
        self.bytes += packet.len();
        self.packets.push_back(packet.pending().into());
        Ok(())
    }

    /// Takes the first.
    pub(super) fn pop(&mut self) -> Option<Box<[u8]>> {
        let packet = self.packets.pop_front()?;
        self.bytes -= packet.len();
        Some(packet)
    }
}

/// What was put in.
///
/// # Errors
/// As [`Held::push`].
pub(super) fn read(
    from: Side,
    packet: &[u8],
    version: ProtocolVersion,
) -> Result<Publish<'_>, LinkError> {
    match decode(packet, version, u32::MAX) {
        Ok(Some((Packet::Publish(publish), _))) => Ok(publish),
        Ok(_) => Err(protocol_error(from, "a message that cannot be kept")),
        Err(error) => Err(protocol_error(from, &error.to_string())),
    }
}
