//! CONNECT (3.1): a client asks for a connection. The packet says which version the rest speaks.

use crate::encode::{self, Buffer, Gather};
use crate::error::{BufferFull, DecodeError};
use crate::properties::{Place, Properties};
use crate::qos::QoS;
use crate::reason_code::ReasonCode;
use crate::topic::TopicName;
use crate::version::ProtocolVersion;
use crate::wire::{Reader, put_binary, put_string};

/// CONNECT.
#[derive(Clone, Debug, PartialEq)]
pub struct Connect<'a> {
    /// The version that the client wants to speak.
    pub version: ProtocolVersion,
    /// 3.1 and 3.1.1: the level had bit 0x80 set, as bridges do who want to be treated as such.
    pub bridge: bool,
    /// Clean Start; before 5.0 Clean Session.
    pub clean_start: bool,
    /// Keep Alive in seconds; 0: none.
    pub keep_alive_s: u16,
    /// 5.0 only.
    pub properties: Properties<'a>,
    /// The client identifier; may be empty, which the server judges [MQTT-3.1.3-6].
    pub client_id: &'a str,
    /// The message to be published if the client does not leave in order.
    pub will: Option<Will<'a>>,
    /// User name.
    pub user_name: Option<&'a str>,
    /// Password; before 5.0 only with a user name (3.1.1: [MQTT-3.1.2-22]).
    pub password: Option<&'a [u8]>,
}

/// The will of a CONNECT.
#[derive(Clone, Debug, PartialEq)]
pub struct Will<'a> {
    /// The QoS it is published with [MQTT-3.1.2-12].
    pub qos: QoS,
    /// The RETAIN flag it is published with.
    pub retain: bool,
    /// 5.0 only.
    pub properties: Properties<'a>,
    /// A valid topic name.
    pub topic: &'a str,
    /// The application's bytes.
    pub payload: &'a [u8],
}

const FIRST_BYTE: u8 = 0x10;
const BRIDGE: u8 = 0x80;

const USER_NAME: u8 = 0x80;
const PASSWORD: u8 = 0x40;
const WILL_RETAIN: u8 = 0x20;
const WILL_QOS: u8 = 0x18;
const WILL: u8 = 0x04;
const CLEAN_START: u8 = 0x02;
const RESERVED: u8 = 0x01;

