//! The bridges of this broker: their sessions, their tasks, and the way they reach both brokers.

use std::sync::Arc;

use outpost_bridge::config::BridgeConfig;
use outpost_bridge::connect::{Connector, remote_connector};
use outpost_bridge::mapping::Mapping;
use outpost_bridge::side::Side;
use outpost_bridge::status::BridgeStatus;
use outpost_protocol::{QoS, RetainHandling, SubscribeFilter, SubscriptionOptions};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::core::time::Instant;
use crate::core::{Broker, Takes};
use crate::net::handshake::Door;
use crate::net::local::LocalConnector;
use crate::server::{ServerError, seed};

/// A bridge's session is there before the first client: a gateway that has never reached its centre
/// keeps what it acknowledges all the same.
pub(crate) fn prepare(broker: &mut Broker, now: Instant, bridge: &BridgeConfig) {
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
    let mapping = Mapping::new(&bridge.topics());
    let takes = mapping
        .has_excludes(Side::Local)
        .then(|| Takes(Arc::new(move |topic: &str| mapping.takes(Side::Local, topic))));
    broker.narrow_internal_session(&bridge.client_id(), takes);
}

/// The ways to the remote brokers, with the TLS files that they need.
///
/// # Errors
/// A file that cannot be used.
pub(crate) fn remotes(bridges: &[BridgeConfig]) -> Result<Vec<Box<dyn Connector>>, ServerError> {
    let remote = |bridge: &BridgeConfig| {
        remote_connector(bridge).map_err(|error| ServerError::Bridge {
            name: bridge.name.clone(),
            why: error.to_string(),
        })
    };
    bridges.iter().map(remote).collect()
}

/// Starts a task for each bridge; they take their leave when `leave` becomes true.
pub(crate) fn start(
    bridges: Vec<BridgeConfig>,
    remotes: Vec<Box<dyn Connector>>,
    door: &Arc<Door>,
    leave: &watch::Sender<bool>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for (bridge, remote) in bridges.into_iter().zip(remotes) {
        let name = format!("bridge {}", bridge.name).into();
        let local = Box::new(LocalConnector { door: door.clone(), name });
        let status = Arc::new(BridgeStatus::new(bridge.name.clone()));
        let mut leave = leave.subscribe();
        let shutdown = async move {
            // An error means that the server is gone, which is the same.
            let _ = leave.wait_for(|leave| *leave).await;
        };
        tasks.spawn(outpost_bridge::run(bridge, local, remote, status, seed(), shutdown));
    }
    tasks
}
