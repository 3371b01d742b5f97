//! The sessions of the bridges at this broker.

use std::sync::Arc;

use outpost_bridge::config::BridgeConfig;
use outpost_bridge::side::Side;
use outpost_protocol::{QoS, RetainHandling, SubscribeFilter, SubscriptionOptions};

use crate::core::time::Instant;
use crate::core::{Broker, Takes};

/// A bridge's session is there before the first client: a gateway that has never reached its centre
/// keeps what it acknowledges all the same.
pub fn prepare(broker: &mut Broker, now: Instant, bridge: &BridgeConfig) {
    let subscriptions: Vec<(String, SubscriptionOptions)> = bridge
        .local_subscriptions()
        .map(|(filter, qos)| {
            let options = SubscriptionOptions {
                qos: QoS::try_from(qos).unwrap_or(QoS::ExactlyOnce),
                no_local: true,
                retain_as_published: true,
                retain_handling: RetainHandling::SendAtSubscribeIfNew,
            };
            (filter, options)
        })
        .collect();
    let filters: Vec<SubscribeFilter<'_>> = subscriptions
        .iter()
        .map(|(filter, options)| SubscribeFilter { filter, options: *options })
        .collect();
    broker.prepare_internal_session(now, &bridge.client_id(), &filters);
    let mapping = bridge.mapping();
    let takes = mapping
        .has_excludes(Side::Local)
        .then(|| Takes(Arc::new(move |topic: &str| mapping.takes(Side::Local, topic))));
    broker.narrow_internal_session(&bridge.client_id(), takes);
    let class = bridge.own_class();
    let (live_percent, stamps) = (class.live_percent, class.stamp);
    broker.set_internal_delivery(now, &bridge.client_id(), live_percent, stamps);
}
