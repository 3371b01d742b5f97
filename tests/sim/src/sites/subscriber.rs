//! A subscriber at each site that is to get everything.

use std::collections::BTreeSet;

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
    /// Its site has been down: what it took before may come again, as its site had not stored that, or
    /// had told nobody that it had the message.
    pub is_stale: bool,
    /// Messages that may come again for that.
    may_repeat: BTreeSet<usize>,
}

impl Subscriber {
    pub(super) fn new(site: usize) -> Self {
        let (received, may_repeat) = (BTreeSet::new(), BTreeSet::new());
        Self { site, conn: None, is_subscribed: false, received, is_stale: false, may_repeat }
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
                if std::mem::take(&mut subscriber.is_stale) {
                    subscriber.may_repeat = self.oracle.taken_by(who).collect();
                }
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
        let subscriber = &mut self.subscribers[who];
        match publish.qos {
            QoS::AtMostOnce => self.oracle.taken(who, message, publish),
            QoS::AtLeastOnce => {
                // Sent again by its own site, which did not hear or store the acknowledgement.
                let is_again = publish.dup || subscriber.may_repeat.contains(&message);
                if !(is_again && self.oracle.has_taken(who, message)) {
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
