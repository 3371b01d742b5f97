//! Publishes over one session: offers messages to the client, drives it, and notes what became of
//! them.

use std::time::Duration;

use outpost_protocol::client::{Event, Message, Outcome, Published, RequestError};
use outpost_protocol::{PacketId, Properties, Publish, QoS};
use tokio::time::{Instant, sleep, sleep_until};

use super::super::client::{
    Accepted, After, Backoff, ClientError, Link, Reporter, Settings, Target,
};
use super::super::output::Failure;
use super::PAYLOAD_BYTES_MAX;
use super::lines::{LineError, Lines};
use crate::config::io_reason;

/// Room for messages at the start; a longer one makes more.
const BUFFER_BYTES: usize = 1024 * 1024;
/// What a PUBLISH has beside topic, properties and payload, at most.
const HEADER_BYTES: usize = 32;

/// The exit code of mosquitto_pub for a payload that is too large.
const PAYLOAD_SIZE: u8 = 9;

/// How often a message is published.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repeat {
    pub(super) count: u64,
    pub(super) delay: Duration,
}

/// Publishes to one topic.
pub(super) struct Publisher {
    link: Link,
    reporter: Reporter,
    topic: String,
    retain: bool,
    /// The properties of every PUBLISH in wire form.
    properties: Vec<u8>,
    /// Whether the server knows the topic by its alias by now.
    has_sent_alias: bool,
    buffer_bytes: usize,
    /// How many messages were handed to the client.
    count: u32,
    /// The exit code for the last message that was not taken.
    failed: Option<u8>,
}

/// Why publishing ends early.
enum Stop {
    Connection(ClientError),
    /// This message can never be published.
    Message(RequestError),
    Input(LineError),
}

impl From<ClientError> for Stop {
    fn from(error: ClientError) -> Self {
        Self::Connection(error)
    }
}

impl Publisher {
    pub(super) fn new(settings: Settings, reporter: Reporter, topic: String, retain: bool) -> Self {
        let properties = settings.properties.encoded(Target::Publish);
        let (output_bytes, retained_bytes) = match settings.qos {
            QoS::AtMostOnce => (BUFFER_BYTES, 0),
            QoS::AtLeastOnce | QoS::ExactlyOnce => (0, BUFFER_BYTES),
        };
        let link = Link::new(settings, &reporter, output_bytes, retained_bytes);
        Self {
            link,
            reporter,
            topic,
            retain,
            properties,
            has_sent_alias: false,
            buffer_bytes: BUFFER_BYTES,
            count: 0,
            failed: None,
        }
    }

    /// Publishes one message, over one connection.
    pub(super) async fn publish(&mut self, payload: &[u8], repeat: Repeat) -> Result<(), Failure> {
        let published = self.publish_repeatedly(payload, repeat).await;
        self.leave(&published).await;
        self.end(published)
    }

    async fn publish_repeatedly(&mut self, payload: &[u8], repeat: Repeat) -> Result<(), Stop> {
        self.connect().await?;
        self.handle()?;
        for number in 0..repeat.count {
            if number > 0 {
                self.wait(repeat.delay).await?;
            }
            while !self.offer(payload).map_err(Stop::Message)? {
                self.step().await?;
            }
            while !self.link.is_idle() {
                self.step().await?;
            }
        }
        Ok(())
    }

    async fn wait(&mut self, delay: Duration) -> Result<(), ClientError> {
        let until = Instant::now() + delay;
        while Instant::now() < until {
            tokio::select! {
                turned = self.link.turn() => turned?,
                () = sleep_until(until) => return Ok(()),
            }
            self.handle()?;
        }
        Ok(())
    }

    /// Publishes each line, over as many connections as it takes; the first one must come about.
    pub(super) async fn publish_lines(&mut self, mut lines: Lines) -> Result<(), Failure> {
        let mut backoff = Backoff::new();
        let published = match self.connect().await {
            Ok(_) => self.publish_over_connections(&mut lines, &mut backoff).await,
            Err(error) => Err(error.into()),
        };
        self.leave(&published).await;
        self.end(published)
    }

    async fn publish_over_connections(
        &mut self,
        lines: &mut Lines,
        backoff: &mut Backoff,
    ) -> Result<(), Stop> {
        loop {
            let mut lost = match self.publish_over_connection(lines).await {
                Err(Stop::Connection(error)) if error.is_transient() => error,
                other => return other,
            };
            self.link.give_up(&lost).await;
            loop {
                let delay = backoff.next_delay();
                self.reporter.warn(format!("{lost}; trying again in {} s", delay.as_secs()));
                sleep(delay).await;
                match self.connect().await {
                    Ok(_) => break,
                    Err(error) if error.is_transient() => lost = error,
                    Err(error) => return Err(error.into()),
                }
            }
            backoff.reset();
        }
    }

    async fn publish_over_connection(&mut self, lines: &mut Lines) -> Result<(), Stop> {
        loop {
            self.handle()?;
            while let Some(line) = lines.current() {
                if !self.offer(line).map_err(Stop::Message)? {
                    break;
                }
                lines.advance();
            }
            if lines.is_done() && self.link.is_idle() {
                return Ok(());
            }
            let wants_more = lines.wants_more();
            tokio::select! {
                turned = self.link.turn() => turned?,
                read = lines.read_more(), if wants_more => read.map_err(Stop::Input)?,
            }
        }
    }

