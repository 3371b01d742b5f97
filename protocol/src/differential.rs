//! Differential tests against two codecs that we did not write: `mqttbytes` and the one inside
//! `rumqttc`, each for 3.1.1 and for 5.0.
//!
//! A packet is encoded here, read and written there, and decoded here again: it must come back the
//! same, so that both encoders and both decoders agree. Of packets with changed bytes the verdicts
//! must agree, and where both take one, what they read in it. Differences must be on the lists in
//! `deviations`.

mod codecs;
mod deviations;

use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use codecs::{Bounce, CODECS, Codec};
use deviations::{INVALID, VALID};

use crate::fuzzing::{Bytes, with_packet};
use crate::{DecodeError, Packet, Properties, Property, decode};

const MAX_SIZE: u32 = 1 << 20;

#[test]
fn valid_packets_come_back_the_same() {
    for codec in &CODECS {
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        let mut same = 0;
        for _ in 0..5_000 {
            with_packet(&random.seed(), codec.version, |packet| {
                let mut bytes = Bytes::default();
                packet.encode(codec.version, &mut bytes).expect("a legal packet can be encoded");
                match difference(codec, packet, &bytes.0) {
                    None => same += 1,
                    Some(difference) => assert_listed(codec, packet, &bytes.0, &difference),
                }
            });
        }
        assert!(same > 3_500, "{}: only {same} packets came back", codec.name);
    }
}

#[test]
fn changed_packets_are_judged_alike() {
    for codec in &CODECS {
        let mut random = Random(0xD1B5_4A32_D192_ED03);
        let (mut taken, mut refused) = (0, 0);
        for _ in 0..40_000 {
            let mut bytes = Bytes::default();
            with_packet(&random.seed(), codec.version, |packet| {
                packet.encode(codec.version, &mut bytes).expect("a legal packet can be encoded");
            });
            change(&mut bytes.0, &mut random);
            if bytes.0.is_empty() || is_of_another_version(codec, &bytes.0) {
                continue;
            }
            match decode(&bytes.0, codec.version, MAX_SIZE) {
                Ok(Some((packet, _))) => {
                    taken += 1;
                    if let Some(difference) = difference(codec, &packet, &bytes.0) {
                        assert_listed(codec, &packet, &bytes.0, &difference);
                    }
                }
                Ok(None) => assert_waits(codec, &bytes.0),
                Err(error) => {
                    refused += 1;
                    assert_refused_or_listed(codec, error, &bytes.0);
                }
            }
        }
        assert!(taken > 5_000 && refused > 5_000, "{}: {taken}, {refused}", codec.name);
    }
}

/// Every entry of the list of valid packets is still true of every codec that it names.
#[test]
fn deviations_on_valid_packets_are_shown_by_their_examples() {
    for deviation in VALID {
        for codec in CODECS.iter().filter(|codec| deviation.codecs.contains(&codec.name)) {
            let bytes = deviation.examples[usize::from(codec.version.is_v5())];
            let decoded = decode(bytes, codec.version, MAX_SIZE);
            let Ok(Some((packet, _))) = decoded else { panic!("{bytes:02x?}: {decoded:?}") };
            assert!((deviation.applies)(&packet, bytes), "{}", deviation.what);
            let difference = difference(codec, &packet, bytes);
            assert!(difference.is_some(), "{} no longer: {}", codec.name, deviation.what);
        }
    }
}

/// Every entry of the list of invalid packets is still true of every codec that it names.
#[test]
fn deviations_on_invalid_packets_are_shown_by_their_examples() {
    for deviation in INVALID {
        for codec in CODECS.iter().filter(|codec| deviation.codecs.contains(&codec.name)) {
            let bytes = deviation.examples[usize::from(codec.version.is_v5())];
            match decode(bytes, codec.version, MAX_SIZE) {
                Err(error) => assert!(error.what.ends_with(deviation.phrase), "{}", error.what),
                other => panic!("{}: {bytes:02x?}: {other:?}", deviation.statement),
            }
            let bounce = (codec.bounce)(bytes);
            let is_taken = !matches!(bounce, Bounce::Refused(_));
            assert!(is_taken, "{} no longer takes: {}", codec.name, deviation.phrase);
        }
    }
}

/// How the other codec differs on a packet that is valid; none where it does not.
fn difference(codec: &Codec, packet: &Packet<'_>, bytes: &[u8]) -> Option<String> {
    let written = match (codec.bounce)(bytes) {
        Bounce::Written(written) => written,
        other => return Some(format!("{other:?}")),
    };
    match decode(&written, codec.version, MAX_SIZE) {
        Ok(Some((again, used))) if used == written.len() => {
            let (before, after) = (canonical(packet), canonical(&again));
            (before != after).then(|| format!("{before} became {after}"))
        }
        other => Some(format!("wrote {written:02x?}: {other:?}")),
    }
}

fn assert_listed(codec: &Codec, packet: &Packet<'_>, bytes: &[u8], difference: &str) {
    let is_listed = VALID.iter().any(|deviation| {
        deviation.codecs.contains(&codec.name) && (deviation.applies)(packet, bytes)
    });
    assert!(is_listed, "{}: {bytes:02x?}: {difference}", codec.name);
}

fn assert_refused_or_listed(codec: &Codec, error: DecodeError, bytes: &[u8]) {
    if let Bounce::Refused(_) = (codec.bounce)(bytes) {
        return;
    }
    let is_listed = INVALID.iter().any(|deviation| {
        deviation.codecs.contains(&codec.name) && error.what.ends_with(deviation.phrase)
    });
    assert!(is_listed, "{} takes what is refused here: {bytes:02x?}: {error}", codec.name);
}

