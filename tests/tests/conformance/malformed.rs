//! Malformed packets and protocol errors, byte by byte: each gets the answer that the specification
//! names, and nobody else notices (5.0 sections 1.5, 2.1, 4.13).
//!
//! The packets are written as hex, `|` and spaces for the eye, so that no codec of ours stands
//! between the test and the broker.

use crate::prelude::*;

const MALFORMED: &[ReasonCode] = &[ReasonCode::MalformedPacket];
const PROTOCOL: &[ReasonCode] = &[ReasonCode::ProtocolError];
/// Where the specification forbids something and does not say which of the two it is.
const EITHER: &[ReasonCode] = &[ReasonCode::MalformedPacket, ReasonCode::ProtocolError];

/// Bytes from hex digits.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| {
        let pair = str::from_utf8(pair).expect("hex digits are ASCII");
        u8::from_str_radix(pair, 16).expect("two hex digits")
    };
    digits.chunks(2).map(byte).collect()
}

/// Sends each packet on a 5.0 connection of its own and expects DISCONNECT with its reason.
fn refused(cases: &[(&str, &[ReasonCode], &str)]) {
    let broker = Broker::shared();
    let mut witness = broker.connect(&v5(&unique("witness")));
    let mut failures = Vec::new();
    for (packet, reason, what) in cases {
        let mut client = publisher(&broker);
        client.send_bytes(&hex(packet));
        match client.next_packet() {
            Some(Received::Disconnect(disconnect)) if reason.contains(&disconnect.reason) => {
                client.expect_closed();
            }
            other => failures.push(format!("{what} ({packet}): {other:?} instead of {reason:?}")),
        }
    }
    witness.expect_nothing();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Sends each packet on a 3.1.1 connection of its own and expects it to be closed.
fn closed(cases: &[(&str, &str)]) {
    let broker = Broker::shared();
    let mut failures = Vec::new();
    for (packet, what) in cases {
        let mut client = broker.connect(&v311(&unique("rude")));
        client.send_bytes(&hex(packet));
        if let Some(other) = client.next_packet() {
            failures.push(format!("{what} ({packet}): {other:?} instead of a close"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Sends each CONNECT and expects a 5.0 CONNACK with its reason.
fn connect_refused(cases: &[(&str, &[ReasonCode], &str)]) {
    let broker = Broker::shared();
    let mut failures = Vec::new();
    for (packet, reason, what) in cases {
        let mut client = broker.open(V5);
        client.send_bytes(&hex(packet));
        match client.next_packet() {
            Some(Received::ConnAck(ack))
                if reason.contains(&ack.reason) && !ack.session_present =>
            {
                client.expect_closed();
            }
            other => failures.push(format!("{what} ({packet}): {other:?} instead of {reason:?}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// [MQTT-2.1.3-1], [MQTT-3.6.1-1], [MQTT-3.8.1-1], [MQTT-3.10.1-1], [MQTT-3.3.1-4]
#[test]
fn reserved_flags() {
    refused(&[
        ("41 02 0001", MALFORMED, "PUBACK with flags"),
        ("51 02 0001", MALFORMED, "PUBREC with flags"),
        ("60 02 0001", MALFORMED, "PUBREL without its flag"),
        ("63 02 0001", MALFORMED, "PUBREL with a flag too many"),
        ("6A 02 0001", MALFORMED, "PUBREL with DUP"),
        ("71 02 0001", MALFORMED, "PUBCOMP with flags"),
        ("80 07 0001 00 0001 61 00", MALFORMED, "SUBSCRIBE without its flag"),
        ("8A 07 0001 00 0001 61 00", MALFORMED, "SUBSCRIBE with DUP"),
        ("A0 06 0001 00 0001 61", MALFORMED, "UNSUBSCRIBE without its flag"),
        ("AA 06 0001 00 0001 61", MALFORMED, "UNSUBSCRIBE with DUP"),
        ("C1 00", MALFORMED, "PINGREQ with flags"),
        ("36 06 0001 61 0001 00", MALFORMED, "PUBLISH with QoS 3"),
        ("3E 06 0001 61 0001 00", MALFORMED, "PUBLISH with QoS 3 and DUP"),
        ("38 04 0001 61 00", MALFORMED, "PUBLISH with QoS 0 and DUP [MQTT-3.3.1-2]"),
        ("00 00", MALFORMED, "packet type 0"),
    ]);
}

/// [MQTT-1.5.5-1]: four bytes at the most, as few as possible.
#[test]
fn variable_byte_integers() {
    refused(&[
        ("C0 80 80 80 80 00", MALFORMED, "remaining length of five bytes"),
        ("C0 FF FF FF FF 7F", MALFORMED, "remaining length above the maximum"),
        ("C0 80 00", MALFORMED, "remaining length 0 in two bytes"),
        ("30 86 00 0001 61 00 00 00", MALFORMED, "remaining length 6 in two bytes"),
        ("30 05 0001 61 80 00", MALFORMED, "property length 0 in two bytes"),
        ("82 0A 0001 03 0B 81 00 0001 61 00", MALFORMED, "identifier 1 in two bytes"),
        ("82 0D 0001 06 0B 80 80 80 80 01 0001 61 00", MALFORMED, "identifier of 5 bytes"),
    ]);
}

/// [MQTT-1.5.4-1], [MQTT-1.5.4-2], [MQTT-1.5.7-1], [MQTT-3.3.2-1], [MQTT-3.3.2-13],
/// [MQTT-3.3.2-19], [MQTT-3.8.3-1], [MQTT-3.10.3-1], [MQTT-4.7.3-2]
#[test]
fn strings() {
    refused(&[
        ("30 05 0002 61 00 00", MALFORMED, "topic name with U+0000"),
        ("30 04 0001 FF 00", MALFORMED, "topic name with 0xFF"),
        ("30 05 0002 C0 80 00", MALFORMED, "topic name with U+0000 in two bytes"),
        ("30 05 0002 C1 BF 00", MALFORMED, "topic name with an overlong form"),
        ("30 06 0003 ED A0 80 00", MALFORMED, "topic name with the surrogate U+D800"),
        ("30 06 0003 ED BF BF 00", MALFORMED, "topic name with the surrogate U+DFFF"),
        ("30 07 0004 F4 90 80 80 00", MALFORMED, "topic name above U+10FFFF"),
        ("30 05 0002 61 C3 00", MALFORMED, "topic name that ends within a character"),
        ("30 09 0001 61 05 03 0002 61 00", MALFORMED, "content type with U+0000"),
        ("30 08 0001 61 04 03 0001 FF", MALFORMED, "content type with 0xFF"),
        ("30 08 0001 61 04 08 0001 FF", MALFORMED, "response topic with 0xFF"),
        ("30 0B 0001 61 07 26 0001 FF 0001 61", MALFORMED, "user property: bad name"),
        ("30 0B 0001 61 07 26 0001 61 0001 FF", MALFORMED, "user property: bad value"),
        ("82 07 0001 00 0001 FF 00", MALFORMED, "topic filter with 0xFF"),
        ("82 08 0001 00 0002 61 00 00", MALFORMED, "topic filter with U+0000"),
        ("A2 06 0001 00 0001 FF", MALFORMED, "UNSUBSCRIBE with 0xFF"),
        ("A2 07 0001 00 0002 61 00", MALFORMED, "UNSUBSCRIBE with U+0000"),
        ("E0 07 00 05 1F 0002 61 00", MALFORMED, "reason string with U+0000"),
    ]);
}

/// Lengths that lie: fields that reach past their packet, bytes left over.
#[test]
fn lengths() {
    refused(&[
        ("30 01 00", MALFORMED, "PUBLISH of one byte"),
        ("30 03 0005 61", MALFORMED, "topic name longer than the packet"),
        ("30 04 0001 61 01", MALFORMED, "properties longer than the packet"),
        ("30 05 0001 61 01 01", MALFORMED, "property cut off"),
        ("30 03 0001 61", MALFORMED, "PUBLISH without a property length"),
        ("32 03 0001 61", MALFORMED, "PUBLISH with QoS 1 and no packet identifier"),
        ("40 01 00", MALFORMED, "PUBACK of one byte"),
        ("40 05 0001 00 00 00", MALFORMED, "PUBACK with a byte too many"),
        ("82 02 0001", MALFORMED, "SUBSCRIBE that ends after the packet identifier"),
        ("82 06 0001 00 0001 61", MALFORMED, "SUBSCRIBE without options"),
        ("82 07 0001 00 0009 61 00", MALFORMED, "filter longer than the packet"),
        ("A2 06 0001 00 0002 61", MALFORMED, "UNSUBSCRIBE filter longer than the packet"),
        ("C0 01 00", MALFORMED, "PINGREQ with a body"),
        ("E0 03 00 00 00", MALFORMED, "DISCONNECT with a byte too many"),
        ("E0 03 00 05 11", MALFORMED, "DISCONNECT: properties longer than the packet"),
    ]);
}

/// [MQTT-2.2.1-3] and its like: packet identifier 0. [MQTT-3.8.3-2], [MQTT-3.10.3-2]: no filter.
#[test]
fn packet_ids_and_payloads() {
    refused(&[
        ("32 06 0001 61 0000 00", EITHER, "PUBLISH with packet identifier 0"),
        ("82 07 0000 00 0001 61 00", EITHER, "SUBSCRIBE with packet identifier 0"),
        ("A2 06 0000 00 0001 61", EITHER, "UNSUBSCRIBE with packet identifier 0"),
        ("82 03 0001 00", PROTOCOL, "SUBSCRIBE without a filter"),
        ("A2 03 0001 00", PROTOCOL, "UNSUBSCRIBE without a filter"),
    ]);
}

/// [MQTT-3.8.3-5] and section 3.8.3.1: options.
#[test]
fn subscription_options() {
    refused(&[
        ("82 07 0001 00 0001 61 40", MALFORMED, "reserved bit 6"),
        ("82 07 0001 00 0001 61 80", MALFORMED, "reserved bit 7"),
        ("82 07 0001 00 0001 61 03", PROTOCOL, "QoS 3"),
        ("82 07 0001 00 0001 61 30", PROTOCOL, "Retain Handling 3"),
    ]);
}

/// Section 2.2.2: properties that are not of this packet, twice, or out of range.
#[test]
fn properties() {
    refused(&[
        ("30 06 0001 61 02 25 01", MALFORMED, "PUBLISH with Retain Available"),
        ("30 06 0001 61 02 7F 00", MALFORMED, "PUBLISH with an unknown property"),
        ("30 09 0001 61 05 11 00000001", MALFORMED, "PUBLISH with session expiry"),
        ("30 08 0001 61 04 01 00 01 00", PROTOCOL, "payload format twice"),
        ("30 06 0001 61 02 01 02", EITHER, "payload format 2"),
        ("30 0E 0001 61 0A 02 00000001 02 00000001", PROTOCOL, "message expiry twice"),
        ("30 0A 0001 61 06 23 0001 23 0001", PROTOCOL, "topic alias twice"),
        ("30 0C 0001 61 08 03 0001 61 03 0001 61", PROTOCOL, "content type twice"),
        ("30 0C 0001 61 08 08 0001 61 08 0001 61", PROTOCOL, "response topic twice"),
        ("30 0C 0001 61 08 09 0001 61 09 0001 61", PROTOCOL, "correlation data twice"),
        ("30 08 0001 61 04 08 0001 23", EITHER, "response topic # [MQTT-3.3.2-14]"),
        ("30 08 0001 61 04 08 0001 2B", EITHER, "response topic +"),
        ("82 09 0001 02 0B 00 0001 61 00", PROTOCOL, "subscription identifier 0"),
        ("82 0B 0001 04 0B 01 0B 01 0001 61 00", PROTOCOL, "subscription identifier twice"),
        ("82 09 0001 02 01 00 0001 61 00", MALFORMED, "SUBSCRIBE with payload format"),
        ("A2 08 0001 02 0B 01 0001 61", MALFORMED, "UNSUBSCRIBE with an identifier"),
        ("40 06 0001 00 02 0101", MALFORMED, "PUBACK with payload format"),
        ("E0 0C 00 0A 11 00000001 11 00000001", PROTOCOL, "session expiry twice"),
        ("E0 04 00 02 01 00", MALFORMED, "DISCONNECT with payload format"),
    ]);
}

/// [MQTT-3.4.2-1], [MQTT-3.5.2-1], [MQTT-3.6.2-1], [MQTT-3.7.2-1] for the receiver: reason codes
/// that the packet does not have.
#[test]
fn reason_codes() {
    refused(&[
        ("40 03 0001 01", EITHER, "PUBACK with 0x01"),
        ("40 03 0001 92", EITHER, "PUBACK with 0x92"),
        ("50 03 0001 92", EITHER, "PUBREC with 0x92"),
        ("62 03 0001 80", EITHER, "PUBREL with 0x80"),
        ("70 03 0001 10", EITHER, "PUBCOMP with 0x10"),
    ]);
}

/// Packets that only a server sends.
#[test]
fn packets_of_a_server() {
    refused(&[
        ("20 03 00 00 00", EITHER, "CONNACK"),
        ("90 04 0001 00 00", EITHER, "SUBACK"),
        ("B0 04 0001 00 00", EITHER, "UNSUBACK"),
        ("D0 00", EITHER, "PINGRESP"),
    ]);
}

/// [MQTT-3.1.2-3], [MQTT-3.1.2-9] to [MQTT-3.1.2-13], [MQTT-3.1.2-16] to [MQTT-3.1.2-19],
/// [MQTT-3.1.3-1], [MQTT-3.1.3-3], [MQTT-3.1.3-4], [MQTT-3.1.3-11], [MQTT-3.1.3-12],
/// [MQTT-3.1.4-1]: CONNECT.
#[test]
fn connect() {
    connect_refused(&[
        ("10 0E 0004 4D515454 05 03 0000 00 0001 78", MALFORMED, "reserved flag"),
        ("10 0E 0004 4D515454 05 0A 0000 00 0001 78", MALFORMED, "Will QoS without a will"),
        ("10 0E 0004 4D515454 05 22 0000 00 0001 78", MALFORMED, "Will Retain, no will"),
        ("10 15 0004 4D515454 05 1E 0000 00 0001 78 00 0001 77 0001 77", MALFORMED, "Will QoS 3"),
        ("10 0E 0004 4D515454 05 06 0000 00 0001 78", MALFORMED, "will flag, no will"),
        ("10 12 0004 4D515454 05 06 0000 00 0001 78 00 0001 77", MALFORMED, "no payload"),
        (
            "10 15 0004 4D515454 05 06 0000 00 0001 78 00 0001 FF 0001 77",
            MALFORMED,
            "will topic not UTF-8",
        ),
        (
            "10 15 0004 4D515454 05 02 0000 00 0001 78 00 0001 77 0001 77",
            MALFORMED,
            "a will without its flag",
        ),
        ("10 0E 0004 4D515454 05 82 0000 00 0001 78", MALFORMED, "user name missing"),
        ("10 11 0004 4D515454 05 82 0000 00 0001 78 0001 FF", MALFORMED, "user name bad"),
        ("10 11 0004 4D515454 05 02 0000 00 0001 78 0001 75", MALFORMED, "no user flag"),
        ("10 0E 0004 4D515454 05 42 0000 00 0001 78", MALFORMED, "password missing"),
        (
            "10 14 0004 4D515454 05 82 0000 00 0001 78 0001 75 0001 70",
            MALFORMED,
            "a password without its flag",
        ),
        ("10 0B 0004 4D515454 05 02 0000 00", MALFORMED, "no client identifier"),
        ("10 0E 0004 4D515454 05 02 0000 00 0001 FF", MALFORMED, "identifier not UTF-8"),
        ("10 0E 0004 4D515454 05 02 0000 00 0001 00", MALFORMED, "identifier U+0000"),
        ("10 0E 0004 4D515454 05 02 0000 00 0002 78", MALFORMED, "identifier cut off"),
        ("10 0A 0004 4D515454 05 02 0000", MALFORMED, "no property length"),
    ]);
}

/// Properties of CONNECT and of its will.
#[test]
fn connect_properties() {
    connect_refused(&[
        ("10 11 0004 4D515454 05 02 0000 03 210000 0001 78", PROTOCOL, "Receive Maximum 0"),
        ("10 13 0004 4D515454 05 02 0000 05 2700000000 0001 78", PROTOCOL, "Maximum Packet Size 0"),
        (
            "10 14 0004 4D515454 05 02 0000 06 210001 210001 0001 78",
            PROTOCOL,
            "Receive Maximum twice",
        ),
        (
            "10 10 0004 4D515454 05 02 0000 02 1702 0001 78",
            PROTOCOL,
            "Request Problem Information 2",
        ),
        (
            "10 10 0004 4D515454 05 02 0000 02 1902 0001 78",
            PROTOCOL,
            "Request Response Information 2",
        ),
        (
            "10 10 0004 4D515454 05 02 0000 02 2501 0001 78",
            MALFORMED,
            "Retain Available in CONNECT",
        ),
        (
            "10 13 0004 4D515454 05 02 0000 05 1800000001 0001 78",
            MALFORMED,
            "Will Delay Interval outside of the will",
        ),
        (
            "10 1A 0004 4D515454 05 06 0000 00 0001 78 05 1100000001 0001 77 0001 77",
            MALFORMED,
            "session expiry in the will",
        ),
        (
            "10 17 0004 4D515454 05 06 0000 00 0001 78 02 0102 0001 77 0001 77",
            EITHER,
            "payload format 2 in the will",
        ),
    ]);
}

/// A will topic with wildcards, or none: 0x81 or 0x90, refused at any rate.
#[test]
fn will_topics() {
    let broker = Broker::shared();
    for topic in ["0001 23", "0001 2B", "0003 612F23", "0000"] {
        let will = hex(&format!("00 {topic} 0001 77"));
        let mut packet = hex("10 00 0004 4D515454 05 06 0000 00 0001 78");
        packet.extend_from_slice(&will);
        packet[1] = u8::try_from(packet.len() - 2).expect("short");
        let mut client = broker.open(V5);
        client.send_bytes(&packet);
        let reason = client.expect::<ConnAck>().reason;
        let allowed =
            [ReasonCode::MalformedPacket, ReasonCode::ProtocolError, ReasonCode::TopicNameInvalid];
        assert!(allowed.contains(&reason), "{topic}: {reason:?}");
        client.expect_closed();
    }
}

/// [MQTT-2.1.3-1] in the first packet: CONNECT with flags is not CONNECT.
#[test]
fn connect_with_flags() {
    let broker = Broker::shared();
    for first in ["11", "12", "1F"] {
        let mut client = broker.open(V5);
        let packet = hex(&format!("{first} 0E 0004 4D515454 05 02 0000 00 0001 78"));
        client.send_bytes(&packet);
        let answer = client.rest();
        // The version is in the body; whether it is looked at is left open.
        let allowed = answer.is_empty() || answer.starts_with(&[0x20]) && answer[3] == 0x81;
        assert!(allowed, "{first}: {answer:02x?}");
    }
}

/// What is not MQTT at all.
#[test]
fn other_protocols() {
    let broker = Broker::shared();
    for bytes in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"\x16\x03\x01\x02\x00\x01", b"\0\0"] {
        let mut client = broker.open(V5);
        client.send_bytes(bytes);
        assert_eq!(client.rest(), b"");
    }
}

/// A packet that is refused by its first bytes is refused although the rest never comes.
#[test]
fn refused_before_the_body_has_come() {
    let broker = Broker::shared();
    let mut client = publisher(&broker);
    client.send_bytes(&hex("36"));
    client.expect_disconnect(ReasonCode::MalformedPacket);
    let mut client = publisher(&broker);
    client.send_bytes(&hex("30 FF FF FF 7F"));
    client.expect_disconnect(ReasonCode::PacketTooLarge);
    let mut client = broker.open(V5);
    client.send_bytes(&hex("10 FF FF FF 7F 0004"));
    assert_eq!(client.rest(), b"");
}

/// 3.1.1: [MQTT-2.2.2-2], [MQTT-1.5.3-1], [MQTT-1.5.3-2], [MQTT-2.3.1-1], [MQTT-3.3.1-4],
/// [MQTT-3.3.2-1], [MQTT-3.3.2-2], [MQTT-3.6.1-1], [MQTT-3.8.1-1], [MQTT-3.8.3-1], [MQTT-3.8.3-3],
/// [MQTT-3-8.3-4], [MQTT-3.10.1-1], [MQTT-3.10.3-1], [MQTT-3.10.3-2], [MQTT-3.14.1-1],
/// [MQTT-4.7.3-1], [MQTT-4.8.0-1]: closed without a word.
#[test]
fn v311_packets() {
    closed(&[
        ("36 05 0001 61 0001", "PUBLISH with QoS 3"),
        ("30 02 0000", "PUBLISH with an empty topic name"),
        ("30 03 0001 23", "PUBLISH to #"),
        ("30 05 0003 612F2B", "PUBLISH to a/+"),
        ("30 03 0001 FF", "topic name not UTF-8"),
        ("30 04 0002 61 00", "topic name with U+0000"),
        ("30 05 0003 ED A0 80", "topic name with a surrogate"),
        ("32 05 0001 61 0000", "PUBLISH with packet identifier 0"),
        ("32 03 0001 61", "PUBLISH with QoS 1 without a packet identifier"),
        ("38 03 0001 61", "PUBLISH with QoS 0 and DUP"),
        ("40 03 0001 00", "PUBACK with a reason code"),
        ("41 02 0001", "PUBACK with flags"),
        ("60 02 0001", "PUBREL without its flag"),
        ("6A 02 0001", "PUBREL with DUP"),
        ("62 02 0000", "PUBREL with packet identifier 0"),
        ("80 06 0001 0001 61 00", "SUBSCRIBE without its flag"),
        ("82 06 0000 0001 61 00", "SUBSCRIBE with packet identifier 0"),
        ("82 02 0001", "SUBSCRIBE without a filter"),
        ("82 06 0001 0001 61 03", "SUBSCRIBE with QoS 3"),
        ("82 06 0001 0001 61 04", "SUBSCRIBE with No Local, which 3.1.1 does not have"),
        ("82 06 0001 0001 61 80", "SUBSCRIBE with a reserved bit"),
        ("82 06 0001 0001 FF 00", "filter not UTF-8"),
        ("82 05 0001 0000 00", "empty filter"),
        ("82 08 0001 0003 612362 00", "filter a#b"),
        ("82 05 0001 0001 61", "SUBSCRIBE without a QoS"),
        ("A0 05 0001 0001 61", "UNSUBSCRIBE without its flag"),
        ("A2 02 0001", "UNSUBSCRIBE without a filter"),
        ("A2 05 0000 0001 61", "UNSUBSCRIBE with packet identifier 0"),
        ("A2 05 0001 0001 FF", "UNSUBSCRIBE with a filter not UTF-8"),
        ("C0 01 00", "PINGREQ with a body"),
        ("C1 00", "PINGREQ with flags"),
        ("E1 00", "DISCONNECT with flags"),
        ("E0 01 00", "DISCONNECT with a reason code"),
        ("20 02 00 00", "CONNACK from a client"),
        ("D0 00", "PINGRESP from a client"),
        ("F0 00", "packet type 15"),
        ("00 00", "packet type 0"),
        ("C0 80 80 80 80 00", "remaining length of five bytes"),
    ]);
}

/// 3.1.1: [MQTT-3.1.4-1]: a CONNECT that does not conform is closed without a CONNACK.
#[test]
fn v311_connects() {
    let broker = Broker::shared();
    let cases = [
        ("10 0D 0004 4D515454 04 03 0000 0001 78", "reserved flag [MQTT-3.1.2-3]"),
        ("10 0D 0004 4D515454 04 0A 0000 0001 78", "Will QoS without a will [MQTT-3.1.2-13]"),
        ("10 0D 0004 4D515454 04 22 0000 0001 78", "Will Retain without a will [MQTT-3.1.2-15]"),
        ("10 13 0004 4D515454 04 1E 0000 0001 78 0001 77 0001 77", "Will QoS 3 [MQTT-3.1.2-14]"),
        ("10 0D 0004 4D515454 04 06 0000 0001 78", "no will [MQTT-3.1.2-9]"),
        ("10 13 0004 4D515454 04 02 0000 0001 78 0001 77 0001 77", "no flag [MQTT-3.1.2-11]"),
        ("10 13 0004 4D515454 04 06 0000 0001 78 0001 FF 0001 77", "topic [MQTT-3.1.3-10]"),
        ("10 0D 0004 4D515454 04 82 0000 0001 78", "user name missing [MQTT-3.1.2-19]"),
        ("10 10 0004 4D515454 04 02 0000 0001 78 0001 75", "user name [MQTT-3.1.2-18]"),
        ("10 10 0004 4D515454 04 82 0000 0001 78 0001 FF", "user name [MQTT-3.1.3-11]"),
        ("10 10 0004 4D515454 04 C2 0000 0001 78 0001 75", "no password [MQTT-3.1.2-21]"),
        ("10 13 0004 4D515454 04 82 0000 0001 78 0001 75 0001 70", "password [MQTT-3.1.2-20]"),
        ("10 10 0004 4D515454 04 42 0000 0001 78 0001 70", "no user name [MQTT-3.1.2-22]"),
        ("10 0A 0004 4D515454 04 02 0000", "no client identifier [MQTT-3.1.3-3]"),
        ("10 0D 0004 4D515454 04 02 0000 0001 FF", "client identifier [MQTT-3.1.3-4]"),
        ("12 0D 0004 4D515454 04 02 0000 0001 78", "flags of the fixed header"),
    ];
    for (packet, what) in cases {
        let mut client = broker.open(V311);
        client.send_bytes(&hex(packet));
        assert_eq!(client.rest(), b"", "{what} ({packet})");
    }
}
