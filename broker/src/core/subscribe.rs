//! SUBSCRIBE and UNSUBSCRIBE.

use std::sync::Arc;

use outpost_protocol::{
    ProtocolVersion, QoS, ReasonCode, ReasonCodes, RetainHandling, SubAck, Subscribe,
    SubscribeFilter, SubscriptionOptions, TopicFilter, UnsubAck, Unsubscribe,
};

use super::change::SubscriptionRecord;
use super::connection::ConnId;
use super::output::{ByteBuffer, Output};
use super::publish::levels;
use super::session::RetainedAhead;
use super::time::Instant;
use super::topics::SessionKey;
use super::{Broker, Handled};

impl Broker {
    pub(super) fn handle_subscribe(
        &mut self,
        now: Instant,
        id: ConnId,
        key: SessionKey,
        subscribe: &Subscribe<'_>,
    ) -> Handled {
        let connection = &self.connections[id.index()];
        let (version, is_bridge) = (connection.version, connection.bridge.is_some());
        let has_bridge_bit = version != ProtocolVersion::V5 && connection.is_any_bridge;
        let subscription_id = subscribe.properties.subscription_identifier();
        let mut reasons = Vec::new();
        for wanted in subscribe.filters.iter() {
            if let Some((reason, why)) = check_filter(version, wanted.filter) {
                return self.fail(now, id, reason, why);
            }
            if wanted.options.no_local && wanted.filter.starts_with("$share/") {
                // [MQTT-3.8.3-4]
                let why = "No Local on a shared subscription";
                return self.fail(now, id, ReasonCode::ProtocolError, why);
            }
        }
        for mut wanted in subscribe.filters.iter() {
            if has_bridge_bit {
                wanted.options = bridge_options(&wanted);
            }
            reasons.push(self.subscribe(key, &wanted, subscription_id, is_bridge));
        }
        let suback = SubAck {
            packet_id: subscribe.packet_id,
            properties: Default::default(),
            reasons: ReasonCodes::List(&reasons),
        };
        let mut bytes = ByteBuffer::default();
        suback.encode(version, &mut bytes).expect("a reason for each filter of a packet that fits");
        self.push_suback(now, id, key, bytes);
        self.send_retained_ahead(now, key);
        Handled::Done
    }

    pub(super) fn handle_unsubscribe(
        &mut self,
        now: Instant,
        id: ConnId,
        key: SessionKey,
        unsubscribe: &Unsubscribe<'_>,
    ) -> Handled {
        let version = self.connections[id.index()].version;
        let mut filters = unsubscribe.filters.iter();
        if let Some((reason, why)) = filters.find_map(|filter| check_filter(version, filter)) {
            return self.fail(now, id, reason, why);
        }
        let mut reasons = Vec::new();
        for filter in unsubscribe.filters.iter() {
            if TopicFilter::new(filter).is_err() {
                reasons.push(ReasonCode::TopicFilterInvalid);
                continue;
            }
            reasons.push(self.unsubscribe(key, filter));
        }
        let unsuback = UnsubAck {
            packet_id: unsubscribe.packet_id,
            properties: Default::default(),
            reasons: ReasonCodes::List(&reasons),
        };
        let mut bytes = ByteBuffer::default();
        unsuback.encode(version, &mut bytes).expect("a reason for each filter");
        self.push_suback(now, id, key, bytes);
        Handled::Done
    }

    /// SUBACK and UNSUBACK of a durable session leave after the commit, in their turn.
    fn push_suback(&mut self, now: Instant, id: ConnId, key: SessionKey, bytes: ByteBuffer) {
        let after = if self.sessions[key as usize].is_durable() {
            self.touch_session(now, key);
            self.pending.urgent(now)
        } else {
            0
        };
        self.push_after(id, after, Output::Encoded(bytes.0.into_boxed_slice()));
    }

