//! A sensor on Linux: publishes readings over TCP, goes on when the broker goes away and comes back,
//! and prints the number of each reading once the broker has acknowledged it (with QoS 0: once it is
//! handed to the connection). Ends with code 0 when that is done for all of them.
//!
//! ```text
//! cargo run -p outpost-firmware-client --example sensor -- --address 127.0.0.1:1883 --count 10
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line program")]

use std::collections::VecDeque;
use std::future::Future;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use embedded_io_async::{ErrorType, Read, Write};
use outpost_firmware_client::{
    Client, Clock, ConnectOptions, Error, Event, Link, Message, Outcome, ProtocolVersion,
    PublishError, QoS, Settings,
};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Duration, Instant, sleep_until};

/// Readings that may wait for a connection.
const QUEUED: usize = 512;

type SensorClient = Client<TokioClock, 1024, 1024, 16_384, 64, 8, QUEUED, 256>;
type SensorLink<'c> = Link<'c, Tcp, TokioClock, 1024, 1024, 16_384, 64, 8, QUEUED, 256>;

#[derive(Parser)]
#[command(about = "Publishes the readings of a thermometer that does not exist")]
struct Args {
    /// Host and port of the broker.
    #[arg(long, default_value = "127.0.0.1:1883")]
    address: String,
    /// Client identifier.
    #[arg(long, default_value = "sensor")]
    client_id: String,
    /// Topic of the readings.
    #[arg(long, default_value = "sensors/temperature")]
    topic: String,
    /// How many readings.
    #[arg(long, default_value_t = 10)]
    count: u32,
    /// QoS of the readings.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// Time between two readings, in milliseconds.
    #[arg(long, default_value_t = 100)]
    interval_ms: u64,
    /// Payloads in postcard's format (number u32, millidegrees i32) instead of JSON.
    #[arg(long)]
    postcard: bool,
    /// Protocol version.
    #[arg(long, value_enum, default_value = "5")]
    mqtt_version: Version,
    /// User name.
    #[arg(long)]
    user_name: Option<String>,
    /// Password.
    #[arg(long)]
    password: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Version {
    #[value(name = "3.1")]
    V31,
    #[value(name = "3.1.1")]
    V311,
    #[value(name = "5")]
    V5,
}

impl From<Version> for ProtocolVersion {
    fn from(version: Version) -> Self {
        match version {
            Version::V31 => Self::V31,
            Version::V311 => Self::V311,
            Version::V5 => Self::V5,
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sensor: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<(), GiveUp> {
    let settings = Settings { version: args.mqtt_version.into(), ..Settings::default() };
    let mut client = Box::new(SensorClient::new(settings, TokioClock(Instant::now())));
    let mut readings = Readings::new(args);
    let mut delay = Duration::from_millis(100);
    loop {
        match run_connection(args, &mut client, &mut readings).await {
            Ok(()) => return Ok(()),
            Err(Failure::GiveUp(error)) => return Err(error),
            Err(Failure::Connection { was_connected, what }) => {
                eprintln!("sensor: {what}");
                let longer = (delay * 2).min(Duration::from_secs(2));
                delay = if was_connected { Duration::from_millis(100) } else { longer };
            }
        }
        run_offline(&mut client, &mut readings, Instant::now() + delay).await?;
    }
}

/// Takes readings without a connection until it is time to try again.
async fn run_offline(
    client: &mut SensorClient,
    readings: &mut Readings<'_>,
    until: Instant,
) -> Result<(), GiveUp> {
    loop {
        tokio::select! {
            () = sleep_until(until) => return Ok(()),
            () = readings.due() => readings.publish_to(client)?,
        }
    }
}

/// Ok: all is done.
async fn run_connection(
    args: &Args,
    client: &mut SensorClient,
    readings: &mut Readings<'_>,
) -> Result<(), Failure> {
    let stream = TcpStream::connect(&args.address)
        .await
        .map_err(|error| Failure::Connection { was_connected: false, what: error.to_string() })?;
    let _ = stream.set_nodelay(true);
    let options = ConnectOptions {
        user_name: args.user_name.as_deref(),
        password: args.password.as_deref().map(str::as_bytes),
        ..ConnectOptions::new(&args.client_id)
    };
    let mut link = client
        .connect(Tcp(stream), &options)
        .await
        .map_err(|error| Failure::Connection { was_connected: false, what: error.to_string() })?;
    while !readings.is_done(&link) {
        tokio::select! {
            () = readings.due() => {
                let number = readings.next_number();
                let published = publish(&mut link, readings, number).await;
                readings.handle_publish(number, published)?;
            }
            event = link.receive() => readings.handle_event(event?)?,
        }
    }
    link.disconnect().await.map_err(Failure::from)
}

async fn publish(
    link: &mut SensorLink<'_>,
    readings: &Readings<'_>,
    number: u32,
) -> Result<(), Error<std::io::Error>> {
    let reading = Reading::new(number);
    if readings.args.postcard {
        link.publish_postcard(&readings.args.topic, &reading, readings.qos, number).await
    } else {
        let payload = reading.json();
        link.publish(&readings.message(number, payload.as_bytes())).await
    }
}

#[derive(Serialize)]
struct Reading {
    number: u32,
    millidegrees: i32,
}

impl Reading {
    fn new(number: u32) -> Self {
        Self { number, millidegrees: 20_000 + (number % 100) as i32 * 37 }
    }

    fn json(&self) -> String {
        let Self { number, millidegrees } = self;
        format!(r#"{{"number":{number},"millidegrees":{millidegrees}}}"#)
    }
}

/// What is to be published, and what has been acknowledged.
struct Readings<'a> {
    args: &'a Args,
    qos: QoS,
    next: u32,
    /// Readings that the broker refused for now.
    again: VecDeque<u32>,
    acknowledged: u32,
    due: Instant,
}

impl<'a> Readings<'a> {
    fn new(args: &'a Args) -> Self {
        let qos = QoS::try_from(args.qos).unwrap_or(QoS::ExactlyOnce);
        let again = VecDeque::new();
        Self { args, qos, next: 0, again, acknowledged: 0, due: Instant::now() }
    }

    fn is_done(&self, link: &SensorLink<'_>) -> bool {
        self.acknowledged == self.args.count && link.client().queued() == 0
    }

    /// Is ready when the next reading is to be published; never, if there is none.
    fn due(&self) -> impl Future<Output = ()> + use<> {
        let has_more = self.next < self.args.count || !self.again.is_empty();
        let due = has_more.then_some(self.due);
        async move {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        }
    }

    fn next_number(&self) -> u32 {
        self.again.front().copied().unwrap_or(self.next)
    }

    fn message<'m>(&'m self, token: u32, payload: &'m [u8]) -> Message<'m> {
        Message { token, ..Message::new(&self.args.topic, payload, self.qos) }
    }

    /// Publishes while there is no connection.
    fn publish_to(&mut self, client: &mut SensorClient) -> Result<(), GiveUp> {
        let number = self.next_number();
        let reading = Reading::new(number);
        let published = if self.args.postcard {
            client.publish_postcard(&self.args.topic, &reading, self.qos, number)
        } else {
            let payload = reading.json();
            client.publish(&self.message(number, payload.as_bytes()))
        };
        self.handle_taken(number, published)
    }

    fn handle_publish(
        &mut self,
        number: u32,
        published: Result<(), Error<std::io::Error>>,
    ) -> Result<(), Failure> {
        match published {
            Err(Error::Publish(error)) => Ok(self.handle_taken(number, Err(error))?),
            published => {
                self.handle_taken(number, Ok(()))?;
                published.map_err(Failure::from)
            }
        }
    }

    fn handle_taken(
        &mut self,
        number: u32,
        published: Result<(), PublishError>,
    ) -> Result<(), GiveUp> {
        match published {
            Ok(()) => {
                if self.again.pop_front().is_none() {
                    self.next += 1;
                }
                self.due += Duration::from_millis(self.args.interval_ms);
                if self.qos == QoS::AtMostOnce {
                    self.acknowledge(number);
                }
                Ok(())
            }
            // No room: the reading waits.
            Err(PublishError::QueueFull) => {
                self.due = Instant::now() + Duration::from_millis(5);
                Ok(())
            }
            Err(error) => Err(GiveUp { number, what: error.to_string() }),
        }
    }

    fn handle_event(&mut self, event: Event<'_>) -> Result<(), GiveUp> {
        match event {
            Event::Published(published) => match published.outcome {
                // With the session lost: the broker had taken the reading over before.
                outcome if outcome.is_success() => self.acknowledge(published.token),
                Outcome::SessionLost => self.acknowledge(published.token),
                Outcome::Acknowledged(reason) => {
                    eprintln!("sensor: reading {} refused: {reason}", published.token);
                    self.again.push_back(published.token);
                }
                Outcome::NotSupported(reason) => {
                    return Err(GiveUp { number: published.token, what: reason.to_string() });
                }
            },
            Event::NotSent { token, error } => {
                return Err(GiveUp { number: token, what: error.to_string() });
            }
            Event::Disconnected(packet) => eprintln!("sensor: broker says {}", packet.reason),
            Event::Message(_) | Event::Subscribed(_) | Event::Unsubscribed(_) => {}
        }
        Ok(())
    }

    fn acknowledge(&mut self, number: u32) {
        println!("{number}");
        self.acknowledged += 1;
    }
}

/// A reading that can never be published.
struct GiveUp {
    number: u32,
    what: String,
}

impl std::fmt::Display for GiveUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "reading {}: {}", self.number, self.what)
    }
}

enum Failure {
    GiveUp(GiveUp),
    Connection { was_connected: bool, what: String },
}

impl From<GiveUp> for Failure {
    fn from(error: GiveUp) -> Self {
        Self::GiveUp(error)
    }
}

impl From<Error<std::io::Error>> for Failure {
    fn from(error: Error<std::io::Error>) -> Self {
        Self::Connection { was_connected: true, what: error.to_string() }
    }
}

/// Milliseconds since the program started.
struct TokioClock(Instant);

impl Clock for TokioClock {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn wait_until(&self, deadline_ms: u64) {
        // No deadline is further away than a year, so that the sum exists.
        let deadline = Duration::from_millis(deadline_ms);
        sleep_until(self.0 + deadline.min(self.0.elapsed() + Duration::from_secs(31_536_000)))
            .await;
    }
}

/// A TCP stream as embedded-io sees it. Tokio's reads and writes may be dropped without loss.
struct Tcp(TcpStream);

impl ErrorType for Tcp {
    type Error = std::io::Error;
}

impl Read for Tcp {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
        self.0.read(buf).await
    }
}

impl Write for Tcp {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Self::Error> {
        self.0.write(buf).await
    }

    async fn flush(&mut self) -> Result<(), Self::Error> {
        self.0.flush().await
    }
}
