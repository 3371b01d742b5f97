//! The properties of one packet: a list that is kept in wire form and can be forwarded as it came.

use core::fmt;

use crate::encode::Buffer;
use crate::error::{BufferFull, DecodeError};
use crate::property::{Property, misplaced, twice};
use crate::wire::{Reader, VarInt, put_var_int, var_int, var_int_len};

/// The properties of one packet: bytes in wire form, followed by a list.
///
/// Decoding yields wire form, checked for its packet. Who encodes may give either or both. Two of
/// them are equal where they hold the same properties in the same order.
#[derive(Clone, Copy, Default)]
pub struct Properties<'a> {
    encoded: &'a [u8],
    list: &'a [Property<'a>],
}

impl<'a> Properties<'a> {
    /// No property.
    pub const EMPTY: Self = Self { encoded: &[], list: &[] };

    /// Properties to be encoded. That they belong into their packet is for the caller.
    #[inline]
    pub const fn list(list: &'a [Property<'a>]) -> Self {
        Self { encoded: &[], list }
    }

    /// Properties in wire form: what [`Self::as_encoded`] of a decoded packet gave, or what
    /// encoding properties wrote.
    ///
    /// # Panics
    /// In debug builds where `encoded` is no sequence of whole properties. In release builds such
    /// bytes would be sent as they are.
    #[inline]
    pub const fn encoded(encoded: &'a [u8]) -> Self {
        Self::encoded_and_list(encoded, &[])
    }

    /// Properties in wire form, followed by some to be encoded.
    ///
    /// # Panics
    /// As [`Self::encoded`].
    #[inline]
    pub const fn encoded_and_list(encoded: &'a [u8], list: &'a [Property<'a>]) -> Self {
        debug_assert!(is_sequence_of_properties(encoded), "not properties in wire form");
        Self { encoded, list }
    }

    /// The part in wire form, without the property length.
    #[inline]
    pub fn as_encoded(&self) -> &'a [u8] {
        self.encoded
    }

    /// Whether there is no property.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.encoded.is_empty() && self.list.is_empty()
    }

    /// How many bytes the properties have on the wire, without the property length.
    #[inline]
    pub fn len(&self) -> usize {
        self.encoded.len() + self.list.iter().map(Property::encoded_len).sum::<usize>()
    }

    /// All properties, in order; the part in wire form first.
    #[inline]
    pub fn iter(&self) -> PropertiesIter<'a> {
        PropertiesIter { encoded: Reader::new(self.encoded), list: self.list.iter() }
    }

    /// The length with the property length in front.
    #[inline]
    pub(crate) fn len_with_prefix(&self) -> usize {
        let len = self.len();
        // A length that does not fit is refused with the whole packet, which is longer still.
        var_int_len(u32::try_from(len).unwrap_or(u32::MAX)) + len
    }

    /// Writes the property length and the properties. Where there are none, a length of 0
    /// [MQTT-2.2.2-1].
    #[inline]
    pub(crate) fn encode_with_prefix<B: Buffer>(&self, out: &mut B) -> Result<(), BufferFull> {
        put_var_int(u32::try_from(self.len()).map_err(|_| BufferFull)?, out)?;
        self.encode(out)
    }

    /// Writes the properties without the property length.
    #[inline]
    pub(crate) fn encode<B: Buffer>(&self, out: &mut B) -> Result<(), BufferFull> {
        if !self.encoded.is_empty() {
            out.put(self.encoded)?;
        }
        self.list.iter().try_for_each(|property| property.encode(out))
    }

    /// Takes the property length and the properties, and checks that all of them are whole, known,
    /// in their place, in range, and stand no more often than they may.
    #[inline]
    pub(crate) fn decode(reader: &mut Reader<'a>, place: Place) -> Result<Self, DecodeError> {
        let encoded = property_bytes(reader)?;
        if !encoded.is_empty() {
            place.check(encoded)?;
        }
        Ok(Self { encoded, list: &[] })
    }
}

#[inline]
fn property_bytes<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    match var_int(reader.rest()) {
        VarInt::Value(len, prefix) => reader.bytes(prefix).and_then(|_| reader.bytes(len as usize)),
        VarInt::Incomplete | VarInt::Malformed => None,
    }
    .ok_or(DecodeError::malformed("the property length is wrong or missing"))
}

