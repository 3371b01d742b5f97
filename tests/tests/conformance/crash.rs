//! kill -9 at any moment: whatever was acknowledged reaches its subscriber, QoS 2 exactly once, both
//! in order. Publisher and subscriber are sessions of their own that keep what MQTT asks of a client.

use std::collections::{BTreeSet, VecDeque};

use outpost_tests::Ack;

use crate::prelude::*;

/// Where a message of the publisher stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Sent,
    /// PUBREC has come.
    Received,
}

/// A publisher with its session state.
#[derive(Default)]
struct Sender {
    next: u32,
    last_packet_id: u16,
    flights: VecDeque<(PacketId, u32, State)>,
    /// Something was acknowledged: then the session was as well.
    is_known: bool,
}

impl Sender {
    /// Even numbers go with QoS 1, odd ones with QoS 2.
    fn send(&mut self, client: &mut RawClient, count: usize) {
        for _ in 0..count {
            self.last_packet_id = self.last_packet_id % 60_000 + 1;
            let packet_id = id(self.last_packet_id);
            publish(client, packet_id, self.next, false);
            self.flights.push_back((packet_id, self.next, State::Sent));
            self.next += 1;
        }
    }

    /// What a client does when its session goes on [MQTT-4.4.0-1].
    fn resume(&self, client: &mut RawClient) {
        for &(packet_id, number, state) in &self.flights {
            match state {
                State::Sent => publish(client, packet_id, number, true),
                State::Received => client.pubrel(packet_id),
            }
        }
    }

    /// Takes the next acknowledgement.
    fn step(&mut self, client: &mut RawClient) {
        self.is_known = true;
        match client.next_packet().expect("the broker is there") {
            Received::PubAck(ack) | Received::PubComp(ack) => self.done(&ack),
            Received::PubRec(ack) => {
                assert!(!ack.reason.is_error(), "{ack:?}");
                let mut flights = self.flights.iter_mut();
                let flight = flights.find(|flight| flight.0 == ack.packet_id);
                flight.expect("a message in flight").2 = State::Received;
                client.pubrel(ack.packet_id);
            }
            other => panic!("{other:?}"),
        }
    }

    fn done(&mut self, ack: &Ack) {
        assert!(!ack.reason.is_error() || ack.reason == ReasonCode::PacketIdentifierNotFound);
        self.flights.retain(|flight| flight.0 != ack.packet_id);
    }
}

fn publish(client: &mut RawClient, packet_id: PacketId, number: u32, dup: bool) {
    let payload = number.to_be_bytes();
    let (topic, qos) =
        if number.is_multiple_of(2) { ("t/1", AtLeastOnce) } else { ("t/2", ExactlyOnce) };
    let publish = Message { qos, dup, packet_id: Some(packet_id), ..message(topic, &payload) };
    client.send(&Packet::Publish(publish));
}

/// A subscriber with its session state.
#[derive(Default)]
struct Receiver {
    unreleased: BTreeSet<PacketId>,
    qos1: Vec<u32>,
    qos2: Vec<u32>,
}

