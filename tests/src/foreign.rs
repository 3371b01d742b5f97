//! A client that we did not write, in the words of a test.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::broker::Broker;
use crate::driver::{Driver, Library};
use crate::packets::unique;

/// A client library at one version of MQTT.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Starts its driver.
    pub start: fn() -> Driver,
    /// "3.1", "3.1.1" or "5".
    pub version: &'static str,
}

/// A client; [`Kind::connect`] makes it.
#[derive(Debug)]
pub struct ForeignClient {
    driver: Driver,
    session_present: Option<bool>,
    tags: u64,
}

/// A message as a library hands it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignMessage {
    /// Topic Name.
    pub topic: String,
    /// The payload as text.
    pub payload: String,
    /// QoS.
    pub qos: u64,
    /// RETAIN.
    pub retain: bool,
    /// Message Expiry Interval.
    pub expiry_s: Option<u64>,
    /// User properties in order.
    pub user: Vec<(String, String)>,
}

impl Kind {
    /// A library with a driver in `tests/foreign/`.
    pub const fn new(library: Library, version: &'static str) -> Self {
        let start: fn() -> Driver = match library {
            Library::Paho => || Driver::start(Library::Paho),
            Library::Aiomqtt => || Driver::start(Library::Aiomqtt),
            Library::Gmqtt => || Driver::start(Library::Gmqtt),
            Library::MqttJs => || Driver::start(Library::MqttJs),
        };
        Self { start, version }
    }

    /// Whether it is MQTT 5.0.
    pub fn is_5(self) -> bool {
        self.version == "5"
    }

    /// Connects to a broker with a client identifier of its own.
    pub fn connect(self, broker: &Broker) -> ForeignClient {
        self.connect_with(broker, &unique("foreign"), &json!({}))
    }

    /// Connects with the keys of the driver's command `connect` that `options` has.
    ///
    /// # Panics
    /// When the broker refuses.
    #[track_caller]
    pub fn connect_with(self, broker: &Broker, client_id: &str, options: &Value) -> ForeignClient {
        self.connect_to(broker.address(), client_id, options)
    }

    /// The same to another address of a broker, on 127.0.0.1.
    #[track_caller]
    pub fn connect_to(
        self,
        address: SocketAddr,
        client_id: &str,
        options: &Value,
    ) -> ForeignClient {
        let (driver, answer) = self.try_connect(address.port(), client_id, options);
        assert_eq!(answer["event"], "connected", "{answer}");
        ForeignClient { driver, session_present: answer["session_present"].as_bool(), tags: 0 }
    }

    /// Connects to a port of 127.0.0.1 and returns the first event.
    #[track_caller]
    pub fn try_connect(self, port: u16, client_id: &str, options: &Value) -> (Driver, Value) {
        let mut command = json!({
            "do": "connect",
            "port": port,
            "client_id": client_id,
            "version": self.version,
        });
        let keys = command.as_object_mut().expect("it is an object");
        keys.extend(options.as_object().cloned().unwrap_or_default());
        let mut driver = (self.start)();
        driver.send(&command);
        let answer = driver.next_event();
        (driver, answer)
    }
}

impl ForeignClient {
    /// What CONNACK said, where the library tells.
    pub fn session_present(&self) -> Option<bool> {
        self.session_present
    }

    /// Subscribes and expects to be granted the QoS.
    #[track_caller]
    pub fn subscribe(&mut self, filter: &str, qos: u8) {
        self.driver.send(&json!({"do": "subscribe", "filter": filter, "qos": qos}));
        let answer = self.driver.wait_for("subscribed");
        assert_eq!(answer["codes"], json!([qos]), "{filter}");
    }

    /// Unsubscribes.
    #[track_caller]
    pub fn unsubscribe(&mut self, filter: &str) {
        self.driver.send(&json!({"do": "unsubscribe", "filter": filter}));
        self.driver.wait_for("unsubscribed");
    }

    /// Publishes, and returns when the flow of its QoS is complete.
    #[track_caller]
    pub fn publish(&mut self, topic: &str, payload: &str, qos: u8) {
        self.publish_with(topic, payload, qos, &json!({}));
    }

    /// The same with the keys of the driver's command `publish` that `options` has.
    #[track_caller]
    pub fn publish_with(&mut self, topic: &str, payload: &str, qos: u8, options: &Value) {
        let tag = self.send_publish(topic, payload, qos, options);
        let answer = self.driver.wait_for("published");
        assert_eq!(answer["tag"], tag);
    }

    /// Publishes without waiting. The tag of its event `published` is returned: they are counted
    /// from 0.
    #[track_caller]
    pub fn send_publish(&mut self, topic: &str, payload: &str, qos: u8, options: &Value) -> u64 {
        let tag = self.tags;
        self.tags += 1;
        let mut command = json!({
            "do": "publish",
            "topic": topic,
            "payload": payload,
            "qos": qos,
            "retain": false,
            "tag": tag,
        });
        let keys = command.as_object_mut().expect("it is an object");
        keys.extend(options.as_object().cloned().unwrap_or_default());
        self.driver.send(&command);
        tag
    }

    /// The next message.
    ///
    /// # Panics
    /// When something else happens, or nothing in time.
    #[track_caller]
    pub fn message(&mut self) -> ForeignMessage {
        let event = self.driver.next_event();
        assert_eq!(event["event"], "message", "{event} came instead of a message");
        ForeignMessage::new(event.as_object().expect("an event is an object"))
    }

    /// Publishes all without waiting in between, and returns when the flows of all are complete.
    #[track_caller]
    pub fn publish_all<'a>(&mut self, messages: impl IntoIterator<Item = (&'a str, &'a str, u8)>) {
        let mut count = 0;
        for (topic, payload, qos) in messages {
            self.send_publish(topic, payload, qos, &json!({}));
            count += 1;
        }
        for _ in 0..count {
            self.driver.wait_for("published");
        }
    }

    /// The next event, whatever it is.
    #[track_caller]
    pub fn next_event(&mut self) -> Value {
        self.driver.next_event()
    }

    /// The next event, which may take longer than others.
    #[track_caller]
    pub fn next_event_within(&mut self, within: Duration) -> Value {
        self.driver.next_event_within(within)
    }

    /// DISCONNECT.
    #[track_caller]
    pub fn disconnect(mut self) {
        self.driver.send(&json!({"do": "disconnect"}));
        self.driver.wait_for("disconnected");
    }

    /// Dies without DISCONNECT.
    pub fn kill(self) {
        self.driver.kill();
    }
}

impl ForeignMessage {
    /// Reads an event `message`.
    pub fn new(event: &Map<String, Value>) -> Self {
        let text = |key: &str| event[key].as_str().expect("a string").to_owned();
        let pairs = event.get("user").and_then(Value::as_array).into_iter().flatten();
        let user = pairs.map(|pair| {
            let part = |index: usize| pair[index].as_str().expect("a string").to_owned();
            (part(0), part(1))
        });
        Self {
            topic: text("topic"),
            payload: text("payload"),
            qos: event["qos"].as_u64().expect("a number"),
            retain: event["retain"].as_bool().expect("true or false"),
            expiry_s: event.get("expiry_s").and_then(Value::as_u64),
            user: user.collect(),
        }
    }
}
