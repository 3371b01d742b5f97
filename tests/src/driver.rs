//! What drives a client library that we did not write; `tests/foreign/README.md` tells the commands
//! and the events.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::broker::DEADLINE;
use crate::command::Command;

/// A library with a driver in `tests/foreign/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// paho-mqtt (Python).
    Paho,
    /// aiomqtt (Python).
    Aiomqtt,
    /// gmqtt (Python).
    Gmqtt,
    /// MQTT.js (Node.js).
    MqttJs,
}

/// Drivers that wait for the next test: starting Python or Node.js costs more than a whole test.
static IDLE: Mutex<Vec<(Library, Command)>> = Mutex::new(Vec::new());

/// A driver and what it has told.
#[derive(Debug)]
pub struct Driver {
    inner: Option<Inner>,
    stash: VecDeque<Value>,
}

#[derive(Debug)]
enum Inner {
    Process(Library, Command),
    /// A library in Rust, driven by a thread of this process. The thread ends, and with it the
    /// connection, when `commands` is dropped.
    Thread {
        commands: Sender<Value>,
        events: Receiver<Value>,
    },
}

impl Driver {
    /// Starts the driver of a library, or takes one that an earlier test is done with.
    ///
    /// # Panics
    /// When it cannot be started: `tests/install.sh` installs what it needs.
    pub fn start(library: Library) -> Self {
        let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        let position = idle.iter().position(|(of, _)| *of == library);
        let program = match position {
            Some(position) => idle.swap_remove(position).1,
            None => library.start(),
        };
        Self { inner: Some(Inner::Process(library, program)), stash: VecDeque::new() }
    }

    /// A driver that is a thread of this process.
    pub fn of_thread(commands: Sender<Value>, events: Receiver<Value>) -> Self {
        Self { inner: Some(Inner::Thread { commands, events }), stash: VecDeque::new() }
    }

    /// Sends a command.
    #[track_caller]
    pub fn send(&mut self, command: &Value) {
        match self.inner.as_mut().expect("the driver is running") {
            Inner::Process(_, program) => program.write(format!("{command}\n").as_bytes()),
            Inner::Thread { commands, .. } => {
                commands.send(command.clone()).expect("the driver takes commands");
            }
        }
    }

    /// The next event.
    ///
    /// # Panics
    /// When none comes in time.
    #[track_caller]
    pub fn next_event(&mut self) -> Value {
        self.stash.pop_front().unwrap_or_else(|| self.receive())
    }

    /// The next event, which may take longer than others.
    ///
    /// # Panics
    /// When none comes in `within`.
    #[track_caller]
    pub fn next_event_within(&mut self, within: Duration) -> Value {
        self.stash.pop_front().unwrap_or_else(|| self.receive_within(within))
    }

    /// The next event that is called `event`. Messages that come before it are kept for
    /// [`Driver::next_event`].
    ///
    /// # Panics
    /// When none or another one comes.
    #[track_caller]
    pub fn wait_for(&mut self, event: &str) -> Value {
        loop {
            let told = self.receive();
            if told["event"] == event {
                return told;
            }
            assert_eq!(told["event"], "message", "{told} came instead of {event}");
            self.stash.push_back(told);
        }
    }

    /// Ends it without a word to the broker.
    pub fn kill(mut self) {
        self.inner = None;
    }

    #[track_caller]
    fn receive(&mut self) -> Value {
        self.receive_within(DEADLINE)
    }

    #[track_caller]
    fn receive_within(&mut self, within: Duration) -> Value {
        match self.inner.as_mut().expect("the driver is running") {
            Inner::Process(library, program) => {
                let line = program.line_within(within);
                let event = serde_json::from_str(&line);
                event.unwrap_or_else(|error| panic!("{library:?}: {error}: {line}"))
            }
            Inner::Thread { events, .. } => {
                events.recv_timeout(within).expect("an event comes in time")
            }
        }
    }

    /// Disconnects, whatever the state, and passes over what comes before that.
    fn disconnect(&mut self) {
        self.send(&json!({"do": "disconnect"}));
        while self.receive()["event"] != "disconnected" {}
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if thread::panicking() || self.inner.is_none() {
            return;
        }
        self.disconnect();
        if let Some(Inner::Process(library, program)) = self.inner.take() {
            let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push((library, program));
        }
    }
}

impl Library {
    fn start(self) -> Command {
        let python = || in_tests(".venv/bin/python");
        let (program, script) = match self {
            Self::Paho => (python(), "paho_driver.py"),
            Self::Aiomqtt => (python(), "aiomqtt_driver.py"),
            Self::Gmqtt => (python(), "gmqtt_driver.py"),
            Self::MqttJs => ("node".to_owned(), "mqttjs_driver.mjs"),
        };
        Command::start(&program, &[&in_tests(&format!("foreign/{script}"))])
    }
}

fn in_tests(path: &str) -> String {
    let path = tests_folder().join(path);
    path.into_os_string().into_string().expect("the path of the repository is UTF-8")
}

/// The folder `tests` of the repository.
pub fn tests_folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