impl Receiver {
    /// Takes the next packet and answers it.
    fn step(&mut self, client: &mut RawClient) {
        match client.next_packet().expect("the broker is there") {
            Received::Publish(publish) => {
                let number = publish.payload[..].try_into().map(u32::from_be_bytes);
                let number = number.expect("a number");
                if publish.qos == AtLeastOnce {
                    self.qos1.push(number);
                    client.puback(publish.id());
                } else {
                    if self.unreleased.insert(publish.id()) {
                        self.qos2.push(number);
                    }
                    client.pubrec(publish.id());
                }
            }
            Received::PubRel(release) => {
                self.unreleased.remove(&release.packet_id);
                client.pubcomp(release.packet_id);
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The same numbers in every run (Knuth's MMIX generator, the upper bits).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        let (factor, term) = (6_364_136_223_846_793_005, 1_442_695_040_888_963_407);
        self.0 = self.0.wrapping_mul(factor).wrapping_add(term);
        (self.0 >> 33) % limit
    }
}

fn connect(broker: &Broker, name: &str) -> RawClient {
    let properties = list(&[Property::SessionExpiryInterval(3600), Property::ReceiveMaximum(10)]);
    broker.connect(&Connect { clean_start: false, properties, ..v5(name) })
}

/// One round between two kills: bursts of messages, some acknowledgements, some deliveries.
fn round(broker: &Broker, sender: &mut Sender, receiver: &mut Receiver, dice: &mut Dice) {
    let mut publishing = connect(broker, "sender");
    assert!(publishing.connack().session_present || !sender.is_known);
    sender.resume(&mut publishing);
    let mut receiving = connect(broker, "receiver");
    assert!(receiving.connack().session_present);
    for _ in 0..dice.below(6) {
        sender.send(&mut publishing, 1 + dice.below(20) as usize);
        for _ in 0..dice.below(sender.flights.len() as u64) {
            sender.step(&mut publishing);
        }
        for _ in 0..dice.below(30) {
            if receiving.has_input() {
                receiver.step(&mut receiving);
            }
        }
    }
}

/// Without the repetitions that QoS 1 allows.
fn first_of_each(numbers: &[u32]) -> Vec<u32> {
    let mut seen = BTreeSet::new();
    numbers.iter().copied().filter(|&number| seen.insert(number)).collect()
}

#[test]
fn nothing_acknowledged_is_lost_and_qos2_comes_once() {
    needs_own_broker!();
    let mut broker = Broker::start();
    let mut receiving = connect(&broker, "receiver");
    receiving.subscribe("t/1", AtLeastOnce);
    receiving.subscribe("t/2", ExactlyOnce);
    receiving.disconnect();
    let (mut sender, mut receiver) = (Sender::default(), Receiver::default());
    let mut dice = Dice(2026);
    for _ in 0..12 {
        round(&broker, &mut sender, &mut receiver, &mut dice);
        broker.kill();
        broker.restart();
    }
    let mut publishing = connect(&broker, "sender");
    sender.resume(&mut publishing);
    // At least one of each, whatever the dice said.
    sender.send(&mut publishing, 2);
    while !sender.flights.is_empty() {
        sender.step(&mut publishing);
    }
    let mut receiving = connect(&broker, "receiver");
    let last = |numbers: &[u32]| numbers.iter().max().copied().unwrap_or(0);
    while last(&receiver.qos1).max(last(&receiver.qos2)) + 1 < sender.next
        || !receiver.unreleased.is_empty()
        || last(&receiver.qos1).min(last(&receiver.qos2)) + 2 < sender.next
    {
        receiver.step(&mut receiving);
    }
    receiving.expect_nothing();
    let expected = |odd| (0..sender.next).filter(move |n| n % 2 == odd).collect::<Vec<_>>();
    assert_eq!(receiver.qos2, expected(1));
    assert_eq!(first_of_each(&receiver.qos1), expected(0));
}

/// The same for a shared subscription: each message reaches one of the members or waits for them.
#[test]
fn shared_messages_survive_the_broker() {
    needs_own_broker!();
    let mut broker = Broker::start();
    for name in ["one", "two"] {
        let mut member = broker.connect(&keep(name));
        member.subscribe("$share/g/t", AtLeastOnce);
        member.disconnect();
    }
    let mut sender = publisher(&broker);
    for number in 0..20 {
        sender.publish(&Message { qos: AtLeastOnce, ..message("t", &[number]) });
    }
    broker.kill();
    broker.restart();
    let mut got = BTreeSet::new();
    for name in ["one", "two"] {
        let mut member = broker.connect(&resume(name));
        // While both were away they took turns.
        for _ in 0..10 {
            let publish = member.take();
            assert!(got.insert(publish.payload[0]), "{publish:?} came to both");
            member.puback(publish.id());
        }
        member.disconnect();
    }
    assert_eq!(got, (0..20).collect());
}