impl<'a> Connect<'a> {
    /// The fields of the payload stand in a fixed order [MQTT-3.1.3-1], and those are there whose
    /// flag is set [MQTT-3.1.2-9] [MQTT-3.1.2-17] [MQTT-3.1.2-19] and no others
    /// [MQTT-3.1.2-16] [MQTT-3.1.2-18].
    pub(crate) fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let reader = &mut Reader::new(body);
        let (version, bridge) = version(reader)?;
        let flags = reader.u8().ok_or(DecodeError::malformed("CONNECT: the flags are missing"))?;
        check_flags(flags, version)?;
        let keep_alive_s =
            reader.u16().ok_or(DecodeError::malformed("CONNECT: the keep alive is missing"))?;
        let properties = properties(reader, version, Place::CONNECT)?;
        // [MQTT-3.1.3-3] [MQTT-3.1.3-4]
        let client_id = reader.string().ok_or(DecodeError::malformed(
            "CONNECT: the client identifier is cut off or not UTF-8",
        ))?;
        let will =
            if flags & WILL != 0 { Some(Will::decode(reader, flags, version)?) } else { None };
        let user_name = user_name(reader, flags, version)?;
        let password = password(reader, flags, version)?;
        if !reader.is_empty() {
            return Err(DecodeError::malformed("CONNECT: bytes after its end"));
        }
        Ok(Self {
            version,
            bridge,
            clean_start: flags & CLEAN_START != 0,
            keep_alive_s,
            properties,
            client_id,
            will,
            user_name,
            password,
        })
    }

    /// Writes the packet in the version that it asks for; the argument is not looked at.
    ///
    /// # Errors
    /// [`BufferFull`] where it cannot be written; see there.
    pub fn encode<B: Buffer>(
        &self,
        _version: ProtocolVersion,
        out: &mut B,
    ) -> Result<(), BufferFull> {
        self.check_field_lengths()?;
        let mut head = Gather::packet(FIRST_BYTE, self.remaining_length()?, out)?;
        head.length(self.version.name().as_bytes())?;
        head.put(out)?;
        out.put(self.version.name().as_bytes())?;
        let [high, low] = self.keep_alive_s.to_be_bytes();
        out.put(&[self.level(), self.flags(), high, low])?;
        if self.version.is_v5() {
            self.properties.encode_with_prefix(out)?;
        }
        put_string(self.client_id, out)?;
        if let Some(will) = &self.will {
            will.encode(self.version, out)?;
        }
        if let Some(user_name) = self.user_name {
            put_string(user_name, out)?;
        }
        self.password.map_or(Ok(()), |password| put_binary(password, out))
    }

    /// How many bytes `encode` writes: the whole packet with its header.
    ///
    /// # Errors
    /// [`BufferFull`] where it cannot be written at all; see there.
    pub fn encoded_len(&self, _version: ProtocolVersion) -> Result<usize, BufferFull> {
        self.check_field_lengths()?;
        encode::packet_len(self.remaining_length()?)
    }

    fn level(&self) -> u8 {
        let bridge = if self.bridge && !self.version.is_v5() { BRIDGE } else { 0 };
        self.version.level() | bridge
    }

    fn flags(&self) -> u8 {
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        let will = match &self.will {
            Some(will) => WILL | (will.qos as u8) << 3 | flag(will.retain, WILL_RETAIN),
            None => 0,
        };
        flag(self.clean_start, CLEAN_START)
            | will
            | flag(self.user_name.is_some(), USER_NAME)
            | flag(self.password.is_some(), PASSWORD)
    }

    fn remaining_length(&self) -> Result<usize, BufferFull> {
        if self.password.is_some() && self.user_name.is_none() && !self.version.is_v5() {
            return Err(BufferFull);
        }
        let properties = if self.version.is_v5() { self.properties.len_with_prefix() } else { 0 };
        Ok(2 + self.version.name().len()
            + 4
            + properties
            + 2
            + self.client_id.len()
            + self.will.as_ref().map_or(0, |will| will.len(self.version))
            + self.user_name.map_or(0, |user_name| 2 + user_name.len())
            + self.password.map_or(0, |password| 2 + password.len()))
    }

    /// Before anything is written, so that a field that is too long leaves no half packet.
    fn check_field_lengths(&self) -> Result<(), BufferFull> {
        let will = self.will.as_ref();
        let lens = [
            self.client_id.len(),
            will.map_or(0, |will| will.topic.len()),
            will.map_or(0, |will| will.payload.len()),
            self.user_name.map_or(0, str::len),
            self.password.map_or(0, <[u8]>::len),
        ];
        encode::check_field_lengths(lens)
    }
}

impl<'a> Will<'a> {
    fn decode(
        reader: &mut Reader<'a>,
        flags: u8,
        version: ProtocolVersion,
    ) -> Result<Self, DecodeError> {
        let properties = properties(reader, version, Place::WILL)?;
        // [MQTT-3.1.3-11]
        let topic = reader
            .string()
            .ok_or(DecodeError::malformed("CONNECT: the will topic is cut off or not UTF-8"))?;
        // [MQTT-4.7.0-1] [MQTT-4.7.3-1]
        if TopicName::new(topic).is_err() {
            return Err(DecodeError::malformed("CONNECT: the will topic is no topic name"));
        }
        let payload = reader
            .binary()
            .ok_or(DecodeError::malformed("CONNECT: the will payload is cut off"))?;
        let qos = will_qos(flags)?;
        Ok(Self { qos, retain: flags & WILL_RETAIN != 0, properties, topic, payload })
    }

    fn len(&self, version: ProtocolVersion) -> usize {
        let properties = if version.is_v5() { self.properties.len_with_prefix() } else { 0 };
        properties + 2 + self.topic.len() + 2 + self.payload.len()
    }

    fn encode<B: Buffer>(&self, version: ProtocolVersion, out: &mut B) -> Result<(), BufferFull> {
        if version.is_v5() {
            self.properties.encode_with_prefix(out)?;
        }
        put_string(self.topic, out)?;
        put_binary(self.payload, out)
    }
}