/// A finder for each property that stands at most once, and for the first subscription identifier.
macro_rules! finders {
    ($($(#[$doc:meta])* $name:ident $variant:ident $type:ty,)*) => {
        impl<'a> Properties<'a> {
            $(
                $(#[$doc])*
                pub fn $name(&self) -> Option<$type> {
                    self.iter().find_map(|property| match property {
                        Property::$variant(value) => Some(value),
                        _ => None,
                    })
                }
            )*
        }
    };
}

finders! {
    /// Session Expiry Interval, in seconds.
    session_expiry_interval_s SessionExpiryInterval u32,
    /// Receive Maximum.
    receive_maximum ReceiveMaximum u16,
    /// Maximum Packet Size, in bytes.
    maximum_packet_size MaximumPacketSize u32,
    /// Topic Alias Maximum.
    topic_alias_maximum TopicAliasMaximum u16,
    /// Topic Alias.
    topic_alias TopicAlias u16,
    /// Message Expiry Interval, in seconds.
    message_expiry_interval_s MessageExpiryInterval u32,
    /// Request Problem Information.
    request_problem_information RequestProblemInformation u8,
    /// Request Response Information.
    request_response_information RequestResponseInformation u8,
    /// Authentication Method.
    authentication_method AuthenticationMethod &'a str,
    /// Authentication Data.
    authentication_data AuthenticationData &'a [u8],
    /// Reason String.
    reason_string ReasonString &'a str,
    /// Server Keep Alive, in seconds.
    server_keep_alive_s ServerKeepAlive u16,
    /// Assigned Client Identifier.
    assigned_client_identifier AssignedClientIdentifier &'a str,
    /// Maximum QoS: 0 or 1.
    maximum_qos MaximumQoS u8,
    /// Retain Available: 0 or 1.
    retain_available RetainAvailable u8,
    /// Wildcard Subscription Available: 0 or 1.
    wildcard_subscription_available WildcardSubscriptionAvailable u8,
    /// Subscription Identifier Available: 0 or 1.
    subscription_identifiers_available SubscriptionIdentifierAvailable u8,
    /// Shared Subscription Available: 0 or 1.
    shared_subscription_available SharedSubscriptionAvailable u8,
    /// Will Delay Interval, in seconds.
    will_delay_interval_s WillDelayInterval u32,
    /// Response Topic.
    response_topic ResponseTopic &'a str,
    /// Correlation Data.
    correlation_data CorrelationData &'a [u8],
    /// Content Type.
    content_type ContentType &'a str,
    /// Payload Format Indicator: 0 or 1.
    payload_format_indicator PayloadFormatIndicator u8,
    /// The first Subscription Identifier.
    subscription_identifier SubscriptionIdentifier u32,
    /// Response Information.
    response_information ResponseInformation &'a str,
    /// Server Reference.
    server_reference ServerReference &'a str,
}

impl PartialEq for Properties<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Properties<'_> {}

impl fmt::Debug for Properties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> IntoIterator for &Properties<'a> {
    type Item = Property<'a>;
    type IntoIter = PropertiesIter<'a>;

    fn into_iter(self) -> PropertiesIter<'a> {
        self.iter()
    }
}

/// Goes through [`Properties`].
pub struct PropertiesIter<'a> {
    encoded: Reader<'a>,
    list: core::slice::Iter<'a, Property<'a>>,
}

impl<'a> Iterator for PropertiesIter<'a> {
    type Item = Property<'a>;

    #[inline]
    fn next(&mut self) -> Option<Property<'a>> {
        if self.encoded.is_empty() {
            return self.list.next().copied();
        }
        // Wire form was checked when it was decoded, so that this does not fail.
        Property::decode(&mut self.encoded).ok()
    }
}

/// A packet (or the will in CONNECT) as a place for properties: which may stand there (2.2.2.2).
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// Bit n: the property with identifier n may stand here.
    allowed: u64,
    /// Bit n: and more than once.
    repeatable: u64,
}

impl Place {
    const USER_PROPERTY: u8 = 0x26;
    const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;
    const AUTHENTICATION_METHOD: u8 = 0x15;
    const AUTHENTICATION_DATA: u8 = 0x16;

    pub(crate) const CONNECT: Self =
        Self::of(&[0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27]);
    pub(crate) const WILL: Self = Self::of(&[0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26]);
    pub(crate) const CONNACK: Self = Self::of(&[
        0x11, 0x12, 0x13, 0x15, 0x16, 0x1A, 0x1C, 0x1F, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x28,
        0x29, 0x2A,
    ]);
    /// A server sends one subscription identifier for each subscription that matched (3.3.2.3.8).
    pub(crate) const PUBLISH: Self = Self::of(&[0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, 0x23, 0x26])
        .repeating(Self::SUBSCRIPTION_IDENTIFIER);
    /// PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK.
    pub(crate) const ACK: Self = Self::of(&[0x1F, 0x26]);
    pub(crate) const SUBSCRIBE: Self = Self::of(&[0x0B, 0x26]);
    pub(crate) const UNSUBSCRIBE: Self = Self::of(&[0x26]);
    pub(crate) const DISCONNECT: Self = Self::of(&[0x11, 0x1C, 0x1F, 0x26]);
    pub(crate) const AUTH: Self = Self::of(&[0x15, 0x16, 0x1F, 0x26]);

