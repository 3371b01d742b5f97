//! The names that nearly every test needs.

use std::time::Duration;

pub use outpost_protocol::ProtocolVersion::{V5, V31, V311};
pub use outpost_protocol::QoS::{self, AtLeastOnce, AtMostOnce, ExactlyOnce};
pub use outpost_protocol::{
    Connect, Packet, PacketId, Properties, Property, Publish as Message, ReasonCode,
    RetainHandling, SubscribeFilter, SubscriptionOptions, Will,
};
pub use outpost_tests::{
    Broker, ConnAck, Disconnect, PingResp, PubAck, PubComp, PubRec, PubRel, Publish, RawClient,
    Received, SubAck, filter, message, unique, v5, v31, v311,
};

/// Ends a test early where the broker was not started by us and cannot be configured or killed.
macro_rules! needs_own_broker {
    () => {
        if outpost_tests::Broker::is_external() {
            return;
        }
    };
}
pub(crate) use needs_own_broker;

/// A little more than the shortest interval that MQTT can name, one second: what has an interval of
/// one second is over after it, whatever rounding a broker does.
pub const OVER_A_SECOND: Duration = Duration::from_millis(2_100);

/// Properties to be sent.
pub fn list<'a>(properties: &'a [Property<'a>]) -> Properties<'a> {
    Properties::list(properties)
}

/// A packet identifier.
pub fn id(value: u16) -> PacketId {
    PacketId::new(value).expect("not zero")
}

/// A QoS 0 PUBLISH packet that is sent without waiting for anything.
pub fn send_qos0(client: &mut RawClient, topic: &str, payload: &[u8]) {
    client.send(&Packet::Publish(message(topic, payload)));
}

/// A 5.0 CONNECT that resumes a session and keeps it for an hour.
pub fn resume(client_id: &str) -> Connect<'_> {
    Connect { clean_start: false, properties: list(&KEEP), ..v5(client_id) }
}

/// A 5.0 CONNECT that starts a session that is kept for an hour.
pub fn keep(client_id: &str) -> Connect<'_> {
    Connect { properties: list(&KEEP), ..v5(client_id) }
}

static KEEP: [Property<'static>; 1] = [Property::SessionExpiryInterval(3600)];

/// A will with QoS 0 and no delay.
pub fn will<'a>(topic: &'a str, payload: &'a [u8]) -> Will<'a> {
    let properties = Properties::EMPTY;
    Will { qos: AtMostOnce, retain: false, properties, topic, payload }
}

/// The subscription identifiers of a PUBLISH, ascending.
pub fn subscription_ids(publish: &Publish) -> Vec<u32> {
    let properties = publish.props();
    let ids = properties.iter().filter_map(|property| match property {
        Property::SubscriptionIdentifier(id) => Some(id),
        _ => None,
    });
    let mut ids: Vec<u32> = ids.collect();
    ids.sort_unstable();
    ids
}

/// The user properties of a packet in order.
pub fn user_properties<'a>(properties: &Properties<'a>) -> Vec<(&'a str, &'a str)> {
    let pairs = properties.iter().filter_map(|property| match property {
        Property::UserProperty(name, value) => Some((name, value)),
        _ => None,
    });
    pairs.collect()
}

/// A client of its own that subscribes to `filter` with QoS 2.
pub fn subscriber(broker: &Broker, filter: &str) -> RawClient {
    let mut client = broker.connect(&v5(&unique("sub")));
    client.subscribe(filter, ExactlyOnce);
    client
}

/// A client of its own that publishes.
pub fn publisher(broker: &Broker) -> RawClient {
    broker.connect(&v5(&unique("pub")))
}
