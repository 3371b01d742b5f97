//! What the drivers of both halves of rumqttc share: the events they tell, and which of their
//! messages an acknowledgement is for.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use outpost_tests::Driver;
use serde_json::{Value, json};
use tokio::runtime;
use tokio::sync::mpsc::UnboundedReceiver;

/// Requests that may wait for the event loop.
pub const REQUESTS: usize = 1_000;

/// Told to the test, by the task with the commands and the task with the connection.
#[derive(Clone)]
pub struct Flows(Arc<Mutex<Inner>>);

struct Inner {
    events: Sender<Value>,
    /// Tags of messages that the event loop has not given a packet identifier yet.
    waiting: VecDeque<u64>,
    in_flight: HashMap<u16, u64>,
}

impl Flows {
    /// Tells an event.
    pub fn tell(&self, event: Value) {
        // Nobody listens any more when the test is over.
        let _ = self.lock().events.send(event);
    }

    /// A message goes to the event loop.
    pub fn handle_request(&self, tag: u64) {
        self.lock().waiting.push_back(tag);
    }

    /// The event loop has sent a message; the packet identifier is 0 with QoS 0.
    pub fn handle_sent(&self, packet_id: u16) {
        let mut inner = self.lock();
        let tag = inner.waiting.pop_front().expect("a message was handed over");
        if packet_id == 0 {
            let _ = inner.events.send(json!({"event": "published", "tag": tag}));
        } else {
            inner.in_flight.insert(packet_id, tag);
        }
    }

    /// A flow is complete.
    pub fn handle_done(&self, packet_id: u16) {
        let mut inner = self.lock();
        let tag = inner.in_flight.remove(&packet_id).expect("a message was sent");
        let _ = inner.events.send(json!({"event": "published", "tag": tag}));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("nobody panics with it")
    }
}

/// Starts a thread with a runtime for a driver, which gets the commands. When the test drops its
/// end, all tasks of the runtime are dropped, and with them the connection.
pub fn start<F, D>(drive: F) -> Driver
where
    F: FnOnce(UnboundedReceiver<Value>, Flows) -> D + Send + 'static,
    D: Future<Output = ()>,
{
    let (commands, from_test) = mpsc::channel();
    let (events, to_test) = mpsc::channel();
    let (to_driver, in_driver) = tokio::sync::mpsc::unbounded_channel();
    thread::spawn(move || {
        while let Ok(command) = from_test.recv() {
            if to_driver.send(command).is_err() {
                break;
            }
        }
    });
    let inner = Inner { events, waiting: VecDeque::new(), in_flight: HashMap::new() };
    let flows = Flows(Arc::new(Mutex::new(inner)));
    thread::spawn(move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("start a runtime").block_on(drive(in_driver, flows));
    });
    Driver::of_thread(commands, to_test)
}

/// A key of a command that has to be there.
pub fn text<'a>(command: &'a Value, key: &str) -> &'a str {
    command[key].as_str().expect("a string")
}

/// A number of a command, which fits by construction.
pub fn number<T: TryFrom<u64>>(value: &Value) -> Option<T> {
    value.as_u64().and_then(|number| T::try_from(number).ok())
}

/// User properties.
pub fn pairs(value: &Value) -> Vec<(String, String)> {
    let pairs = value.as_array().into_iter().flatten();
    let part = |pair: &Value, index: usize| pair[index].as_str().expect("a string").to_owned();
    pairs.map(|pair| (part(pair, 0), part(pair, 1))).collect()
}
