//! Rows: their exact bytes, and hostile bytes.

use std::sync::Arc;

use outpost_protocol::{QoS, RetainHandling};

use super::Rng;
use super::samples;
use crate::core::change::{
    InflightRecord, OriginRecord, QueuedMessage, Seq, SessionId, SessionRecord, StoredMessage,
    StoredTarget, SubscriptionRecord, Target, WillRecord, topic_hash,
};
use crate::core::message::Message;
use crate::core::time::Instant;
use crate::store::index_rows;
use crate::store::rows::{self, Interner, RowFault};

fn message() -> Arc<Message> {
    let expires_at = Some(Instant(300));
    let properties = [0x01, 0x01];
    Arc::new(Message::new("a/b".into(), QoS::AtLeastOnce, true, expires_at, &properties, b"hey"))
}

#[test]
fn an_origin_row_has_the_documented_bytes() {
    let record = OriginRecord { numbers: vec![(5, 5), (7, 300)] };
    let mut row = Vec::new();
    rows::encode_origin(&record, &mut row).unwrap();
    assert_eq!(row, [1, 2, 5, 0, 2, 0xa5, 0x02]);
    assert_eq!(rows::decode_origin(&row).unwrap(), record);
}

#[test]
fn hostile_rows_of_origins_are_refused() {
    let too_many = OriginRecord { numbers: (0..1025).map(|n| (2 * n, 2 * n)).collect() };
    for numbers in [vec![(2, 1)], vec![(1, 1), (2, 2)], vec![(5, 6), (1, 2)], too_many.numbers] {
        let encoded = rows::encode_origin(&OriginRecord { numbers }, &mut Vec::new());
        assert!(matches!(encoded, Err(RowFault::Value(_))));
    }
    let beyond = [&[1, 1][..], &[0xff; 9], &[1, 1]].concat();
    for row in [&b""[..], b"\x02\x00", b"\x01\x02\x05\x00\x01\x00", b"\x01\x01\x05", &beyond] {
        assert!(rows::decode_origin(row).is_err(), "{row:?}");
    }
}

/// The example of docs/STORE-FORMAT.md, as is each of these.
#[test]
fn a_message_row_has_the_documented_bytes() {
    let target = Target {
        session: SessionId(300),
        qos: QoS::ExactlyOnce,
        retain: true,
        subscription_ids: vec![7],
        share: Some("$share/g/#".into()),
    };
    let mut row = Vec::new();
    let arrived_at = Some(Instant(200));
    let queued = QueuedMessage { message: message(), arrived_at, targets: vec![target] };
    rows::encode_queued(&queued, &mut row).unwrap();
    let mut expected = vec![2, 1, 0xc8, 0x01, 3];
    expected.extend(b"a/b");
    expected.extend([0b101, 1, 0xac, 0x02, 2, 0x01, 0x01, 3]);
    expected.extend(b"hey");
    expected.extend([1, 0xac, 0x02, 0b110, 1, 7, 1, 10]);
    expected.extend(b"$share/g/#");
    assert_eq!(row, expected);
    // Version 1: it had no moment of arrival.
    let row: Vec<u8> = [1].iter().chain(&expected[4..]).copied().collect();
    let read = rows::decode_queued(&row, &mut Interner::default()).unwrap();
    assert_eq!(read, QueuedMessage { arrived_at: None, ..queued });
}

#[test]
fn a_session_row_has_the_documented_bytes() {
    let session = SessionRecord {
        client_id: "c1".into(),
        expiry_interval_s: 60,
        expires_at: None,
        will: Some(WillRecord {
            message: message(),
            message_expiry_interval_s: None,
            delay_interval_s: 5,
            due_at: Some(Instant(9)),
        }),
        cursor: Seq(10),
        done: vec![(Seq(12), Seq(13))],
        inflight: vec![
            InflightRecord { packet_id: 1, seq: Some(Seq(11)) },
            InflightRecord { packet_id: 2, seq: None },
        ],
        received: vec![5, 200],
    };
    let mut row = Vec::new();
    rows::encode_session(&session, &mut row).unwrap();
    let mut expected = vec![1, 2, b'c', b'1', 60, 0, 1, 3];
    expected.extend(b"a/b");
    expected.extend([0b101, 1, 0xac, 0x02, 2, 0x01, 0x01, 3]);
    expected.extend(b"hey");
    expected.extend([0, 5, 1, 9]);
    expected.extend([10, 1, 12, 13, 2, 1, 1, 11, 2, 0, 2, 5, 0xc8, 0x01]);
    assert_eq!(row, expected);
}

