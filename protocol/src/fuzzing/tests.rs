//! The fuzz targets as ordinary tests: on the committed corpus, and on what proptest makes.

use std::fs;
use std::path::Path;
use std::string::String;
use std::vec::Vec;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const VERSIONS: [ProtocolVersion; 3] =
    [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5];

/// The files of a target's corpus. At least one must be there, so that a moved folder does not
/// pass for a passed test.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let files: Vec<_> = fs::read_dir(&folder)
        .expect("the corpus is committed")
        .map(|entry| {
            let entry = entry.expect("it can be listed");
            let name = entry.file_name().into_string().expect("names are ASCII");
            (name, fs::read(entry.path()).expect("it can be read"))
        })
        .collect();
    assert!(!files.is_empty(), "no corpus in {}", folder.display());
    files
}

fn replay(target: &str, run: impl Fn(&[u8])) {
    corpus(target).iter().for_each(|(_, data)| run(data));
}

/// The files that were committed first are named for their version and for what becomes of them:
/// `v5_publish_1` is a PUBLISH, `v5_refused_topic_alias_is_0` is refused with these words.
#[test]
fn corpus_is_decoded_as_its_names_say() {
    let mut refused = 0;
    for (name, data) in corpus("decode_v311").into_iter().chain(corpus("decode_v5")) {
        let (version, rest) = match name.split_once('_') {
            Some(("v31", rest)) => (ProtocolVersion::V31, rest),
            Some(("v311", rest)) => (ProtocolVersion::V311, rest),
            Some(("v5", rest)) => (ProtocolVersion::V5, rest),
            _ => continue,
        };
        match decode(&data, version, 1 << 20) {
            Ok(Some((packet, _))) => {
                assert!(rest.starts_with(&words(packet.packet_type().name())), "{name}");
            }
            Ok(None) => panic!("{name} is incomplete"),
            Err(error) => {
                assert_eq!(rest, std::format!("refused_{}", words(error.what)));
                refused += 1;
            }
        }
    }
    assert!(refused > 200, "only {refused} refusals in the corpus");
}

fn words(text: &str) -> String {
    let text = text.to_lowercase();
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("_")
}

#[test]
fn corpus_of_decode_v311() {
    replay("decode_v311", decode_v311);
}

#[test]
fn corpus_of_decode_v5() {
    replay("decode_v5", decode_v5);
}

#[test]
fn corpus_of_roundtrip() {
    replay("roundtrip", roundtrip);
}

#[test]
fn corpus_of_topic() {
    replay("topic", topic);
}

#[test]
fn corpus_of_packet_stream() {
    replay("packet_stream", packet_stream);
}

#[test]
fn corpus_of_client() {
    replay("client", client);
}

/// Bytes that `with_packet` makes a packet of: the first says which.
fn packet_seed(kind: u8) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 1..300).prop_map(move |mut seed| {
        seed[0] = kind - 1;
        seed
    })
}

fn any_seed() -> impl Strategy<Value = Vec<u8>> {
    (1..=15_u8).prop_flat_map(packet_seed)
}

fn encoded(seed: &[u8], version: ProtocolVersion) -> Vec<u8> {
    let mut out = Bytes::default();
    with_packet(seed, version, |packet| {
        packet.encode(version, &mut out).expect("a legal packet can be encoded");
    });
    out.0
}

/// One property test for each type of packet, in all versions.
macro_rules! round_trips {
    ($($name:ident $kind:literal)*) => {
        proptest! {
            $(
                #[test]
                fn $name(seed in packet_seed($kind)) {
                    for version in VERSIONS {
                        with_packet(&seed, version, |packet| {
                            assert_eq!(packet.packet_type() as u8, $kind);
                            check_round_trip(packet, version);
                        });
                    }
                }
            )*
        }
    };
}

round_trips! {
    round_trip_of_connect 1
    round_trip_of_connack 2
    round_trip_of_publish 3
    round_trip_of_puback 4
    round_trip_of_pubrec 5
    round_trip_of_pubrel 6
    round_trip_of_pubcomp 7
    round_trip_of_subscribe 8
    round_trip_of_suback 9
    round_trip_of_unsubscribe 10
    round_trip_of_unsuback 11
    round_trip_of_pingreq 12
    round_trip_of_pingresp 13
    round_trip_of_disconnect 14
    round_trip_of_auth 15
}

