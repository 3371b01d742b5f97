//! Brokers of other makes, each a process with a directory and ports of its own.
//! `tests/install.sh` installs them.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::command::Command;
use crate::port::free_port;

/// Erlang takes its time to start, and more of it on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(20);

/// Where Debian has it. The command in the path wants to be root, to become another user.
const RABBITMQ: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// A make of broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    /// Eclipse Mosquitto.
    Mosquitto,
    /// RabbitMQ with its MQTT plugin.
    RabbitMq,
    /// The NATS server with its MQTT listener, on JetStream.
    Nats,
}

/// A running broker of another make. Dropped, it is killed and its directory removed.
#[derive(Debug)]
pub struct ForeignBroker {
    make: Make,
    address: SocketAddr,
    /// Its door for MQTT over WebSocket.
    websocket: Option<SocketAddr>,
    process: Option<Command>,
    /// Erlang's name server and its port; RabbitMQ would start one that outlives it.
    epmd: Option<(Command, u16)>,
    /// Removed last.
    dir: TempDir,
}

impl ForeignBroker {
    /// Starts one, open to all, which keeps what it holds on disk.
    ///
    /// # Panics
    /// When it is not installed, and when it does not listen in time.
    pub fn start(make: Make) -> Self {
        Self::begin(make, None, "")
    }

    /// The same with a door for MQTT over WebSocket beside the plain one. `secured`: what its
    /// configuration has for TLS at that door; RabbitMQ has its own ways.
    pub fn start_with_websocket(make: Make, secured: &str) -> Self {
        Self::begin(make, Some(own_address()), secured)
    }

    fn begin(make: Make, websocket: Option<SocketAddr>, secured: &str) -> Self {
        let address = own_address();
        let dir = TempDir::new().expect("a temporary folder");
        let epmd = (make == Make::RabbitMq).then(|| {
            let port = free_port();
            (Command::start("epmd", &["-port", &port.to_string()]), port)
        });
        let mut broker = Self { make, address, websocket, process: None, epmd, dir };
        broker.configure(secured);
        broker.restart();
        broker
    }

    /// Where it listens for MQTT.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for MQTT over WebSocket.
    ///
    /// # Panics
    /// When it does not.
    pub fn websocket_address(&self) -> SocketAddr {
        self.websocket.expect("it was started with a door for WebSocket")
    }

    /// Ends it in the middle of what it does, as hard as it stands: Mosquitto writes what it has
    /// acknowledged to disk when it is asked to end and now and then, the others before they
    /// acknowledge.
    pub fn kill(&mut self) {
        let process = self.process.take().expect("it runs");
        process.signal(if self.make == Make::Mosquitto { "TERM" } else { "KILL" });
        process.end();
    }

    /// Starts it again after [`Self::kill`], same port, same directory, and waits until it listens.
    pub fn restart(&mut self) {
        assert!(self.process.is_none(), "it still runs");
        self.process = Some(self.spawn());
        let deadline = Instant::now() + START_LIMIT;
        while TcpStream::connect(self.address).is_err() {
            assert!(Instant::now() < deadline, "{:?} does not listen", self.make);
            thread::sleep(POLL);
        }
    }

    fn configure(&self, secured: &str) {
        let websocket = self.websocket.map(|address| self.websocket_lines(address, secured));
        let websocket = websocket.unwrap_or_default();
        let (dir, address, port) = (self.path(""), self.address, self.address.port());
        match self.make {
            Make::Mosquitto => self.write(
                "mosquitto.conf",
                &format!(
                    "user root\nlistener {port} 127.0.0.1\nallow_anonymous true\n\
                     persistence true\npersistence_location {dir}\n{websocket}"
                ),
            ),
            Make::RabbitMq => {
                let plugins = if self.websocket.is_some() { ",rabbitmq_web_mqtt" } else { "" };
                self.write("enabled_plugins", &format!("[rabbitmq_mqtt{plugins}].\n"));
                self.write(
                    "rabbitmq.conf",
                    &format!(
                        "listeners.tcp = none\nmqtt.listeners.tcp.1 = {address}\n\
                         mqtt.allow_anonymous = true\n{websocket}"
                    ),
                );
            }
            Make::Nats => self.write(
                "nats.conf",
                &format!(
                    "server_name: test\nlisten: \"127.0.0.1:{}\"\n\
                     jetstream {{ store_dir: \"{dir}store\" }}\nmqtt {{ listen: \"{address}\" }}\n{websocket}",
                    free_port()
                ),
            ),
        }
    }

    fn websocket_lines(&self, address: SocketAddr, secured: &str) -> String {
        let port = address.port();
        match self.make {
            Make::Mosquitto => {
                format!("listener {port} 127.0.0.1\nprotocol websockets\n{secured}\n")
            }
            Make::RabbitMq => format!("web_mqtt.tcp.ip = 127.0.0.1\nweb_mqtt.tcp.port = {port}\n"),
            Make::Nats if secured.is_empty() => {
                format!("websocket {{ listen: \"{address}\", no_tls: true }}\n")
            }
            Make::Nats => format!("websocket {{ listen: \"{address}\", {secured} }}\n"),
        }
    }

    fn spawn(&self) -> Command {
        match self.make {
            Make::Mosquitto => Command::start("mosquitto", &["-c", &self.path("mosquitto.conf")]),
            Make::RabbitMq => self.spawn_rabbitmq(),
            Make::Nats => Command::start("nats-server", &["-c", &self.path("nats.conf")]),
        }
    }

    fn spawn_rabbitmq(&self) -> Command {
        assert!(Path::new(RABBITMQ).exists(), "{RABBITMQ} is missing; run tests/install.sh");
        let (_, epmd_port) = self.epmd.as_ref().expect("it was started");
        let variables = [
            format!("ERL_EPMD_PORT={epmd_port}"),
            format!("RABBITMQ_DIST_PORT={}", free_port()),
            format!("RABBITMQ_NODENAME=test{epmd_port}@localhost"),
            format!("RABBITMQ_MNESIA_BASE={}", self.path("db")),
            format!("RABBITMQ_LOG_BASE={}", self.path("log")),
            format!("RABBITMQ_ENABLED_PLUGINS_FILE={}", self.path("enabled_plugins")),
            format!("RABBITMQ_CONFIG_FILE={}", self.path("rabbitmq.conf")),
            format!("RABBITMQ_GENERATED_CONFIG_DIR={}", self.path("generated")),
            format!("RABBITMQ_SCHEMA_DIR={}", self.path("schema")),
            // For Erlang's cookie.
            format!("HOME={}", self.path("")),
            // The script becomes the broker instead of waiting for it: one process, to be killed.
            "RUNNING_UNDER_SYSTEMD=true".to_owned(),
            RABBITMQ.to_owned(),
        ];
        let arguments: Vec<&str> = variables.iter().map(String::as_str).collect();
        Command::start("env", &arguments)
    }

    fn path(&self, name: &str) -> String {
        let path = self.dir.path().join(name);
        path.into_os_string().into_string().expect("the temporary folder is UTF-8")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("write the configuration");
    }
}

fn own_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}
