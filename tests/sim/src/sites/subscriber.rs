//! A subscriber at each site that is to get everything.

use std::collections::{BTreeMap, BTreeSet};

use outpost_broker::core::output::AckKind;
use outpost_protocol::{
    Packet, PacketId, Properties, ProtocolVersion, QoS, RetainHandling, Subscribe, SubscribeFilter,
    SubscribeFilters, SubscriptionOptions,
};

use super::World;
use super::connection::{ConnNumber, Owner};
use crate::packet::{Got, GotPublish, encode, encode_ack};

const V5: ProtocolVersion = ProtocolVersion::V5;

/// A subscriber; it is never out of power.
#[derive(Debug)]
pub(super) struct Subscriber {
    site: usize,
    pub conn: Option<ConnNumber>,
    pub is_subscribed: bool,
    /// QoS 2 identifiers received and not released.
    received: BTreeSet<u16>,
    /// By message, the process of its site from which it came first. After a restart it may come again:
    /// the acknowledgement was not stored, or the message was not, and came anew over a bridge.
    taken_from: BTreeMap<usize, u64>,
}

impl Subscriber {
    pub(super) fn new(site: usize) -> Self {
        let (received, taken_from) = (BTreeSet::new(), BTreeMap::new());
        Self { site, conn: None, is_subscribed: false, received, taken_from }
    }
}

impl World {
    pub(super) fn connect_subscriber(&mut self, who: usize) {
        let opened = self.open_client(Owner::Subscriber(who), self.subscribers[who].site);
        self.subscribers[who].conn = opened;
        if opened.is_none() {
            self.plan_in(100, super::Event::Subscribe(who));
        }
    }

    pub(super) fn subscriber_takes(&mut self, who: usize, number: ConnNumber, got: &Got) {
        match got {
            Got::ConnAck { session_present, .. } => {
                let subscriber = &mut self.subscribers[who];
                assert!(*session_present || !subscriber.is_subscribed, "its session is lost");
                if !subscriber.is_subscribed {
                    self.subscribe(number);
                }
            }
            Got::SubAck(..) => self.subscribers[who].is_subscribed = true,
            Got::Publish(publish) => self.take(who, number, publish),
            Got::PubRel(id) => {
                self.subscribers[who].received.remove(id);
                self.send(number, &encode_ack(AckKind::PubComp, *id, V5));
            }
            other => panic!("a subscriber gets no {other:?}"),
        }
    }

    fn subscribe(&mut self, number: ConnNumber) {
        let options = SubscriptionOptions {
            qos: QoS::ExactlyOnce,
            no_local: false,
            retain_as_published: true,
            retain_handling: RetainHandling::SendAtSubscribe,
        };
        let list = ["t/#", "r/#"].map(|filter| SubscribeFilter { filter, options });
        let subscribe = Subscribe {
            packet_id: PacketId::new(1).expect("not 0"),
            properties: Properties::EMPTY,
            filters: SubscribeFilters::List(&list),
        };
        self.send(number, &encode(&Packet::Subscribe(subscribe), V5));
    }

    fn take(&mut self, who: usize, number: ConnNumber, publish: &GotPublish) {
        let message = publish.message.expect("all messages here have a number");
        let process = self.conns[&number].process;
        let subscriber = &mut self.subscribers[who];
        let is_known = subscriber.taken_from.contains_key(&message);
        let is_after_restart = *subscriber.taken_from.entry(message).or_insert(process) < process;
        match publish.qos {
            QoS::AtMostOnce if is_after_restart => {}
            QoS::AtMostOnce => self.oracle.taken(who, message, publish),
            QoS::AtLeastOnce => {
                // Sent again by its own site, which did not hear the acknowledgement.
                let is_again = publish.dup && is_known || is_after_restart;
                if !is_again {
                    self.oracle.taken(who, message, publish);
                }
                self.send(number, &encode_ack(AckKind::PubAck, publish.packet_id, V5));
            }
            QoS::ExactlyOnce => {
                if subscriber.received.insert(publish.packet_id) {
                    self.oracle.taken(who, message, publish);
                }
                self.send(number, &encode_ack(AckKind::PubRec, publish.packet_id, V5));
            }
        }
    }
}