/// Protocol name and level: the version, and whether a bridge says that it is one.
fn version(reader: &mut Reader<'_>) -> Result<(ProtocolVersion, bool), DecodeError> {
    let name =
        reader.binary().ok_or(DecodeError::malformed("CONNECT: the protocol name is cut off"))?;
    let level =
        reader.u8().ok_or(DecodeError::malformed("CONNECT: the protocol level is missing"))?;
    match (name, level) {
        (b"MQTT", 5) => Ok((ProtocolVersion::V5, false)),
        (b"MQTT", 4) => Ok((ProtocolVersion::V311, false)),
        (b"MQIsdp", 3) => Ok((ProtocolVersion::V31, false)),
        (b"MQTT", 0x84) => Ok((ProtocolVersion::V311, true)),
        (b"MQIsdp", 0x83) => Ok((ProtocolVersion::V31, true)),
        // [MQTT-3.1.2-1] [MQTT-3.1.2-2]
        _ => Err(DecodeError {
            reason: ReasonCode::UnsupportedProtocolVersion,
            what: "CONNECT: a protocol name or level that is not known",
        }),
    }
}

fn check_flags(flags: u8, version: ProtocolVersion) -> Result<(), DecodeError> {
    // [MQTT-3.1.2-3]; 3.1 has no use for the bit and does not say what it must be.
    if flags & RESERVED != 0 && version != ProtocolVersion::V31 {
        return Err(DecodeError::malformed("CONNECT: the reserved flag is set"));
    }
    will_qos(flags)?;
    // [MQTT-3.1.2-11] [MQTT-3.1.2-13]
    if flags & WILL == 0 && flags & (WILL_QOS | WILL_RETAIN) != 0 {
        return Err(DecodeError::malformed("CONNECT: Will QoS or Will Retain without a will"));
    }
    // 3.1.1: [MQTT-3.1.2-22]; 5.0 allows it (3.1.2.9).
    if flags & (USER_NAME | PASSWORD) == PASSWORD && !version.is_v5() {
        return Err(DecodeError::malformed("CONNECT: a password without a user name"));
    }
    Ok(())
}

/// [MQTT-3.1.2-12]
fn will_qos(flags: u8) -> Result<QoS, DecodeError> {
    QoS::try_from((flags & WILL_QOS) >> 3)
        .map_err(|_| DecodeError::malformed("CONNECT: Will QoS 3"))
}

fn properties<'a>(
    reader: &mut Reader<'a>,
    version: ProtocolVersion,
    place: Place,
) -> Result<Properties<'a>, DecodeError> {
    if version.is_v5() { Properties::decode(reader, place) } else { Ok(Properties::EMPTY) }
}

fn user_name<'a>(
    reader: &mut Reader<'a>,
    flags: u8,
    version: ProtocolVersion,
) -> Result<Option<&'a str>, DecodeError> {
    if flags & USER_NAME == 0 || is_left_out(reader, version) {
        return Ok(None);
    }
    // [MQTT-3.1.3-12]
    let user_name = reader
        .string()
        .ok_or(DecodeError::malformed("CONNECT: the user name is cut off or not UTF-8"))?;
    Ok(Some(user_name))
}

fn password<'a>(
    reader: &mut Reader<'a>,
    flags: u8,
    version: ProtocolVersion,
) -> Result<Option<&'a [u8]>, DecodeError> {
    if flags & PASSWORD == 0 || is_left_out(reader, version) {
        return Ok(None);
    }
    let password =
        reader.binary().ok_or(DecodeError::malformed("CONNECT: the password is cut off"))?;
    Ok(Some(password))
}

