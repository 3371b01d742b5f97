//! What is acknowledged by all who need it is never written.

use outpost_protocol::{Packet, Properties, Property, PubAck, QoS, ReasonCode};

use super::bed::{Bed, Got, QOS_1, QOS_2, packet_id, v5};
use crate::core::ConnId;
use crate::core::tests::bed::EXPIRY_S;

/// A bed with subscribers to `t` of these names, all there, and a publisher.
fn bed(subscribers: &[&str], qos: QoS) -> (Bed, Vec<ConnId>, ConnId) {
    let mut bed = Bed::new();
    let subscribers = subscribers.iter().map(|name| {
        let id = bed.durable(name);
        bed.subscribe(id, "t", qos);
        id
    });
    let subscribers = subscribers.collect();
    let publisher = bed.fleeting("publisher");
    bed.commit();
    bed.pass_ms(100);
    (bed, subscribers, publisher)
}

/// Takes all messages that a client got, acknowledges them, and tells how many there were.
fn take(bed: &mut Bed, id: ConnId) -> usize {
    let messages = bed.messages(id);
    messages.iter().for_each(|message| bed.puback(id, message.packet_id));
    messages.len()
}

const ACKNOWLEDGED: Got = Got::PubAck(1, ReasonCode::Success);

#[test]
fn a_healthy_subscriber_costs_the_store_nothing() {
    let (mut bed, subscribers, publisher) = bed(&["subscriber"], QOS_1);
    for _ in 0..1_000 {
        bed.publish(publisher, "t", QOS_1, 1, "x");
        assert!(bed.got(publisher).is_empty(), "the subscriber has not acknowledged it");
        assert_eq!(take(&mut bed, subscribers[0]), 1);
        assert_eq!(bed.got(publisher), [ACKNOWLEDGED]);
        bed.pass_ms(100);
        assert_eq!(bed.broker.batch_due(), None, "there is nothing to write");
    }
    assert_eq!(bed.broker.counters().elided, 1_000);
    assert_eq!(bed.broker.counters().released_early, 1_000);
}

#[test]
fn the_acknowledgement_waits_for_the_last_receiver() {
    let (mut bed, subscribers, publisher) = bed(&["a", "b"], QOS_1);
    bed.publish(publisher, "t", QOS_1, 1, "x");
    take(&mut bed, subscribers[0]);
    assert!(bed.got(publisher).is_empty());
    take(&mut bed, subscribers[1]);
    assert_eq!(bed.got(publisher), [ACKNOWLEDGED]);
    bed.commit();
    assert_eq!(bed.store.messages.len(), 0);
}

#[test]
fn a_message_under_commit_is_acknowledged_when_its_receivers_have_it() {
    let (mut bed, subscribers, publisher) = bed(&["subscriber"], QOS_1);
    bed.publish(publisher, "t", QOS_1, 1, "x");
    assert!(bed.begin_commit());
    assert!(bed.got(publisher).is_empty());
    take(&mut bed, subscribers[0]);
    assert_eq!(bed.got(publisher), [ACKNOWLEDGED]);
    bed.end_commit();
    assert!(bed.got(publisher).is_empty(), "once is enough");
    bed.commit();
    assert!(bed.store.messages.is_empty());
}

#[test]
fn acknowledgements_that_are_free_leave_in_order() {
    let (mut bed, subscribers, publisher) = bed(&["subscriber"], QOS_1);
    for value in 1..=3 {
        bed.publish(publisher, "t", QOS_1, value, "x");
    }
    let messages = bed.messages(subscribers[0]);
    bed.puback(subscribers[0], messages[1].packet_id);
    assert!(bed.got(publisher).is_empty(), "the first one is not free");
    bed.puback(subscribers[0], messages[0].packet_id);
    let acknowledged = |value| Got::PubAck(value, ReasonCode::Success);
    assert_eq!(bed.got(publisher), [acknowledged(1), acknowledged(2)]);
    bed.commit();
    assert_eq!(bed.got(publisher), [acknowledged(3)]);
}

