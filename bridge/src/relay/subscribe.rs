//! SUBSCRIBE at both ends, while the relay already runs.
//!
//! Every connection subscribes anew, because the configuration may have changed; retained messages
//! come only where the subscription is new, or the other end has a new session. What a former
//! configuration subscribed is taken back first. The packet identifier is the highest one, which a
//! broker that counts up from 1 gives to a message last. One packet at a time, with a few filters each,
//! so that no broker finds it too large.

use outpost_protocol::{
    Packet, PacketId, Properties, QoS, RetainHandling, SubAck, Subscribe, SubscribeFilter,
    SubscribeFilters, SubscriptionOptions, UnsubAck, Unsubscribe, UnsubscribeFilters,
};

use super::{Notice, Relay, protocol_error, put};
use crate::config::RetainRule;
use crate::link_error::LinkError;
use crate::mapping::Rule;
use crate::output::Outputs;
use crate::side::Side;

/// So many go in one SUBSCRIBE.
pub(crate) const FILTERS_PER_PACKET: usize = 16;

const SUBSCRIBE_ID: u16 = u16::MAX;

/// How far the subscriptions at one end have come, counted in rules.
#[derive(Debug, Default)]
pub(super) struct Subscribing {
    /// To be unsubscribed first.
    retired: Vec<String>,
    /// How many of them the UNSUBACK is awaited for.
    retiring: usize,
    answered: usize,
    /// Sent, and not answered.
    awaited: usize,
    /// When the last SUBSCRIBE was sent.
    sent_ms: u64,
}

impl Subscribing {
    pub(super) fn new(retired: Vec<String>) -> Self {
        Self { retired, ..Self::default() }
    }

    /// Since when an answer is awaited.
    pub(super) fn since_ms(&self) -> Option<u64> {
        (self.awaited > 0 || self.retiring > 0).then_some(self.sent_ms)
    }

    /// The answer may be there and unread.
    pub(super) fn excuse(&mut self, now_ms: u64) {
        self.sent_ms = now_ms;
    }
}

impl Relay {
    /// Sends the next SUBSCRIBE, if there is one.
    pub(super) fn subscribe_more(&mut self, side: Side, now_ms: u64, out: &mut Outputs) {
        if self.unsubscribe_more(side, now_ms, out) {
            return;
        }
        let peer = &self.peers[side];
        let other = &self.peers[side.other()];
        let qos_max = other.maximum_qos;
        // A broker that has lost the session has lost what is retained, too, or never had it. A session
        // here that counts as new may have its subscriptions already, from before the link.
        let retain_handling = match peer.session_present && other.session_present {
            true => RetainHandling::SendAtSubscribeIfNew,
            false => RetainHandling::SendAtSubscribe,
        };
        let state = &mut self.subscribing[side];
        let rules = self.mapping.rules(side)[state.answered..].iter().take(FILTERS_PER_PACKET);
        let filters: Vec<_> =
            rules.map(|rule| subscribe_filter(rule, qos_max, retain_handling)).collect();
        state.awaited = filters.len();
        state.sent_ms = now_ms;
        if filters.is_empty() {
            self.notices.push(Notice::Subscribed(side));
            return;
        }
        put(subscribe_packet(&filters), peer, &mut out[side]);
    }

    /// Takes back the next subscriptions that the configuration has no more; false: there are none.
    fn unsubscribe_more(&mut self, side: Side, now_ms: u64, out: &mut Outputs) -> bool {
        let state = &mut self.subscribing[side];
        let filters: Vec<&str> =
            state.retired.iter().take(FILTERS_PER_PACKET).map(String::as_str).collect();
        if filters.is_empty() {
            return false;
        }
        let unsubscribe = Unsubscribe {
            packet_id: PacketId::new(SUBSCRIBE_ID).expect("not 0"),
            properties: Properties::EMPTY,
            filters: UnsubscribeFilters::List(&filters),
        };
        put(Packet::Unsubscribe(unsubscribe), &self.peers[side], &mut out[side]);
        state.retiring = filters.len();
        state.sent_ms = now_ms;
        true
    }

    /// Whatever it says: what was not subscribed need not be taken back.
    pub(super) fn handle_unsub_ack(
        &mut self,
        from: Side,
        ack: &UnsubAck<'_>,
        now_ms: u64,
        out: &mut Outputs,
    ) -> Result<(), LinkError> {
        let state = &mut self.subscribing[from];
        let retiring = std::mem::take(&mut state.retiring);
        if ack.packet_id.value() != SUBSCRIBE_ID || retiring == 0 {
            return Err(protocol_error(from, "UNSUBACK that was not asked for"));
        }
        state.retired.drain(..retiring);
        self.subscribe_more(from, now_ms, out);
        Ok(())
    }

    pub(super) fn handle_sub_ack(
        &mut self,
        from: Side,
        ack: &SubAck<'_>,
        now_ms: u64,
        out: &mut Outputs,
    ) -> Result<(), LinkError> {
        let state = &mut self.subscribing[from];
        let awaited = std::mem::take(&mut state.awaited);
        let first = state.answered;
        if ack.packet_id.value() != SUBSCRIBE_ID || awaited == 0 {
            return Err(protocol_error(from, "SUBACK that was not asked for"));
        }
        // [MQTT-3.9.3-1]
        if ack.reasons.iter().count() != awaited {
            return Err(protocol_error(from, "SUBACK with a wrong number of reason codes"));
        }
        state.answered += awaited;
        let qos_max = self.peers[from.other()].maximum_qos;
        for (rule, reason) in self.mapping.rules(from)[first..].iter().zip(ack.reasons.iter()) {
            let filter = rule.filter().to_owned();
            let (granted, wanted) = (reason as u8, rule.qos().min(qos_max) as u8);
            if reason.is_error() {
                self.notices.push(Notice::SubscriptionRefused { side: from, filter, reason });
            } else if granted < wanted {
                self.notices.push(Notice::QosLowered { side: from, filter, wanted, granted });
            }
        }
        self.subscribe_more(from, now_ms, out);
        Ok(())
    }
}

/// SUBSCRIBE with these filters.
pub(crate) fn subscribe_packet<'a>(filters: &'a [SubscribeFilter<'a>]) -> Packet<'a> {
    Packet::Subscribe(Subscribe {
        packet_id: PacketId::new(SUBSCRIBE_ID).expect("not 0"),
        properties: Properties::EMPTY,
        filters: SubscribeFilters::List(filters),
    })
}

/// 3.1.1 has none of the options; the encoder leaves them out. What the other end is not to retain is
/// not asked for, where it was retained before.
pub(crate) fn subscribe_filter(
    rule: &Rule,
    qos_max: QoS,
    retain_handling: RetainHandling,
) -> SubscribeFilter<'_> {
    SubscribeFilter {
        filter: rule.filter(),
        options: SubscriptionOptions {
            qos: rule.qos().min(qos_max),
            // What the bridge published there came from the other end and must not go back.
            no_local: true,
            retain_as_published: true,
            retain_handling: match rule.retain() {
                RetainRule::Keep => retain_handling,
                RetainRule::Clear => RetainHandling::DoNotSend,
            },
        },
    }
}