    const fn of(ids: &[u8]) -> Self {
        let mut allowed = 0;
        let mut i = 0;
        while i < ids.len() {
            allowed |= 1 << ids[i];
            i += 1;
        }
        Self { allowed, repeatable: 1 << Self::USER_PROPERTY }
    }

    const fn repeating(self, id: u8) -> Self {
        Self { allowed: self.allowed, repeatable: self.repeatable | 1 << id }
    }

    fn check(self, encoded: &[u8]) -> Result<(), DecodeError> {
        let mut reader = Reader::new(encoded);
        let mut seen = 0_u64;
        while !reader.is_empty() {
            let property = Property::decode(&mut reader)?;
            let bit = 1 << property.id();
            if self.allowed & bit == 0 {
                return Err(DecodeError::malformed(misplaced(property.id())));
            }
            if seen & bit & !self.repeatable != 0 {
                return Err(DecodeError::protocol(twice(property.id())));
            }
            property.check_value()?;
            seen |= bit;
        }
        // 3.1.2.11.10: It is a Protocol Error to include Authentication Data without a method.
        if seen & 1 << Self::AUTHENTICATION_DATA != 0
            && seen & 1 << Self::AUTHENTICATION_METHOD == 0
        {
            return Err(DecodeError::protocol("Authentication Data without a method"));
        }
        Ok(())
    }
}

/// Whether `bytes` are whole properties, by their identifiers and lengths alone. Only for the
/// `debug_assert` of [`Properties::encoded`], where text that is not UTF-8 is not looked for.
const fn is_sequence_of_properties(mut bytes: &[u8]) -> bool {
    while let [id, rest @ ..] = bytes {
        let fields = match id {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2A => skip(rest, 1),
            0x13 | 0x21..=0x23 => skip(rest, 2),
            0x02 | 0x11 | 0x18 | 0x27 => skip(rest, 4),
            0x0B => skip_var_int(rest),
            0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1A | 0x1C | 0x1F => skip_prefixed(rest),
            0x26 => match skip_prefixed(rest) {
                Some(rest) => skip_prefixed(rest),
                None => None,
            },
            _ => None,
        };
        bytes = match fields {
            Some(rest) => rest,
            None => return false,
        };
    }
    true
}

const fn skip(bytes: &[u8], len: usize) -> Option<&[u8]> {
    match bytes.split_at_checked(len) {
        Some((_, rest)) => Some(rest),
        None => None,
    }
}

const fn skip_prefixed(bytes: &[u8]) -> Option<&[u8]> {
    match bytes {
        [high, low, rest @ ..] => skip(rest, (*high as usize) << 8 | *low as usize),
        _ => None,
    }
}

