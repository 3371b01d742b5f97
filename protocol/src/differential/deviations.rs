//! Where the other codecs differ from the specification. Each entry names the statement that they
//! break and an example that shows it; the tests fail for any difference that is not listed, and
//! for any example that no longer shows one.

use crate::{Disconnect, Packet, Properties, Property, Publish, ReasonCode};

pub(super) const V4: &[&str] = &["mqttbytes v4", "rumqttc v4"];
pub(super) const V5: &[&str] = &["mqttbytes v5", "rumqttc v5"];
const ALL: &[&str] = &["mqttbytes v4", "rumqttc v4", "mqttbytes v5", "rumqttc v5"];

/// A valid packet that they refuse, or write otherwise than they read it.
pub(super) struct Valid {
    /// What they do, and the statement that says otherwise.
    pub(super) what: &'static str,
    pub(super) codecs: &'static [&'static str],
    /// Which packets are concerned, by what they are and by their bytes.
    pub(super) applies: fn(&Packet<'_>, &[u8]) -> bool,
    /// One for 3.1.1 and one for 5.0, where they are concerned.
    pub(super) examples: [&'static [u8]; 2],
}

pub(super) const VALID: &[Valid] = &[
    Valid {
        what: "they do not know the highest bit of the level, by which a bridge says that it is \
               one: a habit of bridges, not part of the specification (3.1.1: 3.1.2.2)",
        codecs: V4,
        applies: |packet, _| matches!(packet, Packet::Connect(connect) if connect.bridge),
        examples: [b"\x10\x0C\0\x04MQTT\x84\x02\0\0\0\0", b""],
    },
    Valid {
        what: "they refuse a password that is not UTF-8: the Password is Binary Data \
               (5.0: 3.1.3.6; 3.1.1: 3.1.3.5)",
        codecs: ALL,
        applies: |packet, _| {
            let Packet::Connect(connect) = packet else { return false };
            connect.password.is_some_and(|password| str::from_utf8(password).is_err())
        },
        examples: [
            b"\x10\x12\0\x04MQTT\x04\xC2\0\0\0\0\0\x01u\0\x01\xFF",
            b"\x10\x13\0\x04MQTT\x05\xC2\0\0\0\0\0\0\x01u\0\x01\xFF",
        ],
    },
    Valid {
        what: "they lose the flags of an empty user name and of an empty password \
               [MQTT-3.1.2-17] [MQTT-3.1.2-19]",
        codecs: ALL,
        applies: |packet, _| {
            let Packet::Connect(connect) = packet else { return false };
            connect.user_name == Some("") || connect.password == Some(&[])
        },
        examples: [
            b"\x10\x0E\0\x04MQTT\x04\x82\0\0\0\0\0\0",
            b"\x10\x0F\0\x04MQTT\x05\x82\0\0\0\0\0\0\0",
        ],
    },
    Valid {
        what: "they have no AUTH (3.15)",
        codecs: V5,
        applies: |packet, _| matches!(packet, Packet::Auth(_)),
        examples: [b"", b"\xF0\0"],
    },
    Valid {
        what: "they refuse a DISCONNECT without a reason code, and wait for more where only the \
               property length is left out (3.14.2.1, 3.14.2.2.1)",
        codecs: V5,
        applies: |packet, bytes| matches!(packet, Packet::Disconnect(_)) && bytes[1] < 2,
        examples: [b"", b"\xE0\0"],
    },
    Valid {
        what: "they refuse 0x8C in DISCONNECT (2.4)",
        codecs: V5,
        applies: |packet, _| {
            let method = ReasonCode::BadAuthenticationMethod;
            matches!(packet, Packet::Disconnect(Disconnect { reason, .. }) if *reason == method)
        },
        examples: [b"", b"\xE0\x02\x8C\0"],
    },
    Valid {
        what: "it writes a byte more than the Remaining Length of a DISCONNECT without properties \
               says (2.1.4)",
        codecs: &["rumqttc v5"],
        applies: |packet, _| {
            let Packet::Disconnect(Disconnect { reason, properties }) = packet else {
                return false;
            };
            *reason != ReasonCode::Success && properties.is_empty()
        },
        examples: [b"", b"\xE0\x02\x89\0"],
    },
    Valid {
        what: "it writes a CONNACK without properties without a property length [MQTT-2.2.2-1]",
        codecs: &["mqttbytes v5"],
        applies: |packet, _| matches!(packet, Packet::ConnAck(connack) if connack.properties.is_empty()),
        examples: [b"", b"\x20\x03\0\0\0"],
    },
    Valid {
        what: "they count a subscription identifier of PUBLISH twice, and take the properties \
               behind it for the payload (3.3.2.3.8)",
        codecs: V5,
        applies: |packet, _| {
            let Packet::Publish(Publish { properties, .. }) = packet else { return false };
            has_a_subscription_identifier(properties)
        },
        examples: [b"", b"\x30\x0A\0\x01a\x06\x0B\x01\x0B\x01\x01\x01"],
    },
];

fn has_a_subscription_identifier(properties: &Properties<'_>) -> bool {
    properties.iter().any(|property| matches!(property, Property::SubscriptionIdentifier(_)))
}

/// What is refused here and taken by them.
pub(super) struct Invalid {
    /// How the phrase ends that it is refused with here.
    pub(super) phrase: &'static str,
    /// The statement that it breaks.
    pub(super) statement: &'static str,
    pub(super) codecs: &'static [&'static str],
    /// One for 3.1.1 and one for 5.0, where they take it.
    pub(super) examples: [&'static [u8]; 2],
}

const fn invalid(
    phrase: &'static str,
    statement: &'static str,
    codecs: &'static [&'static str],
    examples: [&'static [u8]; 2],
) -> Invalid {
    Invalid { phrase, statement, codecs, examples }
}

pub(super) const INVALID: &[Invalid] = &[
    invalid(
        "reserved flags of the first byte are set wrong",
        "[MQTT-2.1.3-1]; 3.1.1: [MQTT-2.2.2-2]",
        ALL,
        [b"\xE1\0", b"\xC2\0"],
    ),
    invalid(
        "the remaining length is malformed",
        "[MQTT-1.5.5-1]",
        ALL,
        [b"\xA2\x85\0\0\x01\0\x01a", b"\x50\x82\0\0\x01"],
    ),
    invalid(
        "the remaining length is not that of the packet type",
        "2.1.4, 3.12: no variable header, no payload",
        ALL,
        [b"\xD0\x01\0", b"\xD0\x01\0"],
    ),
    invalid(
        "the property length is wrong or missing",
        "[MQTT-1.5.5-1] [MQTT-2.2.2-1]",
        V5,
        [b"", b"\xE0\x03\x04\x80\0"],
    ),
    invalid(
        "a property identifier that is not known",
        "2.2.2.2",
        V5,
        [b"", b"\x82\x09\0\x01\x04\x0B\xE4\x7C\0\0\x1A"],
    ),
    invalid(
        "is cut off or not of its data type",
        "2.2.2.1 [MQTT-1.5.4-2]",
        V5,
        [b"", b"\xE0\x07\0\x04\x26\0\0\0\0"],
    ),
    invalid(
        "stands twice",
        "2.2.2: It is a Protocol Error to include it more than once",
        V5,
        [b"", b"\x20\x07\0\0\x04\x28\x01\x28\x01"],
    ),
    invalid(
        "has a value that is not allowed",
        "3.2.2.3.4 and its like; [MQTT-3.3.2-14]",
        V5,
        [b"", b"\x20\x05\0\0\x02\x24\x6E"],
    ),
    invalid("Topic Alias is 0", "[MQTT-3.3.2-8]", V5, [b"", b"\x30\x07\0\x01a\x03\x23\0\0"]),
    invalid(
        "Authentication Data without a method",
        "3.1.2.11.10",
        V5,
        [b"", b"\x20\x06\0\0\x03\x16\0\0"],
    ),
    invalid(
        "the reserved flag is set",
        "[MQTT-3.1.2-3]",
        ALL,
        [b"\x10\x0C\0\x04MQTT\x04\x01\0\0\0\0", b"\x10\x0D\0\x04MQTT\x05\x01\0\0\0\0\0"],
    ),
    invalid(
        "CONNECT: bytes after its end",
        "[MQTT-3.1.2-16] [MQTT-3.1.2-18]",
        ALL,
        [b"\x10\x0D\0\x04MQTT\x04\x02\0\0\0\0\0", b"\x10\x0E\0\x04MQTT\x05\x02\0\0\0\0\0\0"],
    ),
    invalid(
        "the will topic is no topic name",
        "[MQTT-4.7.0-1] [MQTT-4.7.3-1]",
        ALL,
        [
            b"\x10\x11\0\x04MQTT\x04\x06\0\0\0\0\0\x01+\0\0",
            b"\x10\x13\0\x04MQTT\x05\x06\0\0\0\0\0\0\0\x01#\0\0",
        ],
    ),
    invalid(
        "is cut off or not UTF-8",
        "[MQTT-1.5.4-2], 1.5.4: control characters",
        ALL,
        [b"\x30\x03\0\x01\0", b"\x30\x04\0\x01\0\0"],
    ),
    invalid(
        "CONNACK: reserved flags are set",
        "[MQTT-3.2.2-1]",
        ALL,
        [b"\x20\x02\x02\0", b"\x20\x03\x02\0\0"],
    ),
    invalid(
        "session present in a refusal",
        "[MQTT-3.2.2-6]",
        ALL,
        [b"\x20\x02\x01\x01", b"\x20\x03\x01\x84\0"],
    ),
    invalid(
        "bytes after its end",
        "2.1.4: the Remaining Length covers nothing else",
        V5,
        [b"", b"\x40\x05\0\x01\0\0\0"],
    ),
    invalid(
        "packet identifier 0",
        "[MQTT-2.2.1-3] [MQTT-2.2.1-5]",
        ALL,
        [b"\x40\x02\0\0", b"\x40\x02\0\0"],
    ),
    invalid("DUP with QoS 0", "[MQTT-3.3.1-2]", ALL, [b"\x38\x03\0\x01a", b"\x38\x04\0\x01a\0"]),
    invalid(
        "the topic name holds a wildcard",
        "[MQTT-3.3.2-2]",
        ALL,
        [b"\x30\x03\0\x01+", b"\x30\x04\0\x01#\0"],
    ),
    invalid("the topic name is empty", "3.1.1: [MQTT-4.7.3-1]", V4, [b"\x30\x02\0\0", b""]),
    invalid("neither topic name nor topic alias", "3.3.2.1", V5, [b"", b"\x30\x03\0\0\0"]),
    invalid(
        "reserved bits of the options are set",
        "[MQTT-3.8.3-5]",
        ALL,
        [b"\x82\x06\0\x01\0\x01a\x04", b"\x82\x07\0\x01\0\0\x01a\x40"],
    ),
    invalid(
        "SUBSCRIBE: no topic filter",
        "[MQTT-3.8.3-2]",
        &["mqttbytes v4", "mqttbytes v5"],
        [b"\x82\x02\0\x01", b"\x82\x03\0\x01\0"],
    ),
    invalid(
        "UNSUBSCRIBE: no topic filter",
        "[MQTT-3.10.3-2]",
        ALL,
        [b"\xA2\x02\0\x01", b"\xA2\x03\0\x01\0"],
    ),
];
