//! A subscriber at each site that is to get everything, but for the time that it leaves a group of topics.

use std::collections::{BTreeMap, BTreeSet};

use outpost_broker::core::output::AckKind;
use outpost_protocol::{
    Packet, PacketId, Properties, ProtocolVersion, QoS, RetainHandling, Subscribe, SubscribeFilter,
    SubscribeFilters, SubscriptionOptions, Unsubscribe, UnsubscribeFilters,
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
    /// Its filters were all granted once.
    is_subscribed: bool,
    /// By group: what it wants of it.
    wishes: [Wish; GROUPS.len()],
    /// The request under way, by its packet identifier: the last of them.
    asked: u16,
    /// QoS 2 identifiers received and not released.
    received: BTreeSet<u16>,
    /// By message, the process of its site from which it came first. After a restart it may come again:
    /// the acknowledgement was not stored, or the message was not, and came anew over a bridge.
    taken_from: BTreeMap<usize, u64>,
}

/// Groups of topics: what a subscriber subscribes to together.
pub(super) const GROUPS: [&str; 2] = ["t/#", "r/#"];

/// A subscriber and a group of topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wish {
    /// It wants them; or it does not.
    is_wanted: bool,
    /// So often has it come to want them. A filter with this number goes along, by which is told whether
    /// who speaks of interest means this time or an earlier one.
    times: u32,
    /// SUBACK or UNSUBACK has come.
    is_answered: bool,
}

impl Wish {
    fn marker(&self, group: usize) -> String {
        format!("times/{group}/{}", self.times)
    }
}

impl Subscriber {
    pub(super) fn new(site: usize) -> Self {
        let (received, taken_from) = (BTreeSet::new(), BTreeMap::new());
        let wish = Wish { is_wanted: true, times: 1, is_answered: false };
        let (conn, is_subscribed, wishes, asked) = (None, false, [wish; GROUPS.len()], 0);
        Self { site, conn, is_subscribed, wishes, asked, received, taken_from }
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
                let is_subscribed = self.subscribers[who].is_subscribed;
                assert!(*session_present || !is_subscribed, "its session is lost");
                self.ask(who, number);
            }
            Got::SubAck(id, is_granted) => {
                assert!(is_granted, "all is granted");
                self.answered(who, *id);
            }
            Got::UnsubAck(id) => self.answered(who, *id),
            Got::Publish(publish) => self.take(who, number, publish),
            Got::PubRel(id) => {
                self.subscribers[who].received.remove(id);
                self.send(number, &encode_ack(AckKind::PubComp, *id, V5));
            }
            other => panic!("a subscriber gets no {other:?}"),
        }
    }

    /// Subscribes to what is wanted, or unsubscribes from what is not, as far as that is not answered:
    /// never both at a time.
    fn ask(&mut self, who: usize, number: ConnNumber) {
        let subscriber = &mut self.subscribers[who];
        let wishes = subscriber.wishes.into_iter().enumerate();
        let open: Vec<(usize, Wish)> = wishes.filter(|(_, wish)| !wish.is_answered).collect();
        let Some((_, Wish { is_wanted, .. })) = open.first() else { return };
        subscriber.asked += 1;
        let packet_id = PacketId::new(subscriber.asked).expect("not 0");
        let mut filters: Vec<String> = open.iter().map(|(at, _)| GROUPS[*at].to_owned()).collect();
        if self.plan.ways.interest {
            filters.extend(open.iter().map(|(group, wish)| wish.marker(*group)));
        }
        let properties = Properties::EMPTY;
        if !is_wanted {
            let list: Vec<&str> = filters.iter().map(String::as_str).collect();
            let filters = UnsubscribeFilters::List(&list);
            let unsubscribe = Unsubscribe { packet_id, properties, filters };
            return self.send(number, &encode(&Packet::Unsubscribe(unsubscribe), V5));
        }
        let options = SubscriptionOptions {
            qos: QoS::ExactlyOnce,
            no_local: false,
            retain_as_published: true,
            retain_handling: RetainHandling::SendAtSubscribe,
        };
        let list: Vec<SubscribeFilter<'_>> =
            filters.iter().map(|filter| SubscribeFilter { filter, options }).collect();
        let filters = SubscribeFilters::List(&list);
        let subscribe = Subscribe { packet_id, properties, filters };
        self.send(number, &encode(&Packet::Subscribe(subscribe), V5));
    }

    fn answered(&mut self, who: usize, packet_id: u16) {
        let subscriber = &mut self.subscribers[who];
        if packet_id != subscriber.asked {
            return; // It has asked again meanwhile.
        }
        subscriber.is_subscribed = true;
        subscriber.wishes.iter_mut().for_each(|wish| wish.is_answered = true);
        let site = subscriber.site;
        self.note_known(site);
    }

    /// A subscriber leaves a group of topics, or comes back to it, unless it waits for an answer.
    pub(super) fn change_mind(&mut self, who: usize, group: usize) {
        let subscriber = &mut self.subscribers[who];
        let is_settled = subscriber.wishes.iter().all(|wish| wish.is_answered);
        let Some(number) = subscriber.conn.filter(|_| is_settled) else { return };
        let wish = &mut subscriber.wishes[group];
        wish.is_answered = false;
        wish.is_wanted = !wish.is_wanted;
        if wish.is_wanted {
            wish.times += 1;
        } else {
            self.coverage.hit("subscribers that left topics");
            self.oracle.leaves(who, group);
        }
        let wish = *wish;
        self.tell(format_args!("subscriber {who}, group {group}: {wish:?}"));
        self.ask(who, number);
    }

    /// From now on all want everything.
    pub(super) fn want_everything(&mut self) {
        for who in 0..self.subscribers.len() {
            for wish in self.subscribers[who].wishes.iter_mut().filter(|wish| !wish.is_wanted) {
                *wish = Wish { is_wanted: true, times: wish.times + 1, is_answered: false };
            }
            if let Some(number) = self.subscribers[who].conn {
                self.ask(who, number);
            }
        }
    }

    /// What the subscriber of a site wants may be known at all bridges to it now.
    pub(super) fn note_known(&mut self, site: usize) {
        for (group, wish) in self.subscribers[site].wishes.into_iter().enumerate() {
            let marker = wish.marker(group);
            let mut links = self.links.iter().filter(|link| link.to == site);
            let is_known = links.all(|link| {
                let told = link.interest.as_ref().is_some_and(|interest| interest.wants(&marker));
                told || !link.config.interest
            });
            if wish.is_wanted && wish.is_answered && is_known {
                self.oracle.known(site, group);
            }
        }
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
