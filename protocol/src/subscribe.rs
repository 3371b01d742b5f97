//! SUBSCRIBE (3.8): a client asks for the messages of some topic filters.

use core::fmt;

use crate::encode::{self, Buffer, Gather};
use crate::error::{BufferFull, DecodeError};
use crate::packet_id::PacketId;
use crate::properties::{Place, Properties};
use crate::qos::QoS;
use crate::version::ProtocolVersion;
use crate::wire::{Reader, put_string};

/// SUBSCRIBE.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribe<'a> {
    /// The packet identifier.
    pub packet_id: PacketId,
    /// 5.0 only.
    pub properties: Properties<'a>,
    /// At least one [MQTT-3.8.3-2].
    pub filters: SubscribeFilters<'a>,
}

/// A topic filter and what is wanted of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribeFilter<'a> {
    /// The topic filter. Decoding checks that it is a UTF-8 encoded string [MQTT-3.8.3-1], not
    /// that it is a topic filter: 5.0 answers that in SUBACK.
    pub filter: &'a str,
    /// The subscription options.
    pub options: SubscriptionOptions,
}

/// The subscription options (3.8.3.1). 3.1 and 3.1.1 have the QoS only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// The highest QoS that messages are sent with.
    pub qos: QoS,
    /// Messages of the client itself are not sent back to it.
    pub no_local: bool,
    /// The RETAIN flag stays as it was published.
    pub retain_as_published: bool,
    /// When retained messages are sent.
    pub retain_handling: RetainHandling,
}

/// When retained messages are sent for a subscription.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RetainHandling {
    /// Whenever the client subscribes.
    #[default]
    SendAtSubscribe = 0,
    /// Only if the subscription did not exist.
    SendAtSubscribeIfNew = 1,
    /// Never.
    DoNotSend = 2,
}

const FIRST_BYTE: u8 = 0x82;

const NO_LOCAL: u8 = 0x04;
const RETAIN_AS_PUBLISHED: u8 = 0x08;
const RETAIN_HANDLING: u8 = 0x30;
const RESERVED: u8 = 0xC0;
const QOS: u8 = 0x03;

impl<'a> Subscribe<'a> {
    pub(crate) fn decode(body: &'a [u8], version: ProtocolVersion) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let packet_id = reader
            .u16()
            .ok_or(DecodeError::malformed("SUBSCRIBE: the packet identifier is missing"))?;
        // [MQTT-2.2.1-3]
        let packet_id = PacketId::new(packet_id)
            .ok_or(DecodeError::protocol("SUBSCRIBE: packet identifier 0"))?;
        let properties = match version {
            ProtocolVersion::V5 => Properties::decode(&mut reader, Place::SUBSCRIBE)?,
            _ => Properties::EMPTY,
        };
        let filters = WireSubscribeFilters::check(reader.rest(), version)?;
        Ok(Self { packet_id, properties, filters: SubscribeFilters::Wire(filters) })
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
        self.filters.iter().try_for_each(|filter| {
            put_string(filter.filter, out)?;
            out.put(&[filter.options.byte(version)])
        })
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
        encode::check_field_lengths(self.filters.iter().map(|filter| filter.filter.len()))?;
        let properties = if version.is_v5() { self.properties.len_with_prefix() } else { 0 };
        let filters: usize = self.filters.iter().map(|filter| 3 + filter.filter.len()).sum();
        Ok(2 + properties + filters)
    }
}

impl SubscriptionOptions {
    /// With this QoS, and for the rest what 3.1 and 3.1.1 do.
    pub const fn new(qos: QoS) -> Self {
        Self {
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::SendAtSubscribe,
        }
    }

    fn decode(byte: u8, version: ProtocolVersion) -> Result<Self, DecodeError> {
        let reserved = if version.is_v5() { RESERVED } else { !QOS };
        // [MQTT-3.8.3-5]; 3.1.1: [MQTT-3.8.3-4]
        if byte & reserved != 0 {
            return Err(DecodeError::malformed("SUBSCRIBE: reserved bits of the options are set"));
        }
        let qos = QoS::try_from(byte & QOS)
            .map_err(|_| DecodeError::protocol("SUBSCRIBE: Maximum QoS 3"))?;
        let retain_handling = RetainHandling::try_from((byte & RETAIN_HANDLING) >> 4)
            .map_err(|_| DecodeError::protocol("SUBSCRIBE: Retain Handling 3"))?;
        Ok(Self {
            qos,
            no_local: byte & NO_LOCAL != 0,
            retain_as_published: byte & RETAIN_AS_PUBLISHED != 0,
            retain_handling,
        })
    }