/// In 3.1 the Remaining Length takes precedence over the flags: user name and password may be
/// missing although they are announced (3.1: 3.1, "User name and password").
fn is_left_out(reader: &Reader<'_>, version: ProtocolVersion) -> bool {
    version == ProtocolVersion::V31 && reader.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Packet;
    use crate::property::Property;
    use crate::testing::{
        MALFORMED, PROTOCOL_ERROR, V5, V31, V311, assert_refused, assert_wire, decoded, packet,
    };

    const CONNECT: Connect<'_> = Connect {
        version: V311,
        bridge: false,
        clean_start: true,
        keep_alive_s: 10,
        properties: Properties::EMPTY,
        client_id: "p",
        will: None,
        user_name: None,
        password: None,
    };

    const WILL: Will<'_> = Will {
        qos: QoS::ExactlyOnce,
        retain: true,
        properties: Properties::EMPTY,
        topic: "w",
        payload: b"gone",
    };

    fn of(version: ProtocolVersion) -> Packet<'static> {
        Packet::Connect(Connect { version, ..CONNECT })
    }

    /// [MQTT-3.1.2-1]; the version of the connection is not known yet and does not count.
    #[test]
    fn each_version_has_its_name_and_level() {
        assert_wire(V5, &of(V31), 0x10, b"\0\x06MQIsdp\x03\x02\0\x0A\0\x01p");
        assert_wire(V5, &of(V311), 0x10, b"\0\x04MQTT\x04\x02\0\x0A\0\x01p");
        assert_wire(V311, &of(V5), 0x10, b"\0\x04MQTT\x05\x02\0\x0A\0\0\x01p");
    }

    /// [MQTT-3.1.3-1]: the order of the payload.
    #[test]
    fn all_fields_of_the_payload() {
        let will_list = [Property::WillDelayInterval(3)];
        let list = [Property::ReceiveMaximum(20)];
        let connect = Connect {
            version: V5,
            properties: Properties::list(&list),
            will: Some(Will { properties: Properties::list(&will_list), ..WILL }),
            user_name: Some("u"),
            password: Some(&[0, 0xFF]),
            ..CONNECT
        };
        let body = b"\0\x04MQTT\x05\xF6\0\x0A\x03\x21\0\x14\0\x01p\
            \x05\x18\0\0\0\x03\0\x01w\0\x04gone\0\x01u\0\x02\0\xFF";
        assert_wire(V5, &Packet::Connect(connect), 0x10, body);
    }

    #[test]
    fn a_bridge_sets_the_highest_bit_of_the_level() {
        let bridge = Packet::Connect(Connect { bridge: true, ..CONNECT });
        assert_wire(V311, &bridge, 0x10, b"\0\x04MQTT\x84\x02\0\x0A\0\x01p");
    }

    /// [MQTT-3.1.2-1] [MQTT-3.1.2-2]
    #[test]
    fn other_names_and_levels_are_told_apart_from_what_is_malformed() {
        let unknown = "CONNECT: a protocol name or level that is not known";
        let reason = ReasonCode::UnsupportedProtocolVersion;
        for body in [
            &b"\0\x04MQTT\x03\x02\0\x0A\0\x01p"[..],
            b"\0\x04MQTT\x06\x02\0\x0A\0\x01p",
            b"\0\x04MQTT\x85\x02\0\x0A\0\0\x01p",
            b"\0\x06MQIsdp\x04\x02\0\x0A\0\x01p",
            b"\0\x04mqtt\x04\x02\0\x0A\0\x01p",
            b"\0\0\x04\x02\0\x0A\0\x01p",
        ] {
            assert_refused(V5, 0x10, body, reason, unknown);
        }
        let cut_off = "CONNECT: the protocol name is cut off";
        assert_refused(V5, 0x10, b"\0\x04MQ", MALFORMED, cut_off);
    }

    /// [MQTT-3.1.2-3]
    #[test]
    fn the_reserved_flag_is_refused_from_3_1_1_on() {
        let what = "CONNECT: the reserved flag is set";
        assert_refused(V5, 0x10, b"\0\x04MQTT\x04\x03\0\x0A\0\x01p", MALFORMED, what);
        assert_refused(V5, 0x10, b"\0\x04MQTT\x05\x03\0\x0A\0\0\x01p", MALFORMED, what);
        let v31 = packet(0x10, b"\0\x06MQIsdp\x03\x03\0\x0A\0\x01p");
        assert_eq!(decoded(V31, &v31), of(V31));
    }

    /// [MQTT-3.1.2-11] [MQTT-3.1.2-12] [MQTT-3.1.2-13]
    #[test]
    fn will_flags_without_a_will_and_will_qos_3_are_refused() {
        let without = "CONNECT: Will QoS or Will Retain without a will";
        for flags in [0x0A, 0x12, 0x22] {
            let mut body = *b"\0\x04MQTT\x04\x00\0\x0A\0\x01p";
            body[7] = flags;
            assert_refused(V5, 0x10, &body, MALFORMED, without);
        }
        let body = b"\0\x04MQTT\x04\x1E\0\x0A\0\x01p\0\x01w\0\0";
        assert_refused(V5, 0x10, body, MALFORMED, "CONNECT: Will QoS 3");
    }

    /// [MQTT-3.1.2-9] [MQTT-3.1.2-17] [MQTT-3.1.2-19]
    #[test]
    fn fields_that_are_announced_must_be_there() {
        for (flags, what) in [
            (0x06, "CONNECT: the will topic is cut off or not UTF-8"),
            (0x82, "CONNECT: the user name is cut off or not UTF-8"),
        ] {
            let mut body = *b"\0\x04MQTT\x05\x00\0\x0A\0\0\x01p";
            body[7] = flags;
            let body = if flags == 0x06 { [&body[..], b"\0"].concat() } else { body.to_vec() };
            assert_refused(V5, 0x10, &body, MALFORMED, what);
        }
        let body = b"\0\x04MQTT\x05\xC2\0\x0A\0\0\x01p\0\x01u";
        assert_refused(V5, 0x10, body, MALFORMED, "CONNECT: the password is cut off");
    }

    /// [MQTT-3.1.2-16] [MQTT-3.1.2-18]
    #[test]
    fn fields_that_are_not_announced_must_not_be_there() {
        let what = "CONNECT: bytes after its end";
        assert_refused(V5, 0x10, b"\0\x04MQTT\x04\x02\0\x0A\0\x01p\0\x01u", MALFORMED, what);
        assert_refused(V5, 0x10, b"\0\x04MQTT\x05\x02\0\x0A\0\0\x01p\0\x01u", MALFORMED, what);
    }

    /// 3.1.1: [MQTT-3.1.2-22]; 5.0: 3.1.2.9
    #[test]
    fn a_password_without_a_user_name_is_of_5_0() {
        let what = "CONNECT: a password without a user name";
        assert_refused(V311, 0x10, b"\0\x04MQTT\x04\x42\0\x0A\0\x01p\0\x01s", MALFORMED, what);
        let connect = Connect { password: Some(b"s"), ..CONNECT };
        assert_eq!(connect.encoded_len(V311), Err(BufferFull));
        let connect = Packet::Connect(Connect { version: V5, ..connect });
        assert_wire(V5, &connect, 0x10, b"\0\x04MQTT\x05\x42\0\x0A\0\0\x01p\0\x01s");
    }

    /// 3.1: 3.1, "User name and password".
    #[test]
    fn in_3_1_an_announced_user_name_may_be_left_out() {
        let bytes = packet(0x10, b"\0\x06MQIsdp\x03\xC2\0\x0A\0\x01p");
        assert_eq!(decoded(V31, &bytes), of(V31));
    }

    /// [MQTT-3.1.3-4] [MQTT-3.1.3-11] [MQTT-4.7.0-1]
    #[test]
    fn strings_are_checked() {
        let client_id = "CONNECT: the client identifier is cut off or not UTF-8";
        assert_refused(V311, 0x10, b"\0\x04MQTT\x04\x02\0\x0A\0\x01\0", MALFORMED, client_id);
        let will_topic = "CONNECT: the will topic is no topic name";
        let body = b"\0\x04MQTT\x04\x06\0\x0A\0\x01p\0\x01+\0\0";
        assert_refused(V311, 0x10, body, MALFORMED, will_topic);
    }

    /// 3.1.2.11.10
    #[test]
    fn authentication_data_needs_a_method() {
        let body = b"\0\x04MQTT\x05\x02\0\x0A\x04\x16\0\x01d\0\x01p";
        let what = "Authentication Data without a method";
        assert_refused(V5, 0x10, body, PROTOCOL_ERROR, what);
    }
}