    pub(super) fn subscribe(
        &mut self,
        key: SessionKey,
        wanted: &SubscribeFilter<'_>,
        subscription_id: Option<u32>,
        keeps_retained: bool,
    ) -> ReasonCode {
        let limits = &self.settings.limits;
        let Ok(checked) = TopicFilter::new(wanted.filter) else {
            return ReasonCode::TopicFilterInvalid;
        };
        if levels(checked.filter()) > usize::from(limits.topic_levels_max) {
            return ReasonCode::TopicFilterInvalid;
        }
        let qos = wanted.options.qos.min(limits.maximum_qos);
        let mut record = SubscriptionRecord {
            qos,
            no_local: wanted.options.no_local,
            retain_as_published: wanted.options.retain_as_published,
            retain_handling: wanted.options.retain_handling,
            subscription_id,
            keeps_retained,
            owes_retained: false,
        };
        let session = &mut self.sessions[key as usize];
        let known = session.subscriptions.get(wanted.filter);
        let (is_known, owed) = (known.is_some(), known.is_some_and(|known| known.owes_retained));
        if !is_known && session.subscriptions.len() >= limits.subscriptions_per_session_max as usize
        {
            return ReasonCode::QuotaExceeded;
        }
        let wants_retained = match record.retain_handling {
            RetainHandling::SendAtSubscribe => true,
            RetainHandling::SendAtSubscribeIfNew => !is_known, // [MQTT-3.3.1-10]
            RetainHandling::DoNotSend => false,
        };
        // No retained messages for shared subscriptions (MQTT 5.0, section 4.8.2).
        let wants_retained = wants_retained && checked.share_name().is_none();
        let filter: Arc<str> = wanted.filter.into();
        // Where there are none, a restart has nothing to go on with.
        let has_some = || self.retained.next_match(&filter, None).is_some();
        record.owes_retained = session.is_durable() && (owed || wants_retained && has_some());
        session.subscriptions.insert(filter.clone(), record);
        if session.is_durable() {
            self.pending.put_subscription(session.id, filter.clone(), Some(record));
        }
        self.add_route(key, &filter, record);
        if wants_retained {
            let ahead = RetainedAhead { filter, subscription: record, after: None, only: None };
            let waiting = &mut self.sessions[key as usize].retained_ahead;
            waiting.retain(|a| a.filter != ahead.filter);
            waiting.push_back(ahead);
        }
        match qos {
            QoS::AtMostOnce => ReasonCode::Success,
            QoS::AtLeastOnce => ReasonCode::GrantedQoS1,
            QoS::ExactlyOnce => ReasonCode::GrantedQoS2,
        }
    }

    pub(super) fn unsubscribe(&mut self, key: SessionKey, filter: &str) -> ReasonCode {
        let session = &mut self.sessions[key as usize];
        let Some((filter, record)) = session.subscriptions.remove_entry(filter) else {
            return ReasonCode::NoSubscriptionExisted;
        };
        session.retained_ahead.retain(|a| a.filter != filter);
        if session.is_durable() {
            self.pending.put_subscription(session.id, filter.clone(), None);
        }
        self.remove_route(key, &filter, record);
        ReasonCode::Success
    }
}

/// What no packet may have: a filter without a character [MQTT-4.7.3-1], and in 3.x, which has no
/// code for it, one that is no filter at all [MQTT-4.7.1-2], [MQTT-4.7.1-3].
fn check_filter(version: ProtocolVersion, filter: &str) -> Option<(ReasonCode, &'static str)> {
    if filter.is_empty() {
        return Some((ReasonCode::MalformedPacket, "empty topic filter"));
    }
    let is_fine = version == ProtocolVersion::V5 || TopicFilter::new(filter).is_ok();
    if is_fine { None } else { Some((ReasonCode::TopicFilterInvalid, "invalid topic filter")) }
}

/// What the bridge bit asks for where a version has no words for it: the bridge's own messages do not
/// come back, and RETAIN stays as it is.
fn bridge_options(wanted: &SubscribeFilter<'_>) -> SubscriptionOptions {
    SubscriptionOptions {
        no_local: !wanted.filter.starts_with("$share/"),
        retain_as_published: true,
        ..wanted.options
    }
}