const fn skip_var_int(bytes: &[u8]) -> Option<&[u8]> {
    match bytes {
        [0..=0x7F, rest @ ..]
        | [0x80..=0xFF, 0..=0x7F, rest @ ..]
        | [0x80..=0xFF, 0x80..=0xFF, 0..=0x7F, rest @ ..]
        | [0x80..=0xFF, 0x80..=0xFF, 0x80..=0xFF, 0..=0x7F, rest @ ..] => Some(rest),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::fuzzing::Bytes;
    use crate::reason_code::ReasonCode;

    /// One of each, by identifier.
    fn one_of_each() -> Vec<(u8, Vec<u8>)> {
        (0..=0x2A)
            .filter_map(|id| {
                let value: &[u8] = match id {
                    0x01 | 0x0B | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2A => &[1],
                    0x13 | 0x21..=0x23 => &[0, 1],
                    0x02 | 0x11 | 0x18 | 0x27 => &[0, 0, 0, 1],
                    0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1A | 0x1C | 0x1F => &[0, 1, b'a'],
                    0x26 => &[0, 1, b'k', 0, 1, b'v'],
                    _ => return None,
                };
                Some((id, [&[id], value].concat()))
            })
            .collect()
    }

    fn decode(place: Place, encoded: &[u8]) -> Result<(), DecodeError> {
        let bytes = [&[encoded.len() as u8], encoded].concat();
        Properties::decode(&mut Reader::new(&bytes), place).map(|_| ())
    }

    /// Table 2-4: where each property may stand.
    #[test]
    fn each_place_takes_its_own_and_no_others() {
        let table: [(Place, &[u8]); 9] = [
            (Place::CONNECT, &[17, 21, 22, 23, 25, 33, 34, 38, 39]),
            (Place::WILL, &[1, 2, 3, 8, 9, 24, 38]),
            (Place::CONNACK, &[17, 18, 19, 21, 22, 26, 28, 31, 33, 34, 36, 37, 38, 39, 40, 41, 42]),
            (Place::PUBLISH, &[1, 2, 3, 8, 9, 11, 35, 38]),
            (Place::ACK, &[31, 38]),
            (Place::SUBSCRIBE, &[11, 38]),
            (Place::UNSUBSCRIBE, &[38]),
            (Place::DISCONNECT, &[17, 28, 31, 38]),
            (Place::AUTH, &[21, 22, 31, 38]),
        ];
        let all = one_of_each();
        assert_eq!(all.len(), 27);
        for (place, allowed) in table {
            for (id, encoded) in &all {
                // Authentication Data cannot stand alone.
                let method = if *id == 22 { &b"\x15\0\x01m"[..] } else { b"" };
                let result = decode(place, &[encoded, method].concat());
                match result {
                    Ok(()) => assert!(allowed.contains(id), "{id} is not of this place"),
                    Err(error) => {
                        assert!(!allowed.contains(id), "{id}: {error}");
                        assert_eq!(error, DecodeError::malformed(misplaced(*id)));
                    }
                }
            }
        }
    }

    /// All but the user property, and in PUBLISH the subscription identifier, stand once.
    #[test]
    fn what_stands_twice_is_a_protocol_error() {
        let method = Vec::from(*b"\x15\0\x01m");
        let places =
            [Place::CONNECT, Place::CONNACK, Place::PUBLISH, Place::WILL, Place::SUBSCRIBE];
        let mut refused = 0;
        for place in places {
            for (id, encoded) in one_of_each() {
                if place.allowed & 1 << id == 0 {
                    continue;
                }
                let mut bytes = [&encoded[..], &encoded].concat();
                if id == 22 {
                    bytes.extend_from_slice(&method);
                }
                let may_repeat = id == 38 || id == 11 && place.allowed == Place::PUBLISH.allowed;
                let expected =
                    if may_repeat { Ok(()) } else { Err(DecodeError::protocol(twice(id))) };
                assert_eq!(decode(place, &bytes), expected);
                refused += usize::from(!may_repeat);
            }
        }
        assert!(refused > 30);
    }

    #[test]
    fn a_property_ends_within_the_property_length() {
        let mut reader = Reader::new(b"\x03\x21\0");
        let error = Properties::decode(&mut reader, Place::CONNECT).expect_err("it is cut off");
        assert_eq!(error.reason, ReasonCode::MalformedPacket);
        // The length ends within the second property, although more bytes follow.
        let mut reader = Reader::new(b"\x04\x21\0\x01\x22\0\x05");
        let error = Properties::decode(&mut reader, Place::CONNECT).expect_err("it is cut off");
        assert_eq!(error.what, "Topic Alias Maximum is cut off or not of its data type");
    }

    #[test]
    fn finders_find_the_first_in_wire_form_and_in_the_list() {
        let list = [Property::ContentType("x"), Property::SubscriptionIdentifier(9)];
        let properties = Properties::encoded_and_list(b"\x0B\x05\x0B\x06\x02\0\0\0\x07", &list);
        assert_eq!(properties.subscription_identifier(), Some(5));
        assert_eq!(properties.message_expiry_interval_s(), Some(7));
        assert_eq!(properties.content_type(), Some("x"));
        assert_eq!(properties.response_topic(), None);
        assert_eq!(properties.iter().count(), 5);
        assert_eq!(properties.as_encoded().len(), 9);
        let mut out = Bytes::default();
        assert_eq!(properties.encode(&mut out), Ok(()));
        assert_eq!(properties.len(), out.0.len());
        assert_eq!(Properties::encoded(&out.0), properties);
        assert!(!properties.is_empty());
        assert!(Properties::EMPTY.is_empty());
    }

    #[test]
    fn wire_form_is_told_from_other_bytes() {
        for (_, encoded) in one_of_each() {
            assert!(is_sequence_of_properties(&encoded));
            assert!(!is_sequence_of_properties(&encoded[..encoded.len() - 1]), "{encoded:02x?}");
        }
        assert!(is_sequence_of_properties(&[]));
        assert!(!is_sequence_of_properties(&[0x04, 0]));
    }
}