#[test]
fn a_subscription_row_has_the_documented_bytes() {
    let record = SubscriptionRecord {
        qos: QoS::ExactlyOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
        subscription_id: Some(3),
        keeps_retained: false,
        owes_retained: false,
    };
    let mut row = Vec::new();
    rows::encode_subscription("a/#", &record, &mut row).unwrap();
    assert_eq!(row, [1, 0b10_1110, 1, 3]);
    let record = SubscriptionRecord { keeps_retained: true, ..record };
    rows::encode_subscription("a/#", &record, &mut row).unwrap();
    assert_eq!(row, [1, 0b110_1110, 1, 3]);
    assert_eq!(rows::decode_subscription(&row).unwrap(), record);
}

#[test]
fn a_retained_row_has_the_documented_bytes() {
    let mut row = Vec::new();
    rows::encode_retained("a/b", &message(), &mut row).unwrap();
    assert_eq!(row, [1, 0b101, 1, 0xac, 0x02, 2, 0x01, 0x01, 3, b'h', b'e', b'y']);
}

#[test]
fn a_part_of_the_index_has_the_documented_bytes() {
    let targets = [
        StoredTarget { session: SessionId(300), is_shared: true },
        StoredTarget { session: SessionId(2), is_shared: false },
    ];
    let entry = StoredMessage {
        bytes: 8,
        arrived_at: Some(Instant(200)),
        expires_at: Some(Instant(300)),
        topic_hash: topic_hash("a/b"),
        targets: &targets,
    };
    let bare = StoredMessage { arrived_at: None, expires_at: None, targets: &[], ..entry };
    let mut entries = Vec::new();
    index_rows::push_entry(&mut entries, 0, &index_rows::encode_entry(&entry));
    index_rows::push_entry(&mut entries, 1, &index_rows::encode_entry(&bare));
    let part = index_rows::encode_part(4, &entries);
    let hash = [0xe1, 0x4a, 0xd8, 0xad, 0x7b, 0x7e, 0x2c, 0x29];
    let mut expected = vec![1, 4];
    expected.extend([0, 8, 1, 0xc8, 0x01, 1, 0xac, 0x02]);
    expected.extend(hash);
    expected.extend([2, 0xd9, 0x04, 4]);
    expected.extend([1, 8, 0, 0]);
    expected.extend(hash);
    expected.push(0);
    assert_eq!(part, expected);
    let read = index_rows::decode_part(10, &part).unwrap();
    assert_eq!(read.end, 14);
    let entries: Vec<_> = read.entries().map(Result::unwrap).collect();
    assert_eq!(entries.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [10, 12]);
    assert_eq!((entries[0].1.as_entry(), entries[1].1.as_entry()), (entry, bare));
}

