//! Wills: published when a client is lost, after their delay, or when its session ends
//! [MQTT-3.1.2-8].

use std::sync::Arc;

use outpost_protocol::Will;

use super::Broker;
use super::change::{SessionId, WillRecord};
use super::message::{Message, Topic};
use super::publish::forwarded;
use super::route::Origin;
use super::time::Instant;
use super::timers::Timer;
use super::topics::SessionKey;

pub(super) fn record(will: &Will<'_>) -> WillRecord {
    WillRecord {
        message: Arc::new(Message::new(
            Topic::from(will.topic),
            will.qos,
            will.retain,
            None,
            &forwarded(&will.properties, false),
            will.payload,
        )),
        message_expiry_interval_s: will.properties.message_expiry_interval_s(),
        delay_interval_s: will.properties.will_delay_interval_s().unwrap_or(0),
        due_at: None,
    }
}

impl Broker {
    /// The client was lost: its will is due after its delay, or when the session ends if that is
    /// sooner [MQTT-3.1.3-9].
    pub(super) fn start_will_delay(&mut self, now: Instant, key: SessionKey) {
        let session = &mut self.sessions[key as usize];
        let expiry_interval_s = session.expiry_interval_s;
        let Some(will) = &mut session.will else { return };
        let delay_s = will.delay_interval_s.min(expiry_interval_s);
        if delay_s == 0 {
            self.publish_will(now, key);
            return;
        }
        let due_at = now.plus_s(delay_s);
        will.due_at = Some(due_at);
        let id = session.id;
        self.timers.set(due_at, Timer::WillDelay(id));
        self.touch_session(now, key);
    }

    pub(super) fn check_will_delay(&mut self, now: Instant, id: SessionId) {
        let Some(key) = self.session_keys.get(&id).copied() else { return };
        let will = self.sessions[key as usize].will.as_ref();
        if will.and_then(|w| w.due_at).is_some_and(|at| at <= now) {
            self.publish_will(now, key);
        }
    }

    pub(super) fn publish_will(&mut self, now: Instant, key: SessionKey) {
        // Mark the row first: without its will, a session that is not durable has none any more.
        self.touch_session(now, key);
        let Some(will) = self.sessions[key as usize].will.take() else { return };
        let template = &will.message;
        let expires_at = will.message_expiry_interval_s.map(|s| now.plus_s(s));
        let (topic, matches) = self.topics.matches(&template.topic);
        let message = Message::new(
            topic,
            template.qos,
            template.retain,
            expires_at,
            template.properties().as_encoded(),
            template.payload(),
        );
        let message = Arc::new(message.with(matches.durability));
        let is_erasing = message.payload().is_empty();
        if message.retain
            && (is_erasing || self.has_retained_room(now, &message.topic, message.bytes()))
        {
            self.retain(now, &message);
        }
        self.route(now, &message, &matches, Origin::Will(key));
        self.pending.urgent(now);
    }
}