proptest! {
    /// The property part can be taken over as it came: it encodes to the same packet.
    #[test]
    fn properties_are_forwarded_verbatim(seed in packet_seed(3)) {
        let bytes = encoded(&seed, ProtocolVersion::V5);
        let decoded = decode(&bytes, ProtocolVersion::V5, MAX_SIZE);
        let Ok(Some((Packet::Publish(publish), _))) = decoded else { panic!("{decoded:?}") };
        let list: Vec<_> = publish.properties.iter().collect();
        let as_list = crate::Publish { properties: crate::Properties::list(&list), ..publish.clone() };
        let mut out = Bytes::default();
        as_list.encode(ProtocolVersion::V5, &mut out).expect("it fits");
        prop_assert_eq!(&out.0, &bytes);
        let encoded = crate::Properties::encoded(publish.properties.as_encoded());
        prop_assert_eq!(encoded, publish.properties);
    }

    /// Every beginning of a packet is incomplete; none panics, none is a packet.
    #[test]
    fn beginnings_are_incomplete(seed in any_seed()) {
        for version in VERSIONS {
            let bytes = encoded(&seed, version);
            for len in 0..bytes.len() {
                prop_assert_eq!(decode(&bytes[..len], version, MAX_SIZE), Ok(None));
            }
        }
    }

    /// A packet whose body is cut short, with the length to match, is refused or another packet.
    #[test]
    fn short_bodies_do_not_panic(seed in any_seed(), cut in 0..300_usize) {
        for version in VERSIONS {
            let bytes = encoded(&seed, version);
            let Ok(Some((_, used))) = decode(&bytes, version, MAX_SIZE) else { continue };
            let header = if bytes[1] < 0x80 { 2 } else { 3 };
            let len = cut % (used - header + 1);
            let mut short = std::vec![bytes[0]];
            let (prefix, prefix_len) = crate::wire::var_int_bytes(len as u32);
            short.extend_from_slice(&prefix[..prefix_len]);
            short.extend_from_slice(&bytes[header..header + len]);
            decode_all(&short, version);
        }
    }

    #[test]
    fn random_bytes_do_not_panic(data in vec(any::<u8>(), 0..200)) {
        VERSIONS.into_iter().for_each(|version| decode_all(&data, version));
        packet_stream(&data);
    }

    /// Bytes behind a first byte that exists and a length that is right reach further.
    #[test]
    fn random_bodies_do_not_panic(kind in 1..=15_u8, flags in 0..16_u8, body in vec(any::<u8>(), 0..127)) {
        let mut data = std::vec![kind << 4 | flags, body.len() as u8];
        data.extend_from_slice(&body);
        VERSIONS.into_iter().for_each(|version| decode_all(&data, version));
    }

    #[test]
    fn mutated_packets_do_not_panic(
        seed in any_seed(),
        changes in vec((any::<usize>(), any::<u8>()), 1..6),
    ) {
        for version in VERSIONS {
            let mut data = encoded(&seed, version);
            if data.is_empty() {
                continue;
            }
            for (at, byte) in &changes {
                let at = at % data.len();
                data[at] = *byte;
            }
            decode_all(&data, version);
        }
    }

    /// What comes in pieces decodes to the same as what comes at once.
    #[test]
    fn streams_in_pieces(
        seeds in vec(any_seed(), 1..5),
        version in 0..3_u8,
        piece in 1..40_u8,
        change in proptest::option::of((any::<usize>(), any::<u8>())),
    ) {
        let mut data = std::vec![version, piece];
        for seed in &seeds {
            data.extend(encoded(seed, VERSIONS[usize::from(version)]));
        }
        if let Some((at, byte)) = change {
            let at = 2 + at % (data.len() - 1);
            if let Some(place) = data.get_mut(at) {
                *place = byte;
            }
        }
        packet_stream(&data);
    }

    #[test]
    fn scripts_for_the_client(version in 0..3_u8, script in vec(any::<u8>(), 0..400)) {
        client(&[&[version, 0, 0, 11, 0, 2, 0], &script[..]].concat());
    }

    /// Few different characters, so that wildcards, separators and `$share` come together often.
    #[test]
    fn topics(name in "[ab/$+#\0é]{0,8}", filter in "(\\$share/)?[ab/$+#\0é]{0,8}") {
        topic(std::format!("{name}\n{filter}").as_bytes());
    }

    #[test]
    fn topics_of_any_text(name: String, filter: String) {
        topic(std::format!("{name}\n{filter}").as_bytes());
    }
}