#[test]
fn a_part_that_must_not_be_is_refused() {
    let hash = [0; 8];
    let part = |width: u8, skipped: &[u8], targets: &[u8]| {
        let mut part = vec![1, width];
        for skipped in skipped {
            part.extend([*skipped, 8, 0, 0]);
            part.extend(hash);
            part.extend(targets);
        }
        part
    };
    let fault = |first: u64, part: &[u8]| {
        let part = match index_rows::decode_part(first, part) {
            Ok(part) => part,
            Err(fault) => return Some(fault),
        };
        part.entries().find_map(Result::err)
    };
    assert_eq!(fault(10, &part(3, &[0, 0, 0], &[0])), None);
    assert_eq!(fault(10, &part(3, &[2], &[0])), None);
    assert_eq!(fault(10, &[]), Some(RowFault::Empty));
    assert_eq!(fault(10, &[7, 1]), Some(RowFault::Version(7)));
    let behind_the_end =
        [part(3, &[3], &[0]), part(3, &[0, 0, 0, 0], &[0]), part(3, &[1, 1], &[0])];
    for part in behind_the_end {
        assert!(matches!(fault(10, &part), Some(RowFault::Value(_))), "{part:?}");
    }
    assert!(matches!(fault(10, &part(0, &[], &[0])), Some(RowFault::Value(_))));
    assert!(matches!(fault(u64::MAX - 2, &part(3, &[0], &[0])), Some(RowFault::Value(_))));
    let session_2_to_the_32 = [1, 0x80, 0x80, 0x80, 0x80, 0x20];
    assert!(matches!(fault(10, &part(3, &[0], &session_2_to_the_32)), Some(RowFault::Value(_))));
    let cut_short = &part(3, &[0], &[0])[..9];
    assert!(matches!(fault(10, cut_short), Some(RowFault::Encoding(_))));
}

#[test]
fn an_empty_an_unknown_and_a_long_row_are_refused() {
    let mut row = Vec::new();
    rows::encode_retained("a/b", &message(), &mut row).unwrap();
    let decode = |row: &[u8]| rows::decode_retained("a/b", row, &mut Interner::default());
    assert_eq!(decode(&[]).unwrap_err(), RowFault::Empty);
    row[0] = 2;
    assert_eq!(decode(&row).unwrap_err(), RowFault::Version(2));
    row[0] = 1;
    row.extend([0, 0]);
    assert_eq!(decode(&row).unwrap_err(), RowFault::Trailing(2));
}

#[test]
fn values_that_must_not_be_are_refused_both_ways() {
    let sound = samples::session(&mut Rng(1), Seq(100));
    let sound = SessionRecord {
        cursor: Seq(10),
        done: vec![(Seq(12), Seq(13)), (Seq(14), Seq(14))],
        inflight: vec![InflightRecord { packet_id: 1, seq: None }],
        received: vec![1, 2],
        ..sound
    };
    let twice = vec![
        InflightRecord { packet_id: 1, seq: None },
        InflightRecord { packet_id: 1, seq: Some(Seq(11)) },
    ];
    let zero = vec![InflightRecord { packet_id: 0, seq: None }];
    let cases = [
        SessionRecord { done: vec![(Seq(13), Seq(12))], ..sound.clone() },
        SessionRecord { done: vec![(Seq(12), Seq(13)), (Seq(13), Seq(14))], ..sound.clone() },
        SessionRecord { done: vec![(Seq(12), Seq(u64::MAX)), (Seq(0), Seq(0))], ..sound.clone() },
        SessionRecord { inflight: twice, ..sound.clone() },
        SessionRecord { inflight: zero, ..sound.clone() },
        SessionRecord { received: vec![0, 1], ..sound.clone() },
        SessionRecord { received: vec![2, 2], ..sound.clone() },
    ];
    rows::encode_session(&sound, &mut Vec::new()).unwrap();
    for session in cases {
        let refused = rows::encode_session(&session, &mut Vec::new());
        assert!(matches!(refused, Err(RowFault::Value(_))), "{session:?}");
    }
    // What encoding refuses cannot be made with it; these bytes are made by hand.
    let mut interner = Interner::default();
    let received_twice = [1, 0, 0, 0, 0, 0, 0, 0, 2, 7, 7];
    let refused = rows::decode_session(&received_twice, &mut interner);
    assert!(matches!(refused, Err(RowFault::Value(_))), "{refused:?}");
    for row in [[1, 0b11, 0, 0, 0], [1, 0b1000, 0, 0, 0]] {
        let refused = rows::decode_retained("a", &row, &mut interner);
        assert!(matches!(refused, Err(RowFault::Value(_))), "{refused:?}");
    }
    for topic in ["", "a/+", "#"] {
        let refused = rows::decode_retained(topic, &[1, 0, 0, 0, 0], &mut interner);
        assert!(matches!(refused, Err(RowFault::Value(_))), "{refused:?}");
    }
    let broken_properties = [1, 0, 0, 1, 0xff, 0];
    let refused = rows::decode_retained("a", &broken_properties, &mut interner);
    assert!(matches!(refused, Err(RowFault::Value(_))), "{refused:?}");
    for options in [0b11, 0b11_0000, 0b1011_0000, 0b1111_0000] {
        let refused = rows::decode_subscription(&[1, options, 0]);
        assert!(matches!(refused, Err(RowFault::Value(_))), "{refused:?}");
    }
    let refused = rows::decode_subscription(&[1, 0, 1, 0]);
    assert!(matches!(refused, Err(RowFault::Value(_))), "{refused:?}");
}