fn assert_waits(codec: &Codec, bytes: &[u8]) {
    match (codec.bounce)(bytes) {
        Bounce::Refused(error) if error.starts_with("InsufficientBytes") => {}
        other => panic!("{} does not wait for more: {bytes:02x?}: {other:?}", codec.name),
    }
}

/// A CONNECT of another level is another codec's: v4 reads one of level 5 as if it were 4, and the
/// other way round.
fn is_of_another_version(codec: &Codec, bytes: &[u8]) -> bool {
    let level = codec.version.level();
    bytes[0] >> 4 == 1 && bytes.get(8).is_some_and(|byte| byte & 0x7F != level)
}

/// One line for a packet: its properties sorted by identifier, as the other codecs write them in an
/// order of their own. User properties keep theirs.
fn canonical(packet: &Packet<'_>) -> String {
    let mut packet = packet.clone();
    let lists = match &mut packet {
        Packet::Connect(connect) => {
            let will = connect.will.as_mut().map(|will| sorted(&mut will.properties));
            sorted(&mut connect.properties) + &will.unwrap_or_default()
        }
        Packet::ConnAck(packet) => sorted(&mut packet.properties),
        Packet::Publish(packet) => sorted(&mut packet.properties),
        Packet::PubAck(packet) => sorted(&mut packet.properties),
        Packet::PubRec(packet) => sorted(&mut packet.properties),
        Packet::PubRel(packet) => sorted(&mut packet.properties),
        Packet::PubComp(packet) => sorted(&mut packet.properties),
        Packet::Subscribe(packet) => sorted(&mut packet.properties),
        Packet::SubAck(packet) => sorted(&mut packet.properties),
        Packet::Unsubscribe(packet) => sorted(&mut packet.properties),
        Packet::UnsubAck(packet) => sorted(&mut packet.properties),
        Packet::Disconnect(packet) => sorted(&mut packet.properties),
        Packet::Auth(packet) => sorted(&mut packet.properties),
        Packet::PingReq | Packet::PingResp => String::new(),
    };
    format!("{packet:?}{lists}")
}

/// Takes the properties out of a packet.
fn sorted(properties: &mut Properties<'_>) -> String {
    let mut list: Vec<Property<'_>> = properties.iter().collect();
    list.sort_by_key(Property::id);
    *properties = Properties::EMPTY;
    format!(" {list:?}")
}

/// The same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn byte(&mut self, bound: usize) -> u8 {
        self.below(bound) as u8
    }

    /// Bytes that `with_packet` makes a packet of.
    fn seed(&mut self) -> Vec<u8> {
        let len = 1 + self.below(120);
        (0..len).map(|_| self.byte(256)).collect()
    }
}

/// Changes, takes away or adds one or two bytes; the Remaining Length follows where it has one byte.
fn change(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..1 + random.below(2) {
        let len = bytes.len();
        if len < 2 {
            return;
        }
        let at = random.below(len);
        match random.below(6) {
            0 => bytes[at] = random.byte(256),
            1 => bytes[at] = random.byte(48),
            2 => bytes[at] ^= 1 << random.below(8),
            3 => bytes[0] ^= 1 << random.below(8),
            4 if (3..0x80).contains(&len) => {
                bytes.remove(at.max(2));
                bytes[1] = (len - 3) as u8;
            }
            _ if len < 0x80 => {
                bytes.insert(at.max(1) + 1, random.byte(48));
                bytes[1] = (len - 1) as u8;
            }
            _ => {}
        }
    }
}

/// Fields that both codecs could have changed places of in reading and in writing alike.
#[test]
fn fields_are_read_where_they_were_meant() {
    use rumqttc::v5::mqttbytes::v5;
    let mut filter = v5::Filter::new("a/+", rumqttc::v5::mqttbytes::QoS::ExactlyOnce);
    filter.nolocal = true;
    let mut out = bytes::BytesMut::new();
    let subscribe = v5::Subscribe::new(filter, None);
    let packet = v5::Packet::Subscribe(v5::Subscribe { pkid: 7, ..subscribe });
    packet.write(&mut out, None).expect("it can be written");
    let Ok(Some((Packet::Subscribe(subscribe), _))) = decode(&out, crate::testing::V5, MAX_SIZE)
    else {
        panic!("{out:02x?} is a SUBSCRIBE")
    };
    let filter = subscribe.filters.iter().next().expect("there is one");
    assert_eq!((subscribe.packet_id.value(), filter.filter), (7, "a/+"));
    assert_eq!(filter.options.qos, crate::QoS::ExactlyOnce);
    assert!(filter.options.no_local && !filter.options.retain_as_published);

    let mut connect = mqttbytes::v4::Connect::new("id");
    connect.keep_alive = 5;
    connect.clean_session = true;
    connect.set_login("user", "secret");
    let qos = mqttbytes::QoS::AtLeastOnce;
    connect.last_will = Some(mqttbytes::v4::LastWill::new("w", "gone".to_string(), qos, true));
    let mut out = bytes::BytesMut::new();
    connect.write(&mut out).expect("it can be written");
    let Ok(Some((Packet::Connect(connect), _))) = decode(&out, crate::testing::V311, MAX_SIZE)
    else {
        panic!("{out:02x?} is a CONNECT")
    };
    let will = connect.will.expect("it has one");
    assert_eq!((connect.client_id, connect.keep_alive_s), ("id", 5));
    assert!(connect.clean_start && will.retain);
    assert_eq!((connect.user_name, connect.password), (Some("user"), Some(&b"secret"[..])));
    assert_eq!((will.topic, will.payload), ("w", &b"gone"[..]));
    assert_eq!(will.qos, crate::QoS::AtLeastOnce);
}
