//! Wills: when they are published, when they are void, and over a restart.

use outpost_protocol::{Connect, Properties, Property, ProtocolVersion, ReasonCode, Will};

use super::bed::{Bed, EXPIRY_S, QOS_1, QOS_2, v5, v311};
use crate::core::ConnId;

const EXPIRES: Property<'_> = Property::SessionExpiryInterval(EXPIRY_S);

fn will<'a>(properties: &'a [Property<'a>]) -> Option<Will<'a>> {
    Some(Will {
        qos: QOS_1,
        retain: false,
        properties: Properties::list(properties),
        topic: "will",
        payload: b"gone",
    })
}

/// A durable witness of wills.
fn witness(bed: &mut Bed) -> ConnId {
    let id = bed.durable("witness");
    bed.subscribe(id, "will", QOS_2);
    id
}

#[test]
fn a_lost_connection_publishes_the_will_and_disconnect_does_not() {
    for version in [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5] {
        let mut bed = Bed::new();
        let witness = witness(&mut bed);
        let connect = Connect { version, will: will(&[]), ..v5("a") };
        let a = bed.accepted(&connect);
        bed.disconnect(a, ReasonCode::Success);
        assert!(bed.payloads(witness).is_empty());
        let a = bed.accepted(&connect);
        bed.lose(a);
        assert_eq!(bed.payloads(witness), ["gone"]);
    }
}

#[test]
fn disconnect_with_will_publishes_it() {
    let mut bed = Bed::new();
    let witness = witness(&mut bed);
    let a = bed.accepted(&Connect { will: will(&[]), ..v5("a") });
    bed.disconnect(a, ReasonCode::DisconnectWithWillMessage);
    assert_eq!(bed.payloads(witness), ["gone"]);
}

#[test]
fn silence_publishes_the_will() {
    let mut bed = Bed::new();
    let witness = witness(&mut bed);
    let a = bed.accepted(&Connect { keep_alive_s: 10, will: will(&[]), ..v5("a") });
    bed.pass_s(14);
    bed.send(a, &outpost_protocol::Packet::PingReq);
    bed.pass_s(14);
    assert!(bed.payloads(witness).is_empty());
    bed.pass_s(1);
    assert_eq!(bed.payloads(witness), ["gone"], "[MQTT-3.1.2-22]");
}

#[test]
fn a_delayed_will_is_void_when_the_client_is_back_in_time() {
    let mut bed = Bed::new();
    let witness = witness(&mut bed);
    let list = [EXPIRES];
    let delay = [Property::WillDelayInterval(10)];
    let connect = Connect { properties: Properties::list(&list), will: will(&delay), ..v5("a") };
    let a = bed.accepted(&connect);
    bed.lose(a);
    bed.pass_s(9);
    let a = bed.accepted(&Connect { will: None, ..connect.clone() });
    bed.pass_s(20);
    assert!(bed.payloads(witness).is_empty(), "[MQTT-3.1.3-9]");
    bed.disconnect(a, ReasonCode::Success);

    let a = bed.accepted(&connect);
    bed.lose(a);
    bed.pass_s(10);
    assert_eq!(bed.payloads(witness), ["gone"]);
    bed.pass_s(EXPIRY_S);
    assert!(bed.payloads(witness).is_empty(), "once");
}

#[test]
fn a_delayed_will_is_published_when_its_session_ends() {
    let mut bed = Bed::new();
    let witness = witness(&mut bed);
    let list = [Property::SessionExpiryInterval(5)];
    let delay = [Property::WillDelayInterval(100)];
    let connect = Connect { properties: Properties::list(&list), will: will(&delay), ..v5("a") };
    let a = bed.accepted(&connect);
    bed.lose(a);
    bed.pass_s(5);
    assert_eq!(bed.payloads(witness), ["gone"], "the session expired");
    let a = bed.accepted(&connect);
    bed.lose(a);
    bed.accepted(&Connect { clean_start: true, will: None, ..connect });
    assert_eq!(bed.payloads(witness), ["gone"], "the session was ended by a clean start");
}

#[test]
fn a_taken_over_connection_publishes_its_will_unless_it_is_delayed() {
    let mut bed = Bed::new();
    let witness = witness(&mut bed);
    let list = [EXPIRES];
    let durable = Connect { properties: Properties::list(&list), will: will(&[]), ..v5("a") };
    bed.accepted(&durable);
    bed.accepted(&Connect { will: None, ..durable.clone() });
    assert_eq!(bed.payloads(witness), ["gone"]);
    let delay = [Property::WillDelayInterval(100)];
    bed.accepted(&Connect { will: will(&delay), ..durable.clone() });
    bed.accepted(&Connect { will: None, ..durable.clone() });
    assert!(bed.payloads(witness).is_empty());
}

#[test]
fn a_will_is_published_after_a_crash_whether_its_session_lasts_or_not() {
    for connect in [
        Connect { will: will(&[]), ..v311("a") },
        Connect { clean_start: true, will: will(&[]), ..v311("a") },
    ] {
        let mut bed = Bed::new();
        witness(&mut bed);
        bed.accepted(&connect);
        bed.commit();
        bed.crash();
        bed.pass_ms(0);
        let witness = bed.durable_with_messages("witness", &["gone"]);
        bed.commit();
        bed.crash();
        bed.pass_ms(0);
        let list = [EXPIRES];
        let again = bed.connect(&Connect { properties: Properties::list(&list), ..v5("witness") });
        assert_eq!(bed.payloads(again), ["gone"], "unacknowledged, and published once only");
        bed.lose(witness);
    }
}

#[test]
fn a_delay_runs_on_over_a_crash() {
    let mut bed = Bed::new();
    witness(&mut bed);
    let list = [EXPIRES];
    let delay = [Property::WillDelayInterval(10), Property::MessageExpiryInterval(60)];
    let connect = Connect { properties: Properties::list(&list), will: will(&delay), ..v5("a") };
    let a = bed.accepted(&connect);
    bed.lose(a);
    bed.commit();
    bed.pass_s(5);
    bed.crash();
    let witness = bed.durable("witness");
    bed.pass_s(4);
    assert!(bed.payloads(witness).is_empty());
    bed.pass_s(1);
    let got = bed.messages(witness);
    assert_eq!(got[0].payload, "gone");
    assert_eq!(got[0].properties().message_expiry_interval_s(), Some(60), "from its publication");
}

#[test]
fn wills_are_kept_over_an_orderly_stop() {
    let mut bed = Bed::new();
    let id = witness(&mut bed);
    bed.accepted(&Connect { will: will(&[]), ..v311("a") });
    bed.commit();
    bed.broker.handle_shutdown(bed.now);
    bed.lose(id);
    bed.commit();
    bed.crash();
    bed.pass_ms(0);
    bed.durable_with_messages("witness", &["gone"]);
}
