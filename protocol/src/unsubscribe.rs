//! UNSUBSCRIBE (3.10): a client no longer wants the messages of some topic filters.

use core::fmt;

use crate::encode::{self, Buffer, Gather};
use crate::error::{BufferFull, DecodeError};
use crate::packet_id::PacketId;
use crate::properties::{Place, Properties};
use crate::version::ProtocolVersion;
use crate::wire::{Reader, put_string};

/// UNSUBSCRIBE.
#[derive(Clone, Debug, PartialEq)]
pub struct Unsubscribe<'a> {
    /// The packet identifier.
    pub packet_id: PacketId,
    /// 5.0 only.
    pub properties: Properties<'a>,
    /// At least one [MQTT-3.10.3-2].
    pub filters: UnsubscribeFilters<'a>,
}

const FIRST_BYTE: u8 = 0xA2;

impl<'a> Unsubscribe<'a> {
    pub(crate) fn decode(body: &'a [u8], version: ProtocolVersion) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let packet_id = reader
            .u16()
            .ok_or(DecodeError::malformed("UNSUBSCRIBE: the packet identifier is missing"))?;
        // [MQTT-2.2.1-3]
        let packet_id = PacketId::new(packet_id)
            .ok_or(DecodeError::protocol("UNSUBSCRIBE: packet identifier 0"))?;
        let properties = match version {
            ProtocolVersion::V5 => Properties::decode(&mut reader, Place::UNSUBSCRIBE)?,
            _ => Properties::EMPTY,
        };
        let filters = WireUnsubscribeFilters::check(reader.rest())?;
        Ok(Self { packet_id, properties, filters: UnsubscribeFilters::Wire(filters) })
    }

    /// Writes the packet.
    ///
    /// # Errors
    /// [`BufferFull`] where it cannot be written; see there.
    pub fn encode<B: Buffer>(
        &self,
        version: ProtocolVersion,
        out: &mut B,
    ) -> Result<(), BufferFull> {
        let mut head = Gather::packet(FIRST_BYTE, self.remaining_length(version)?, out)?;
        head.u16(self.packet_id.value());
        head.put(out)?;
        if version.is_v5() {
            self.properties.encode_with_prefix(out)?;
        }
        self.filters.iter().try_for_each(|filter| put_string(filter, out))
    }

    /// How many bytes `encode` writes: the whole packet with its header.
    ///
    /// # Errors
    /// [`BufferFull`] where it cannot be written at all; see there.
    pub fn encoded_len(&self, version: ProtocolVersion) -> Result<usize, BufferFull> {
        encode::packet_len(self.remaining_length(version)?)
    }

    fn remaining_length(&self, version: ProtocolVersion) -> Result<usize, BufferFull> {
        if self.filters.is_empty() {
            return Err(BufferFull);
        }
        encode::check_field_lengths(self.filters.iter().map(str::len))?;
        let properties = if version.is_v5() { self.properties.len_with_prefix() } else { 0 };
        let filters: usize = self.filters.iter().map(|filter| 2 + filter.len()).sum();
        Ok(2 + properties + filters)
    }
}

/// The topic filters of an UNSUBSCRIBE. Equal where these are.
#[derive(Clone, Copy)]
pub enum UnsubscribeFilters<'a> {
    /// To be encoded.
    List(&'a [&'a str]),
    /// As they came.
    Wire(WireUnsubscribeFilters<'a>),
}

/// Checked strings in wire form. Only decoding makes them.
#[derive(Clone, Copy)]
pub struct WireUnsubscribeFilters<'a>(&'a [u8]);

impl<'a> WireUnsubscribeFilters<'a> {
    fn check(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        // [MQTT-3.10.3-2]
        if bytes.is_empty() {
            return Err(DecodeError::protocol("UNSUBSCRIBE: no topic filter"));
        }
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            // [MQTT-3.10.3-1]
            reader.string().ok_or(DecodeError::malformed(
                "UNSUBSCRIBE: a topic filter is cut off or not UTF-8",
            ))?;
        }
        Ok(Self(bytes))
    }
}

impl<'a> UnsubscribeFilters<'a> {
    /// The filters, in order.
    pub fn iter(&self) -> UnsubscribeFiltersIter<'a> {
        UnsubscribeFiltersIter(*self)
    }

    /// How many there are. Counts them where they are in wire form.
    pub fn len(&self) -> usize {
        match self {
            Self::List(list) => list.len(),
            Self::Wire(_) => self.iter().count(),
        }
    }

    /// Whether there are none; never after decoding.
    pub const fn is_empty(&self) -> bool {
        match self {
            Self::List(list) => list.is_empty(),
            Self::Wire(wire) => wire.0.is_empty(),
        }
    }
}

impl PartialEq for UnsubscribeFilters<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for UnsubscribeFilters<'_> {}

impl fmt::Debug for UnsubscribeFilters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Goes through [`UnsubscribeFilters`].
pub struct UnsubscribeFiltersIter<'a>(UnsubscribeFilters<'a>);

impl<'a> Iterator for UnsubscribeFiltersIter<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        match &mut self.0 {
            UnsubscribeFilters::List(list) => {
                let (first, rest) = list.split_first()?;
                *list = rest;
                Some(first)
            }
            UnsubscribeFilters::Wire(wire) => {
                let mut reader = Reader::new(wire.0);
                let filter = reader.string()?;
                wire.0 = reader.rest();
                Some(filter)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Packet;
    use crate::testing::{MALFORMED, PROTOCOL_ERROR, V5, V311, assert_refused, assert_wire, id};

    #[test]
    fn each_version_has_its_form() {
        let filters = UnsubscribeFilters::List(&["a/#", "b"]);
        let unsubscribe = Packet::Unsubscribe(Unsubscribe {
            packet_id: id(10),
            properties: Properties::EMPTY,
            filters,
        });
        assert_wire(V5, &unsubscribe, 0xA2, b"\0\x0A\0\0\x03a/#\0\x01b");
        assert_wire(V311, &unsubscribe, 0xA2, b"\0\x0A\0\x03a/#\0\x01b");
        assert_eq!(filters.len(), 2);
    }

    /// [MQTT-3.10.3-2]
    #[test]
    fn at_least_one_topic_filter() {
        assert_refused(V5, 0xA2, b"\0\x01\0", PROTOCOL_ERROR, "UNSUBSCRIBE: no topic filter");
        let filters = UnsubscribeFilters::List(&[]);
        let unsubscribe = Unsubscribe { packet_id: id(1), properties: Properties::EMPTY, filters };
        assert_eq!(unsubscribe.encoded_len(V5), Err(BufferFull));
    }

    /// [MQTT-3.10.3-1] [MQTT-2.2.1-3]
    #[test]
    fn what_is_no_string_and_packet_identifier_0_are_refused() {
        let text = "UNSUBSCRIBE: a topic filter is cut off or not UTF-8";
        assert_refused(V5, 0xA2, b"\0\x01\0\0\x01a\0\x02b", MALFORMED, text);
        assert_refused(V5, 0xA2, b"\0\x01\0\0\x01\xFF", MALFORMED, text);
        let zero = "UNSUBSCRIBE: packet identifier 0";
        assert_refused(V5, 0xA2, b"\0\0\0\0\x01a", PROTOCOL_ERROR, zero);
    }
}