#[test]
fn what_needs_no_commit_leaves_behind_what_is_free_early() {
    let (mut bed, subscribers, publisher) = bed(&["subscriber"], QOS_1);
    bed.publish(publisher, "t", QOS_1, 1, "x");
    bed.publish(publisher, "nobody", QOS_1, 2, "x");
    assert!(bed.got(publisher).is_empty());
    take(&mut bed, subscribers[0]);
    let none = Got::PubAck(2, ReasonCode::NoMatchingSubscribers);
    assert_eq!(bed.got(publisher), [ACKNOWLEDGED, none]);
}

#[test]
fn a_publisher_behind_its_receive_maximum_goes_on_when_receivers_have_its_messages() {
    let limits = crate::core::limits::Limits { receive_maximum: 2, ..Default::default() };
    let mut bed = Bed::with_limits(limits);
    let subscriber = bed.durable("subscriber");
    bed.subscribe(subscriber, "t", QOS_1);
    let publisher = bed.fleeting("publisher");
    for value in 1..=5 {
        bed.publish(publisher, "t", QOS_1, value, "x");
    }
    let mut acknowledged = 0;
    while take(&mut bed, subscriber) > 0 {
        acknowledged += bed.got(publisher).len();
    }
    assert_eq!(acknowledged, 5);
    assert_eq!(bed.broker.counters().elided, 5);
}

#[test]
fn a_receiver_of_qos_2_needs_the_commit() {
    let (mut bed, subscribers, publisher) = bed(&["subscriber"], QOS_2);
    bed.publish(publisher, "t", QOS_2, 1, "x");
    assert!(bed.messages(subscribers[0]).is_empty(), "its identifier is not durable");
    assert!(bed.got(publisher).is_empty());
    assert_eq!(bed.broker.batch_due(), Some(bed.now), "and nothing is to be waited for");
    bed.commit();
    assert_eq!(bed.got(publisher), [Got::PubRec(1, ReasonCode::Success)]);
}

#[test]
fn a_qos_2_publisher_whose_session_ends_with_it_is_answered_early() {
    let (mut bed, subscribers, publisher) = bed(&["subscriber"], QOS_1);
    bed.publish(publisher, "t", QOS_2, 1, "x");
    take(&mut bed, subscribers[0]);
    assert_eq!(bed.got(publisher), [Got::PubRec(1, ReasonCode::Success)]);
    let lasting = bed.durable("lasting");
    bed.publish(lasting, "t", QOS_2, 1, "x");
    take(&mut bed, subscribers[0]);
    assert!(bed.got(lasting).is_empty(), "its identifier has to be remembered");
    bed.commit();
    assert_eq!(bed.got(lasting), [Got::PubRec(1, ReasonCode::Success)]);
}

#[test]
fn a_retained_message_waits_for_the_commit() {
    let (mut bed, subscribers, publisher) = bed(&["subscriber"], QOS_1);
    let base = super::bed::publish("t", QOS_1, 1, "x");
    bed.send(publisher, &Packet::Publish(outpost_protocol::Publish { retain: true, ..base }));
    take(&mut bed, subscribers[0]);
    assert!(bed.got(publisher).is_empty());
    bed.commit();
    assert_eq!(bed.got(publisher), [ACKNOWLEDGED]);
}

#[test]
fn a_message_that_goes_to_another_member_is_stored_before_it_is_acknowledged() {
    let mut bed = Bed::new();
    let members = ["a", "b"].map(|name| {
        let id = bed.durable(name);
        bed.subscribe(id, "$share/g/t", QOS_1);
        id
    });
    let publisher = bed.fleeting("publisher");
    bed.commit();
    bed.publish(publisher, "t", QOS_1, 1, "x");
    let first = members.into_iter().find(|id| bed.messages(*id).len() == 1).unwrap();
    bed.lose(first);
    assert!(bed.got(publisher).is_empty(), "the other member has it, and has not acknowledged it");
    bed.commit();
    assert_eq!(bed.got(publisher), [ACKNOWLEDGED]);
    assert_eq!(bed.store.messages.len(), 1);
}