/// Whatever decodes must encode to something that decodes to the same: so no row is taken that
/// could not be written back.
fn decode_as_everything(bytes: &[u8]) -> u32 {
    let mut interner = Interner::default();
    let mut out = Vec::new();
    let mut taken = 0;
    if let Ok(queued) = rows::decode_queued(bytes, &mut interner) {
        rows::encode_queued(&queued, &mut out).unwrap();
        assert_eq!(rows::decode_queued(&out, &mut interner).unwrap(), queued);
        taken += 1;
    }
    if let Ok(session) = rows::decode_session(bytes, &mut interner) {
        rows::encode_session(&session, &mut out).unwrap();
        assert_eq!(rows::decode_session(&out, &mut interner).unwrap(), session);
        taken += 1;
    }
    if let Ok(record) = rows::decode_subscription(bytes) {
        rows::encode_subscription("a", &record, &mut out).unwrap();
        assert_eq!(rows::decode_subscription(&out).unwrap(), record);
        taken += 1;
    }
    if let Ok(message) = rows::decode_retained("a", bytes, &mut interner) {
        rows::encode_retained("a", &message, &mut out).unwrap();
        assert_eq!(rows::decode_retained("a", &out, &mut interner).unwrap(), message);
        taken += 1;
    }
    if let Ok(entry) = rows::decode_entry(bytes, &mut interner) {
        let queued = rows::decode_queued(bytes, &mut interner).unwrap();
        assert_eq!(entry, index_rows::entry_of(&queued));
    } else {
        rows::decode_queued(bytes, &mut interner).unwrap_err();
    }
    if let Ok(part) = index_rows::decode_part(7, bytes) {
        let mut next = 7;
        for (seq, entry) in part.entries().map_while(Result::ok) {
            assert!(seq >= next && seq < part.end);
            next = seq + 1;
            index_rows::encode_entry(&entry.as_entry());
            taken += 1;
        }
    }
    taken
}

#[test]
fn random_bytes_never_panic() {
    let mut rng = Rng(11);
    let mut taken = 0;
    for _ in 0..50_000 {
        let mut bytes: Vec<u8> =
            (0..rng.below(60)).map(|_| (rng.next() >> rng.below(64)) as u8).collect();
        if let Some(version) = bytes.first_mut() {
            *version = 1 + rng.below(2) as u8;
        }
        taken += decode_as_everything(&bytes);
    }
    assert!(taken > 0);
}

#[test]
fn damaged_rows_never_panic() {
    let mut rng = Rng(12);
    let mut row = Vec::new();
    for _ in 0..5_000 {
        if rng.one_in(3) {
            rows::encode_queued(&samples::queued(&mut rng), &mut row).unwrap();
        } else if rng.one_in(2) {
            let mut entries = Vec::new();
            for _ in 0..rng.below(5) {
                let entry = index_rows::encode_queued(&samples::queued(&mut rng));
                index_rows::push_entry(&mut entries, rng.below(3), &entry);
            }
            row = index_rows::encode_part(15, &entries);
        } else {
            rows::encode_session(&samples::session(&mut rng, Seq(1000)), &mut row).unwrap();
        }
        for _ in 0..1 + rng.below(3) {
            let at = rng.below(row.len() as u64) as usize;
            match rng.below(3) {
                0 => row[at] = rng.next() as u8,
                1 => row[at] ^= 1 << rng.below(8),
                _ => row.truncate(at.max(1)),
            }
        }
        decode_as_everything(&row);
    }
}