    fn byte(self, version: ProtocolVersion) -> u8 {
        if !version.is_v5() {
            return self.qos as u8;
        }
        let no_local = if self.no_local { NO_LOCAL } else { 0 };
        let retain_as_published = if self.retain_as_published { RETAIN_AS_PUBLISHED } else { 0 };
        self.qos as u8 | no_local | retain_as_published | (self.retain_handling as u8) << 4
    }
}

impl TryFrom<u8> for RetainHandling {
    type Error = u8;

    /// Fails with the value itself where it is above 2.
    fn try_from(value: u8) -> Result<Self, u8> {
        match value {
            0 => Ok(Self::SendAtSubscribe),
            1 => Ok(Self::SendAtSubscribeIfNew),
            2 => Ok(Self::DoNotSend),
            other => Err(other),
        }
    }
}

/// The topic filters of a SUBSCRIBE with their options. Equal where these are.
#[derive(Clone, Copy)]
pub enum SubscribeFilters<'a> {
    /// To be encoded.
    List(&'a [SubscribeFilter<'a>]),
    /// As they came.
    Wire(WireSubscribeFilters<'a>),
}

/// Checked topic filters in wire form. Only decoding makes them.
#[derive(Clone, Copy)]
pub struct WireSubscribeFilters<'a>(&'a [u8]);

impl<'a> WireSubscribeFilters<'a> {
    fn check(bytes: &'a [u8], version: ProtocolVersion) -> Result<Self, DecodeError> {
        // [MQTT-3.8.3-2]
        if bytes.is_empty() {
            return Err(DecodeError::protocol("SUBSCRIBE: no topic filter"));
        }
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            // [MQTT-3.8.3-1]
            reader.string().ok_or(DecodeError::malformed(
                "SUBSCRIBE: a topic filter is cut off or not UTF-8",
            ))?;
            let options = reader
                .u8()
                .ok_or(DecodeError::malformed("SUBSCRIBE: the subscription options are missing"))?;
            SubscriptionOptions::decode(options, version)?;
        }
        Ok(Self(bytes))
    }
}

impl<'a> SubscribeFilters<'a> {
    /// The filters, in order.
    pub fn iter(&self) -> SubscribeFiltersIter<'a> {
        SubscribeFiltersIter(*self)
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

impl PartialEq for SubscribeFilters<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for SubscribeFilters<'_> {}

impl fmt::Debug for SubscribeFilters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Goes through [`SubscribeFilters`].
pub struct SubscribeFiltersIter<'a>(SubscribeFilters<'a>);

impl<'a> Iterator for SubscribeFiltersIter<'a> {
    type Item = SubscribeFilter<'a>;

