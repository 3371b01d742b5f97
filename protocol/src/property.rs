//! One property of 5.0 (2.2.2.2): its identifier, its data type, its bytes, its range of values.

use crate::encode::{Buffer, Gather};
use crate::error::{BufferFull, DecodeError};
use crate::reason_code::ReasonCode;
use crate::topic::TopicName;
use crate::wire::{Reader, put_binary, put_string, var_int_len};

/// A property. Flags are the byte that is on the wire: 0 or 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property<'a> {
    /// 1: the payload is UTF-8 text; 0: unspecified bytes.
    PayloadFormatIndicator(u8),
    /// Lifetime of the message in seconds.
    MessageExpiryInterval(u32),
    /// What the payload is, in the application's words.
    ContentType(&'a str),
    /// The topic name to answer to.
    ResponseTopic(&'a str),
    /// What tells the sender of a request which request an answer is for.
    CorrelationData(&'a [u8]),
    /// The number of the subscription, 1 to 268,435,455.
    SubscriptionIdentifier(u32),
    /// Lifetime of the session after the connection, in seconds; `u32::MAX`: for ever.
    SessionExpiryInterval(u32),
    /// The client identifier that the server gave.
    AssignedClientIdentifier(&'a str),
    /// The keep-alive that the server demands, in seconds.
    ServerKeepAlive(u16),
    /// The name of the extended authentication method.
    AuthenticationMethod(&'a str),
    /// Data of the authentication method.
    AuthenticationData(&'a [u8]),
    /// 0: no reason strings and user properties but in PUBLISH, CONNACK, DISCONNECT; 1: anywhere.
    RequestProblemInformation(u8),
    /// How long the will waits, in seconds.
    WillDelayInterval(u32),
    /// 1: the client asks for Response Information.
    RequestResponseInformation(u8),
    /// A basis for response topics.
    ResponseInformation(&'a str),
    /// Another server to use.
    ServerReference(&'a str),
    /// The reason in words, for a human.
    ReasonString(&'a str),
    /// How many QoS 1 and 2 messages the sender takes unacknowledged, 1 to 65,535.
    ReceiveMaximum(u16),
    /// The highest topic alias that the sender takes.
    TopicAliasMaximum(u16),
    /// A number for the topic name, 1 to 65,535.
    TopicAlias(u16),
    /// The highest QoS that the server takes: 0 or 1.
    MaximumQoS(u8),
    /// Whether the server keeps retained messages.
    RetainAvailable(u8),
    /// A name and a value; may stand any number of times, in order.
    UserProperty(&'a str, &'a str),
    /// The largest packet that the sender takes, in bytes with its header, at least 1.
    MaximumPacketSize(u32),
    /// Whether the server takes wildcards.
    WildcardSubscriptionAvailable(u8),
    /// Whether the server takes subscription identifiers.
    SubscriptionIdentifierAvailable(u8),
    /// Whether the server has shared subscriptions.
    SharedSubscriptionAvailable(u8),
}

/// The identifiers, and for each the phrases that refuse it.
macro_rules! identifiers {
    ($($id:literal $variant:ident $name:literal,)*) => {
        impl Property<'_> {
            /// The property identifier.
            #[inline]
            pub const fn id(&self) -> u8 {
                match self {
                    $(Self::$variant(..) => $id,)*
                }
            }
        }

        /// Says that a property stands twice in one packet.
        pub(crate) const fn twice(id: u8) -> &'static str {
            match id {
                $($id => concat!($name, " stands twice"),)*
                _ => UNKNOWN,
            }
        }

        /// Says that a property does not belong into its packet.
        pub(crate) const fn misplaced(id: u8) -> &'static str {
            match id {
                $($id => concat!($name, " does not belong into this packet"),)*
                _ => UNKNOWN,
            }
        }

        /// Says that the value of a property ends too early or is not of its data type.
        const fn broken(id: u8) -> &'static str {
            match id {
                $($id => concat!($name, " is cut off or not of its data type"),)*
                _ => UNKNOWN,
            }
        }

        /// Says that the value of a property is not allowed.
        const fn out_of_range(id: u8) -> &'static str {
            match id {
                $($id => concat!($name, " has a value that is not allowed"),)*
                _ => UNKNOWN,
            }
        }
    };
}

const UNKNOWN: &str = "a property identifier that is not known";

identifiers! {
    0x01 PayloadFormatIndicator "Payload Format Indicator",
    0x02 MessageExpiryInterval "Message Expiry Interval",
    0x03 ContentType "Content Type",
    0x08 ResponseTopic "Response Topic",
    0x09 CorrelationData "Correlation Data",
    0x0B SubscriptionIdentifier "Subscription Identifier",
    0x11 SessionExpiryInterval "Session Expiry Interval",
    0x12 AssignedClientIdentifier "Assigned Client Identifier",
    0x13 ServerKeepAlive "Server Keep Alive",
    0x15 AuthenticationMethod "Authentication Method",
    0x16 AuthenticationData "Authentication Data",
    0x17 RequestProblemInformation "Request Problem Information",
    0x18 WillDelayInterval "Will Delay Interval",
    0x19 RequestResponseInformation "Request Response Information",
    0x1A ResponseInformation "Response Information",
    0x1C ServerReference "Server Reference",
    0x1F ReasonString "Reason String",
    0x21 ReceiveMaximum "Receive Maximum",
    0x22 TopicAliasMaximum "Topic Alias Maximum",
    0x23 TopicAlias "Topic Alias",
    0x24 MaximumQoS "Maximum QoS",
    0x25 RetainAvailable "Retain Available",
    0x26 UserProperty "User Property",
    0x27 MaximumPacketSize "Maximum Packet Size",
    0x28 WildcardSubscriptionAvailable "Wildcard Subscription Available",
    0x29 SubscriptionIdentifierAvailable "Subscription Identifier Available",
    0x2A SharedSubscriptionAvailable "Shared Subscription Available",
}

impl<'a> Property<'a> {
    /// How many bytes `encode` writes.
    #[inline]
    pub fn encoded_len(&self) -> usize {
        1 + match *self {
            Self::PayloadFormatIndicator(_)
            | Self::RequestProblemInformation(_)
            | Self::RequestResponseInformation(_)
            | Self::MaximumQoS(_)
            | Self::RetainAvailable(_)
            | Self::WildcardSubscriptionAvailable(_)
            | Self::SubscriptionIdentifierAvailable(_)
            | Self::SharedSubscriptionAvailable(_) => 1,
            Self::ServerKeepAlive(_)
            | Self::ReceiveMaximum(_)
            | Self::TopicAliasMaximum(_)
            | Self::TopicAlias(_) => 2,
            Self::MessageExpiryInterval(_)
            | Self::SessionExpiryInterval(_)
            | Self::WillDelayInterval(_)
            | Self::MaximumPacketSize(_) => 4,
            Self::SubscriptionIdentifier(value) => var_int_len(value),
            Self::ContentType(value)
            | Self::ResponseTopic(value)
            | Self::AssignedClientIdentifier(value)
            | Self::AuthenticationMethod(value)
            | Self::ResponseInformation(value)
            | Self::ServerReference(value)
            | Self::ReasonString(value) => 2 + value.len(),
            Self::CorrelationData(value) | Self::AuthenticationData(value) => 2 + value.len(),
            Self::UserProperty(name, value) => 4 + name.len() + value.len(),
        }
    }

    /// Writes the identifier and the value.
    ///
    /// # Errors
    /// [`BufferFull`] where `out` is full, a string or binary value is longer than 65,535 bytes or
    /// a subscription identifier is above 268,435,455.
    pub fn encode<B: Buffer>(&self, out: &mut B) -> Result<(), BufferFull> {
        let mut head = Gather::new();
        head.u8(self.id());
        match *self {
            Self::PayloadFormatIndicator(value)
            | Self::RequestProblemInformation(value)
            | Self::RequestResponseInformation(value)
            | Self::MaximumQoS(value)
            | Self::RetainAvailable(value)
            | Self::WildcardSubscriptionAvailable(value)
            | Self::SubscriptionIdentifierAvailable(value)
            | Self::SharedSubscriptionAvailable(value) => head.u8(value),
            Self::ServerKeepAlive(value)
            | Self::ReceiveMaximum(value)
            | Self::TopicAliasMaximum(value)
            | Self::TopicAlias(value) => head.u16(value),
            Self::MessageExpiryInterval(value)
            | Self::SessionExpiryInterval(value)
            | Self::WillDelayInterval(value)
            | Self::MaximumPacketSize(value) => {
                head.u16((value >> 16) as u16);
                head.u16(value as u16);
            }
            Self::SubscriptionIdentifier(value) => {
                if value > crate::MAX_REMAINING_LENGTH {
                    return Err(BufferFull);
                }
                head.var_int(value);
            }
            Self::ContentType(value)
            | Self::ResponseTopic(value)
            | Self::AssignedClientIdentifier(value)
            | Self::AuthenticationMethod(value)
            | Self::ResponseInformation(value)
            | Self::ServerReference(value)
            | Self::ReasonString(value) => {
                head.put(out)?;
                return put_string(value, out);
            }
            Self::CorrelationData(value) | Self::AuthenticationData(value) => {
                head.put(out)?;
                return put_binary(value, out);
            }
            Self::UserProperty(name, value) => {
                head.put(out)?;
                put_string(name, out)?;
                return put_string(value, out);
            }
        }
        head.put(out)
    }

    /// Takes one property: its identifier is known and its value of the right data type; a value
    /// out of range is left to [`Self::check_value`].
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        // The identifier is a variable byte integer, but all that exist have one byte; a longer
        // one is unknown (2.2.2.2).
        let id = reader.u8().ok_or(DecodeError::malformed(UNKNOWN))?;
        Self::decode_value(id, reader).ok_or_else(|| DecodeError::malformed(broken(id)))
    }

    fn decode_value(id: u8, reader: &mut Reader<'a>) -> Option<Self> {
        Some(match id {
            0x01 => Self::PayloadFormatIndicator(reader.u8()?),
            0x02 => Self::MessageExpiryInterval(reader.u32()?),
            0x03 => Self::ContentType(reader.string()?),
            0x08 => Self::ResponseTopic(reader.string()?),
            0x09 => Self::CorrelationData(reader.binary()?),
            0x0B => Self::SubscriptionIdentifier(reader.var_int()?),
            0x11 => Self::SessionExpiryInterval(reader.u32()?),
            0x12 => Self::AssignedClientIdentifier(reader.string()?),
            0x13 => Self::ServerKeepAlive(reader.u16()?),
            0x15 => Self::AuthenticationMethod(reader.string()?),
            0x16 => Self::AuthenticationData(reader.binary()?),
            0x17 => Self::RequestProblemInformation(reader.u8()?),
            0x18 => Self::WillDelayInterval(reader.u32()?),
            0x19 => Self::RequestResponseInformation(reader.u8()?),
            0x1A => Self::ResponseInformation(reader.string()?),
            0x1C => Self::ServerReference(reader.string()?),
            0x1F => Self::ReasonString(reader.string()?),
            0x21 => Self::ReceiveMaximum(reader.u16()?),
            0x22 => Self::TopicAliasMaximum(reader.u16()?),
            0x23 => Self::TopicAlias(reader.u16()?),
            0x24 => Self::MaximumQoS(reader.u8()?),
            0x25 => Self::RetainAvailable(reader.u8()?),
            // [MQTT-1.5.7-1]
            0x26 => Self::UserProperty(reader.string()?, reader.string()?),
            0x27 => Self::MaximumPacketSize(reader.u32()?),
            0x28 => Self::WildcardSubscriptionAvailable(reader.u8()?),
            0x29 => Self::SubscriptionIdentifierAvailable(reader.u8()?),
            0x2A => Self::SharedSubscriptionAvailable(reader.u8()?),
            _ => return None,
        })
    }

    /// Whether the value is one that the specification allows; each rule stands in the section of
    /// its packet.
    pub(crate) fn check_value(&self) -> Result<(), DecodeError> {
        let is_allowed = match *self {
            Self::PayloadFormatIndicator(value)
            | Self::RequestProblemInformation(value)
            | Self::RequestResponseInformation(value)
            | Self::MaximumQoS(value)
            | Self::RetainAvailable(value)
            | Self::WildcardSubscriptionAvailable(value)
            | Self::SubscriptionIdentifierAvailable(value)
            | Self::SharedSubscriptionAvailable(value) => value <= 1,
            Self::ReceiveMaximum(value) => value != 0,
            Self::MaximumPacketSize(value) | Self::SubscriptionIdentifier(value) => value != 0,
            // [MQTT-3.3.2-8]; 5.0 has a reason code of its own for it.
            Self::TopicAlias(0) => {
                let reason = ReasonCode::TopicAliasInvalid;
                return Err(DecodeError { reason, what: "Topic Alias is 0" });
            }
            // [MQTT-3.3.2-14], and a topic name has at least one character [MQTT-4.7.3-1].
            Self::ResponseTopic(topic) => TopicName::new(topic).is_ok(),
            _ => true,
        };
        if is_allowed { Ok(()) } else { Err(DecodeError::protocol(out_of_range(self.id()))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing::Bytes;

    /// Table 2-4: identifier and data type.
    #[test]
    fn each_data_type_has_its_form() {
        let table: [(Property<'_>, &[u8]); 7] = [
            (Property::PayloadFormatIndicator(1), b"\x01\x01"),
            (Property::MessageExpiryInterval(0x0102_0304), b"\x02\x01\x02\x03\x04"),
            (Property::ContentType("ab"), b"\x03\0\x02ab"),
            (Property::CorrelationData(&[0, 0xFF]), b"\x09\0\x02\0\xFF"),
            (Property::SubscriptionIdentifier(321), b"\x0B\xC1\x02"),
            (Property::ServerKeepAlive(0x0102), b"\x13\x01\x02"),
            (Property::UserProperty("k", ""), b"\x26\0\x01k\0\0"),
        ];
        for (property, bytes) in table {
            let mut out = Bytes::default();
            assert_eq!(property.encode(&mut out), Ok(()));
            assert_eq!(out.0, bytes);
            assert_eq!(property.encoded_len(), bytes.len());
            assert_eq!(Property::decode(&mut Reader::new(bytes)), Ok(property));
        }
    }

    /// 2.2.2.2: identifiers are variable byte integers, and none has two bytes.
    #[test]
    fn identifiers_that_do_not_exist_are_malformed() {
        for bytes in [&[0, 0][..], &[4, 0], &[0x2B, 0], &[0x7F, 0], &[0x80, 0x01, 0], &[0xFF]] {
            let error = Property::decode(&mut Reader::new(bytes)).expect_err("it does not exist");
            assert_eq!((error.reason, error.what), (ReasonCode::MalformedPacket, UNKNOWN));
        }
    }

    /// [MQTT-1.5.7-1]
    #[test]
    fn both_strings_of_a_user_property_are_checked() {
        for bytes in [&b"\x26\0\x01\0\0\x01v"[..], b"\x26\0\x01k\0\x01\xFF", b"\x26\0\x01k"] {
            let error = Property::decode(&mut Reader::new(bytes)).expect_err("it is no string");
            assert_eq!(error.what, "User Property is cut off or not of its data type");
        }
    }

    #[test]
    fn values_out_of_range_are_protocol_errors() {
        for property in [
            Property::PayloadFormatIndicator(2),
            Property::RequestProblemInformation(2),
            Property::RequestResponseInformation(0xFF),
            Property::MaximumQoS(2),
            Property::RetainAvailable(2),
            Property::WildcardSubscriptionAvailable(2),
            Property::SubscriptionIdentifierAvailable(2),
            Property::SharedSubscriptionAvailable(2),
            Property::ReceiveMaximum(0),
            Property::MaximumPacketSize(0),
            Property::SubscriptionIdentifier(0),
            Property::ResponseTopic("a/+"),
            Property::ResponseTopic(""),
        ] {
            let error = property.check_value().expect_err("the value is not allowed");
            assert_eq!(error.reason, ReasonCode::ProtocolError, "{property:?}");
        }
        for property in [
            Property::TopicAliasMaximum(0),
            Property::SessionExpiryInterval(0),
            Property::MessageExpiryInterval(0),
            Property::ServerKeepAlive(0),
            Property::MaximumQoS(1),
        ] {
            assert_eq!(property.check_value(), Ok(()), "{property:?}");
        }
    }
}
