//! A message that came in, as it is shown.

use jiff::Zoned;
use jiff::fmt::strtime;
use outpost_protocol::{Properties, Property, QoS};

use super::json;

/// A PUBLISH with its topic known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) topic: &'a str,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// 0: none (QoS 0).
    pub(super) packet_id: u16,
    pub(super) properties: Properties<'a>,
    pub(super) payload: &'a [u8],
}

impl<'a> Message<'a> {
    pub(super) fn user_properties(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.properties.iter().filter_map(|property| match property {
            Property::UserProperty(name, value) => Some((name, value)),
            _ => None,
        })
    }

    /// One JSON object, with the keys of mosquitto_sub. The payload: as a string (an array of
    /// numbers where it is not UTF-8), or as the JSON that it is; null where it is empty.
    pub(super) fn json(&self, now: &Zoned, payload_is_json: bool, pretty: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(128 + self.payload.len());
        let time = strtime::format("%Y-%m-%dT%H:%M:%S.%6f%z", now).unwrap_or_default();
        out.extend_from_slice(b"{\"tst\":");
        json::put_string(&time, &mut out);
        out.extend_from_slice(b",\"topic\":");
        json::put_string(self.topic, &mut out);
        let (qos, retain) = (u8::from(self.qos), u8::from(self.retain));
        put_number("qos", qos, &mut out);
        put_number("retain", retain, &mut out);
        put_number("payloadlen", self.payload.len(), &mut out);
        if self.qos > QoS::AtMostOnce {
            put_number("mid", self.packet_id, &mut out);
        }
        if !self.properties.is_empty() {
            self.put_properties(&mut out);
        }
        put_key("payload", &mut out);
        match (self.payload, payload_is_json) {
            ([], _) => out.extend_from_slice(b"null"),
            (payload, true) => json::put_compact(payload, &mut out),
            (payload, false) => json::put_bytes(payload, &mut out),
        }
        out.push(b'}');
        if !pretty {
            return out;
        }
        let mut lines = Vec::with_capacity(2 * out.len());
        json::put_pretty(&out, &mut lines);
        lines
    }

    fn put_properties(&self, out: &mut Vec<u8>) {
        put_key("properties", out);
        let mut object = Vec::new();
        let mut has_user_properties = false;
        for property in self.properties.iter() {
            match property {
                Property::UserProperty(..) if has_user_properties => {}
                Property::UserProperty(..) => {
                    has_user_properties = true;
                    self.put_user_properties(&mut object);
                }
                other => put_property(other, &mut object),
            }
        }
        put_object(&object, out);
    }

    /// All of them where the first one stands.
    fn put_user_properties(&self, out: &mut Vec<u8>) {
        put_key("user-properties", out);
        let mut object = Vec::new();
        for (name, value) in self.user_properties() {
            object.push(b',');
            json::put_string(name, &mut object);
            object.push(b':');
            json::put_string(value, &mut object);
        }
        put_object(&object, out);
    }
}

/// Those that a PUBLISH from a server may have.
fn put_property(property: Property<'_>, out: &mut Vec<u8>) {
    match property {
        Property::PayloadFormatIndicator(n) => put_number("payload-format-indicator", n, out),
        Property::MessageExpiryInterval(n) => put_number("message-expiry-interval", n, out),
        Property::SubscriptionIdentifier(n) => put_number("subscription-identifier", n, out),
        Property::TopicAlias(n) => put_number("topic-alias", n, out),
        Property::ContentType(text) => put_text("content-type", text.as_bytes(), out),
        Property::ResponseTopic(text) => put_text("response-topic", text.as_bytes(), out),
        Property::CorrelationData(bytes) => put_text("correlation-data", bytes, out),
        _ => {}
    }
}

/// Members were written with a comma in front of each.
fn put_object(members: &[u8], out: &mut Vec<u8>) {
    out.push(b'{');
    out.extend_from_slice(members.strip_prefix(b",").unwrap_or(members));
    out.push(b'}');
}

fn put_key(key: &str, out: &mut Vec<u8>) {
    out.push(b',');
    json::put_string(key, out);
    out.push(b':');
}

fn put_number(key: &str, number: impl ToString, out: &mut Vec<u8>) {
    put_key(key, out);
    out.extend_from_slice(number.to_string().as_bytes());
}

fn put_text(key: &str, bytes: &[u8], out: &mut Vec<u8>) {
    put_key(key, out);
    json::put_bytes(bytes, out);
}