#[test]
fn a_message_whose_only_session_was_ended_by_its_client_is_done() {
    let (mut bed, subscribers, publisher) = bed(&["subscriber"], QOS_1);
    bed.publish(publisher, "t", QOS_1, 1, "x");
    bed.lose(subscribers[0]);
    assert!(bed.got(publisher).is_empty());
    bed.connect(&outpost_protocol::Connect { clean_start: true, ..v5("subscriber") });
    assert_eq!(bed.got(publisher), [ACKNOWLEDGED]);
}

#[test]
fn a_stored_message_comes_again_with_its_identifier_after_a_restart() {
    let (mut bed, subscribers, publisher) = bed(&["subscriber"], QOS_1);
    let unanswered = bed.durable("unanswered");
    for value in 1..=2 {
        bed.publish(publisher, "t", QOS_1, value, "x");
    }
    let messages = bed.messages(subscribers[0]);
    bed.puback(subscribers[0], messages[0].packet_id);
    // Urgent for another reason: what is in flight rides along.
    bed.subscribe(unanswered, "elsewhere", QOS_1);
    bed.crash();
    let id = bed.back("subscriber");
    let again = bed.messages(id);
    assert_eq!(again.len(), 1);
    assert!(again[0].dup);
    assert_eq!(again[0].packet_id, messages[1].packet_id);
}

#[test]
fn what_one_receiver_has_done_is_written_while_another_is_away() {
    let (mut bed, subscribers, publisher) = bed(&["here", "away"], QOS_1);
    bed.lose(subscribers[1]);
    bed.publish(publisher, "t", QOS_1, 1, "x");
    bed.commit();
    take(&mut bed, subscribers[0]);
    assert_eq!(bed.broker.batch_due(), Some(bed.now.plus_ms(1_000)), "in its time");
    while bed.begin_commit() {
        bed.end_commit();
    }
    bed.crash();
    let id = bed.back("here");
    assert!(bed.messages(id).is_empty(), "it has it");
    let id = bed.back("away");
    assert_eq!(bed.payloads(id), ["x"]);
}

#[test]
fn the_row_of_a_message_is_all_that_is_written_when_its_last_receiver_has_it() {
    let (mut bed, subscribers, publisher) = bed(&["subscriber"], QOS_1);
    bed.publish(publisher, "t", QOS_1, 1, "x");
    bed.commit();
    take(&mut bed, subscribers[0]);
    let batch = bed.broker.poll_batch(bed.now).unwrap();
    assert_eq!((batch.messages.len(), batch.removed.len(), batch.sessions.len()), (0, 1, 0));
}

#[test]
fn a_refusal_by_a_receiver_counts_as_an_acknowledgement() {
    let (mut bed, subscribers, publisher) = bed(&["subscriber"], QOS_1);
    bed.publish(publisher, "t", QOS_1, 1, "x");
    let message = bed.messages(subscribers[0]).remove(0);
    let (packet_id, reason) =
        (packet_id(message.packet_id), ReasonCode::ImplementationSpecificError);
    let puback = PubAck { packet_id, reason, properties: Properties::EMPTY };
    bed.send(subscribers[0], &Packet::PubAck(puback));
    assert_eq!(bed.got(publisher), [ACKNOWLEDGED]);
}

/// The session of a publisher that is both waits for nothing but its own receivers.
#[test]
fn a_publish_sent_again_is_not_overtaken_while_acknowledgements_are_parked() {
    let mut bed = Bed::new();
    let id = bed.durable("both");
    bed.subscribe(id, "t", QOS_2);
    let other = bed.durable("other");
    bed.subscribe(other, "u", QOS_1);
    let publisher = bed.fleeting("publisher");
    bed.publish(publisher, "t", QOS_2, 1, "first");
    bed.lose(id);
    let list = [Property::SessionExpiryInterval(EXPIRY_S)];
    let id = bed
        .accepted(&outpost_protocol::Connect { properties: Properties::list(&list), ..v5("both") });
    bed.publish(id, "u", QOS_1, 1, "own");
    bed.publish(publisher, "t", QOS_1, 2, "second");
    assert!(bed.got(id).is_empty(), "the first one waits, and holds up the second");
    assert_eq!(take(&mut bed, other), 1);
    assert!(bed.got(id).is_empty());
    bed.commit();
    let got: Vec<String> = bed.payloads(id);
    assert_eq!(got, ["first", "second"]);
}