    async fn leave(&mut self, published: &Result<(), Stop>) {
        match published {
            Err(Stop::Connection(error)) => self.link.give_up(error).await,
            Ok(()) | Err(Stop::Message(_) | Stop::Input(_)) => self.link.disconnect().await,
        }
    }

    async fn connect(&mut self) -> Result<Accepted, ClientError> {
        self.has_sent_alias = false;
        self.link.connect().await
    }

    async fn step(&mut self) -> Result<(), ClientError> {
        self.link.turn().await?;
        self.handle()
    }

    /// Notes what came.
    fn handle(&mut self) -> Result<(), ClientError> {
        let mut ended = None;
        let mut outcomes = Vec::new();
        self.link.handle(|_, event| {
            ended = match event {
                Event::Published(published) => {
                    outcomes.push(published);
                    None
                }
                Event::Disconnected(packet) => Some(ClientError::disconnected(&packet)),
                Event::Auth(_) => Some(ClientError::Authentication),
                _ => None,
            };
            if ended.is_some() { After::Break(()) } else { After::Continue(()) }
        })?;
        for published in outcomes {
            self.note(&published);
        }
        ended.map_or(Ok(()), Err)
    }

    fn note(&mut self, published: &Published) {
        let number = published.token;
        match published.outcome {
            Outcome::Acknowledged(reason) if !reason.is_error() => {}
            Outcome::Acknowledged(reason) | Outcome::NotSupported(reason) => {
                self.reporter.warn(format!("message {number} was refused: {reason}"));
                self.failed = Some(reason.into());
            }
            Outcome::SessionLost => {
                self.reporter.warn(format!(
                    "message {number} may be lost: the server had received it, and then lost the \
                     session"
                ));
                self.failed = Some(1);
            }
        }
    }

    /// Hands a message to the client; false: there is no room for it now.
    fn offer(&mut self, payload: &[u8]) -> Result<bool, RequestError> {
        let settings = self.link.settings();
        let qos = settings.qos;
        if qos > QoS::AtMostOnce && self.link.client.in_flight() >= settings.max_in_flight {
            return Ok(false);
        }
        let alias = Properties::encoded(&self.properties).topic_alias();
        let message = Message {
            // The server knows it.
            topic: if self.has_sent_alias { "" } else { &self.topic },
            retain: self.retain,
            properties: Properties::encoded(&self.properties),
            token: self.count.wrapping_add(1),
            ..Message::new(&self.topic, payload, qos)
        };
        match self.link.client.publish(&message) {
            Ok(_) => {
                self.count = message.token;
                self.has_sent_alias = alias.is_some();
                Ok(true)
            }
            Err(RequestError::Full | RequestError::NotConnected) => Ok(false),
            Err(RequestError::TooLarge) if self.can_grow(payload) => {
                if self.grow(payload) {
                    self.offer(payload)
                } else {
                    Ok(false)
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a message is only too large for the buffer, and neither for MQTT nor for the server.
    fn can_grow(&self, payload: &[u8]) -> bool {
        let settings = self.link.settings();
        let publish = Publish {
            dup: false,
            qos: settings.qos,
            retain: self.retain,
            topic: &self.topic,
            packet_id: (settings.qos > QoS::AtMostOnce).then_some(PacketId::MIN),
            properties: Properties::encoded(&self.properties),
            payload,
        };
        let terms = self.link.client.terms();
        let maximum = terms.map_or(u32::MAX, |terms| terms.maximum_packet_size) as usize;
        publish.encoded_len(settings.version).is_ok_and(|len| len <= maximum)
            && self.bytes_for(payload) > self.buffer_bytes
    }

    fn bytes_for(&self, payload: &[u8]) -> usize {
        HEADER_BYTES + self.topic.len() + self.properties.len() + payload.len()
    }

    /// Makes room, if all before it is acknowledged.
    fn grow(&mut self, payload: &[u8]) -> bool {
        if !self.link.is_idle() {
            return false;
        }
        let bytes = self.bytes_for(payload);
        let (output_bytes, retained_bytes) = match self.link.settings().qos {
            QoS::AtMostOnce => (bytes, 0),
            QoS::AtLeastOnce | QoS::ExactlyOnce => (0, bytes),
        };
        self.link.grow(output_bytes, retained_bytes);
        self.buffer_bytes = bytes;
        true
    }

    fn end(&self, published: Result<(), Stop>) -> Result<(), Failure> {
        let (code, line) = match published {
            Ok(()) => match self.failed {
                None => return Ok(()),
                Some(code) => return Err(Failure::code(code, None)),
            },
            Err(Stop::Connection(error)) => (error.exit_code(), self.describe(&error)),
            Err(Stop::Message(RequestError::TooLarge)) => {
                (PAYLOAD_SIZE, "the message is larger than the server takes".to_owned())
            }
            Err(Stop::Message(error)) => (1, error.to_string()),
            Err(Stop::Input(LineError::Read(error))) => {
                (1, format!("standard input: cannot be read: {}", io_reason(&error)))
            }
            Err(Stop::Input(LineError::TooLong)) => {
                (PAYLOAD_SIZE, format!("a line must have at most {PAYLOAD_BYTES_MAX} bytes"))
            }
        };
        Err(Failure::code(code, Some(line).filter(|_| !self.link.settings().quiet)))
    }

    /// What the failure of the connection means for the messages.
    fn describe(&self, error: &ClientError) -> String {
        match self.link.client.in_flight() {
            0 => error.to_string(),
            1 => format!("{error}; a message was not acknowledged"),
            count => format!("{error}; {count} messages were not acknowledged"),
        }
    }
}
