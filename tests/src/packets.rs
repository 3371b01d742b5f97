//! Short ways to the packets that tests send most.

use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use outpost_protocol::{
    Connect, Properties, ProtocolVersion, Publish, QoS, RetainHandling, SubscribeFilter,
    SubscriptionOptions,
};

/// A name that no other test uses, for client identifiers and first levels of topics: `what` and a
/// number, at most 23 letters and digits where `what` has up to 8.
pub fn unique(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{what}{}x{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A 5.0 CONNECT: clean start, no keep-alive, the session ends with the connection.
pub fn v5(client_id: &str) -> Connect<'_> {
    Connect {
        version: ProtocolVersion::V5,
        bridge: false,
        clean_start: true,
        keep_alive_s: 0,
        properties: Properties::EMPTY,
        client_id,
        will: None,
        user_name: None,
        password: None,
    }
}

/// A 3.1.1 CONNECT with clean session and no keep-alive.
pub fn v311(client_id: &str) -> Connect<'_> {
    Connect { version: ProtocolVersion::V311, ..v5(client_id) }
}

/// A 3.1 CONNECT with clean session and no keep-alive.
pub fn v31(client_id: &str) -> Connect<'_> {
    Connect { version: ProtocolVersion::V31, ..v5(client_id) }
}

/// A QoS 0 PUBLISH. For other QoS, properties and flags: `Publish { qos, ..message(t, p) }`; the
/// client's [`publish`](crate::RawClient::publish) fills in the packet identifier.
pub fn message<'a>(topic: &'a str, payload: &'a [u8]) -> Publish<'a> {
    Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic,
        packet_id: None,
        properties: Properties::EMPTY,
        payload,
    }
}

/// A filter with the options that 3.1.1 has: only a QoS.
pub fn filter(filter: &str, qos: QoS) -> SubscribeFilter<'_> {
    let options = SubscriptionOptions {
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::SendAtSubscribe,
    };
    SubscribeFilter { filter, options }
}