    fn next(&mut self) -> Option<SubscribeFilter<'a>> {
        match &mut self.0 {
            SubscribeFilters::List(list) => {
                let (first, rest) = list.split_first()?;
                *list = rest;
                Some(*first)
            }
            SubscribeFilters::Wire(wire) => {
                let mut reader = Reader::new(wire.0);
                let filter = reader.string()?;
                // Checked by its version's rules already; those of 5.0 take in the others.
                let options =
                    SubscriptionOptions::decode(reader.u8()?, ProtocolVersion::V5).ok()?;
                wire.0 = reader.rest();
                Some(SubscribeFilter { filter, options })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::packet::Packet;
    use crate::property::Property;
    use crate::testing::{
        MALFORMED, PROTOCOL_ERROR, V5, V311, assert_refused, assert_wire, id, packet, refusal,
    };

    const OPTIONS: SubscriptionOptions = SubscriptionOptions {
        qos: QoS::ExactlyOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
    };

    #[test]
    fn each_option_has_its_bits() {
        let filters = [
            SubscribeFilter { filter: "a/+", options: OPTIONS },
            SubscribeFilter {
                filter: "b",
                options: SubscriptionOptions {
                    retain_handling: RetainHandling::SendAtSubscribeIfNew,
                    ..SubscriptionOptions::new(QoS::AtLeastOnce)
                },
            },
        ];
        let list = [Property::SubscriptionIdentifier(128)];
        let subscribe = Subscribe {
            packet_id: id(10),
            properties: Properties::list(&list),
            filters: SubscribeFilters::List(&filters),
        };
        let body = b"\0\x0A\x03\x0B\x80\x01\0\x03a/+\x2E\0\x01b\x11";
        assert_wire(V5, &Packet::Subscribe(subscribe), 0x82, body);
    }

    /// 3.1.1 has the QoS only: [MQTT-3.8.3-4] of 3.1.1.
    #[test]
    fn in_3_1_1_the_other_options_are_neither_written_nor_read() {
        let filters = [SubscribeFilter { filter: "a", options: OPTIONS }];
        let filters = SubscribeFilters::List(&filters);
        let subscribe = Subscribe { packet_id: id(1), properties: Properties::EMPTY, filters };
        let mut out = crate::fuzzing::Bytes::default();
        subscribe.encode(V311, &mut out).expect("it can be written");
        assert_eq!(out.0, packet(0x82, b"\0\x01\0\x01a\x02"));
        for bit in 2..8 {
            let error = refusal(V311, &packet(0x82, &[0, 1, 0, 1, b'a', 1 << bit]));
            assert_eq!(error.reason, MALFORMED);
        }
    }

    /// [MQTT-3.8.3-2]
    #[test]
    fn at_least_one_topic_filter() {
        assert_refused(V5, 0x82, b"\0\x01\0", PROTOCOL_ERROR, "SUBSCRIBE: no topic filter");
        let filters = SubscribeFilters::List(&[]);
        let subscribe = Subscribe { packet_id: id(1), properties: Properties::EMPTY, filters };
        assert_eq!(subscribe.encoded_len(V5), Err(BufferFull));
    }

    /// [MQTT-3.8.3-1] [MQTT-3.8.3-5], 3.8.3.1
    #[test]
    fn filters_and_options_are_checked() {
        for (last, reason, what) in [
            (0x40, MALFORMED, "SUBSCRIBE: reserved bits of the options are set"),
            (0x80, MALFORMED, "SUBSCRIBE: reserved bits of the options are set"),
            (0x03, PROTOCOL_ERROR, "SUBSCRIBE: Maximum QoS 3"),
            (0x30, PROTOCOL_ERROR, "SUBSCRIBE: Retain Handling 3"),
        ] {
            // In the second one as well as in the first.
            assert_refused(V5, 0x82, &[0, 1, 0, 0, 1, b'a', 0, 0, 1, b'b', last], reason, what);
        }
        let missing = "SUBSCRIBE: the subscription options are missing";
        assert_refused(V5, 0x82, b"\0\x01\0\0\x01a", MALFORMED, missing);
        let text = "SUBSCRIBE: a topic filter is cut off or not UTF-8";
        assert_refused(V5, 0x82, b"\0\x01\0\0\x02a\0\0", MALFORMED, text);
        assert_refused(V5, 0x82, b"\0\x01\0\0\x09a", MALFORMED, text);
    }

    /// [MQTT-2.2.1-3]
    #[test]
    fn packet_identifier_0_is_refused() {
        let what = "SUBSCRIBE: packet identifier 0";
        assert_refused(V5, 0x82, b"\0\0\0\0\x01a\0", PROTOCOL_ERROR, what);
    }

    /// 3.8.2.1.2
    #[test]
    fn one_subscription_identifier_and_not_0() {
        let zero = "Subscription Identifier has a value that is not allowed";
        assert_refused(V5, 0x82, b"\0\x01\x02\x0B\0\0\x01a\0", PROTOCOL_ERROR, zero);
        let twice = "Subscription Identifier stands twice";
        let body = b"\0\x01\x04\x0B\x01\x0B\x02\0\x01a\0";
        assert_refused(V5, 0x82, body, PROTOCOL_ERROR, twice);
    }

    /// That it is a topic filter is for the server to judge, who answers in SUBACK.
    #[test]
    fn a_string_that_is_no_topic_filter_is_read() {
        let bytes = packet(0x82, b"\0\x01\0\0\x03a#b\0\0\0\x01");
        let Packet::Subscribe(subscribe) = crate::testing::decoded(V5, &bytes) else {
            panic!("it is a SUBSCRIBE")
        };
        let filters: Vec<_> = subscribe.filters.iter().map(|filter| filter.filter).collect();
        assert_eq!(filters, ["a#b", ""]);
        assert_eq!(subscribe.filters.len(), 2);
    }
}
