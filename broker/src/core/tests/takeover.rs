//! A second connection with the same client identifier [MQTT-3.1.4-3].

use outpost_protocol::{Connect, Packet, ReasonCode};

use super::bed::{Bed, Got, QOS_1, v5, v311};
use crate::core::Handled;

#[test]
fn the_old_connection_is_told_and_closed() {
    let mut bed = Bed::new();
    let old = bed.durable("a");
    let new = bed.durable("a");
    assert_eq!(bed.send(old, &Packet::PingReq), Handled::Closed);
    assert_eq!(bed.got(old), [Got::Disconnect(ReasonCode::SessionTakenOver), Got::Closed]);
    bed.send(new, &Packet::PingReq);
    assert_eq!(bed.got(new), [Got::PingResp], "the end of the old connection is not its end");

    let old = bed.accepted(&v311("b"));
    bed.accepted(&v311("b"));
    assert_eq!(bed.got(old), [Got::Closed], "3.1.1 has no words for it");
}

#[test]
fn what_was_in_flight_goes_to_the_new_connection() {
    let mut bed = Bed::new();
    let old = bed.durable("a");
    bed.subscribe(old, "t", QOS_1);
    let publisher = bed.fleeting("p");
    bed.publish(publisher, "t", QOS_1, 1, "x");
    // The old connection has not taken it yet.
    let new = bed.back("a");
    assert_eq!(bed.payloads(new), ["x"]);
    bed.publish(publisher, "t", QOS_1, 2, "y");
    assert_eq!(bed.payloads(new), ["y"]);
}

#[test]
fn acknowledgements_that_wait_for_a_commit_die_with_their_connection() {
    let mut bed = Bed::new();
    let subscriber = bed.durable("s");
    bed.subscribe(subscriber, "t", QOS_1);
    let old = bed.durable("a");
    bed.publish(old, "t", QOS_1, 1, "x");
    let new = bed.durable("a");
    bed.publish(new, "t", QOS_1, 1, "x");
    bed.commit();
    assert_eq!(bed.got(new), [Got::PubAck(1, ReasonCode::Success)], "one, for its own PUBLISH");
    assert_eq!(bed.payloads(subscriber), ["x", "x"]);
}

#[test]
fn a_client_may_take_itself_over_again_and_again() {
    let mut bed = Bed::new();
    for _ in 0..50 {
        bed.connect(&Connect { clean_start: true, ..v5("a") });
    }
    assert_eq!(bed.broker.sessions.len(), 1);
    bed.commit();
    assert!(bed.store.sessions.is_empty());
}

#[test]
fn reserved_identifiers_are_for_parts_of_the_program() {
    let mut bed = Bed::new();
    let peer = crate::core::Peer { address: "bridge".into(), user_name: None, is_internal: true };
    let inside = bed.connect_as(peer, &v5("$outpost/bridge"));
    assert!(matches!(bed.got(inside)[0], Got::ConnAck { reason: ReasonCode::Success, .. }));
    let outside = bed.connect(&v5("$outpost/bridge"));
    let refused = ReasonCode::ClientIdentifierNotValid;
    assert!(matches!(&bed.got(outside)[0], Got::ConnAck { reason, .. } if *reason == refused));
    bed.send(inside, &Packet::PingReq);
    assert_eq!(bed.got(inside), [Got::PingResp]);
}
