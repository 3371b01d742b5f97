//! One session with a server over any number of connections: drives the protocol crate's client
//! without I/O over a transport.
//!
//! All progress is kept in [`Link`], so every future here may be dropped and asked for again.

use std::future::poll_fn;
use std::io;
use std::mem;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use outpost_protocol::client::{
    Buffers, Client, Config, ConnectionError, Event, Handled, RequestError,
};
use outpost_protocol::{PacketId, Properties, ProtocolVersion, ReasonCode};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};

use super::error::ClientError;
use super::property::Target;
use super::random_bytes;
use super::settings::Settings;
use super::trace::{Reporter, Trace};
use super::transport::{self, Transport};

/// The most messages of QoS 1 and 2 on their way to the server.
pub(super) const IN_FLIGHT_MAX: u16 = 1_000;
/// As many QoS 2 messages on their way from the server as there are packet ids: 3.1 and 3.1.1 have
/// no Receive Maximum that would keep a server to fewer.
const RECEIVE_MAX: usize = 65_535;

/// The client that a [`Link`] drives.
pub(in crate::cli) type MqttClient =
    Client<Vec<u8>, Vec<u8>, { IN_FLIGHT_MAX as usize }, RECEIVE_MAX>;

/// Room for the acknowledgements of one burst, in bytes.
const ANSWERS_BYTES: usize = 64 * 1024;
/// How much is read at once.
const READ_BYTES: usize = 64 * 1024;
/// How long the server may take to close after DISCONNECT.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What to do after an event.
pub(in crate::cli) type After = ControlFlow<()>;

/// Whether the server knows what it was told on an earlier connection.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Accepted {
    pub(in crate::cli) session_present: bool,
}

/// One session, and its present connection.
pub(in crate::cli) struct Link {
    settings: Settings,
    pub(in crate::cli) client: Box<MqttClient>,
    transport: Option<Box<dyn Transport>>,
    /// Bytes that were read; those up to `used` are done with.
    input: Vec<u8>,
    used: usize,
    /// The write side has failed: what the server said before is still to be read.
    write_error: Option<io::Error>,
    needs_flush: bool,
    /// There is no room for the answer to what was read: nothing more is read until there is.
    is_stalled: bool,
    has_connected: bool,
    epoch: Instant,
    trace: Option<Trace>,
}

impl Link {
    /// `output_bytes`, `retained_bytes`: the largest packets that are sent once, and room for the
    /// PUBLISH packets of QoS 1 and 2 until they are acknowledged.
    pub(in crate::cli) fn new(
        settings: Settings,
        reporter: &Reporter,
        output_bytes: usize,
        retained_bytes: usize,
    ) -> Self {
        let config =
            Config { version: settings.version, ..Config::new(settings.maximum_packet_size()) };
        let buffers = buffers(&settings, output_bytes, retained_bytes);
        let mut client = Box::new(MqttClient::new(config, buffers));
        if let Some(packet_id) = PacketId::new(u16::from_ne_bytes(random_bytes())) {
            client.set_next_packet_id(packet_id);
        }
        let trace = Trace::new(reporter, settings.version);
        Self {
            settings,
            client,
            transport: None,
            input: Vec::new(),
            used: 0,
            write_error: None,
            needs_flush: false,
            is_stalled: false,
            has_connected: false,
            epoch: Instant::now(),
            trace,
        }
    }

    pub(in crate::cli) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Makes room for larger packets, once nothing is on its way.
    pub(in crate::cli) fn grow(&mut self, output_bytes: usize, retained_bytes: usize) {
        let buffers = buffers(&self.settings, output_bytes, retained_bytes);
        // Where something is on its way the caller comes again.
        self.client.replace_buffers(buffers).ok();
    }

    /// Opens a connection and waits for the server's word.
    pub(in crate::cli) async fn connect(&mut self) -> Result<Accepted, ClientError> {
        self.close();
        self.transport = Some(transport::connect(&self.settings).await?);
        let now_ms = self.now_ms();
        let (client, resume) = (&mut self.client, self.has_connected);
        self.settings
            .with_connect_options(resume, |options| client.connect(now_ms, options))
            .expect("the buffer has room for CONNECT, and the properties were looked through");
        let accepted = self.wait_for_conn_ack().await;
        match accepted {
            Ok(_) => self.has_connected = true,
            Err(_) => self.close(),
        }
        accepted
    }

    async fn wait_for_conn_ack(&mut self) -> Result<Accepted, ClientError> {
        let version = self.settings.version;
        loop {
            self.turn().await?;
            let is_old_server = version == ProtocolVersion::V5 && self.is_old_refusal();
            let mut accepted = None;
            let handled = self.handle(|_, event| {
                accepted = Some(match event {
                    Event::Connected(packet) => {
                        Ok(Accepted { session_present: packet.session_present })
                    }
                    Event::Refused(packet) => Err(ClientError::refused(&packet, version)),
                    Event::Disconnected(packet) => Err(ClientError::disconnected(&packet)),
                    Event::Auth(_) => Err(ClientError::Authentication),
                    _ => return After::Continue(()),
                });
                After::Break(())
            });
            match (handled, accepted) {
                (_, Some(accepted)) => return accepted,
                (Err(_), None) if is_old_server => {
                    return Err(ClientError::refused_by_old_server());
                }
                (Err(error), None) => return Err(error.into()),
                (Ok(()), None) => {}
            }
        }
    }

    /// CONNACK as 3.1 and 3.1.1 have it: unacceptable protocol version.
    fn is_old_refusal(&self) -> bool {
        self.input[self.used..].starts_with(&[0x20, 2, 0, 1])
    }

    /// Writes what there is to be written, reads what there is to be read, and minds the time;
    /// returns when any of it has happened. To be called when [`Self::handle`] is done with what
    /// was read before.
    pub(in crate::cli) async fn turn(&mut self) -> Result<(), ClientError> {
        let deadline = self.client.poll_timeout().map(|ms| self.epoch + Duration::from_millis(ms));
        let timer = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            done = poll_fn(|cx| self.poll_io(cx)) => return done,
            () = timer => {}
        }
        let now_ms = self.now_ms();
        Ok(self.client.handle_timeout(now_ms)?)
    }

    /// Hands what was read to the client, and what comes of it to `on_event`, until that breaks or
    /// nothing is left. The message of an event is acknowledged when the next packet is looked at,
    /// or by [`Self::acknowledge`].
    pub(in crate::cli) fn handle(
        &mut self,
        mut on_event: impl FnMut(&mut MqttClient, Event<'_>) -> After,
    ) -> Result<(), ConnectionError> {
        self.is_stalled = false;
        loop {
            let input = &self.input[self.used..];
            if let Some(trace) = &self.trace {
                trace.received(input);
            }
            match self.client.handle_input(input)? {
                Handled::Incomplete => break,
                Handled::OutputFull => {
                    self.is_stalled = true;
                    return Ok(());
                }
                Handled::Taken { used, event } => {
                    self.used += used;
                    let Some(event) = event else { continue };
                    if on_event(&mut self.client, event).is_break() {
                        return Ok(());
                    }
                }
            }
        }
        self.discard_used();
        Ok(())
    }

    /// Acknowledges the last message without looking at the next packet.
    pub(in crate::cli) async fn acknowledge(&mut self) -> Result<(), ClientError> {
        loop {
            match self.client.handle_input(&[])? {
                Handled::Incomplete => return Ok(()),
                Handled::OutputFull => self.turn().await?,
                Handled::Taken { .. } => {}
            }
        }
    }

    /// Whether every message has come to its end and nothing waits to be written.
    pub(in crate::cli) fn is_idle(&mut self) -> bool {
        self.client.is_idle() && !self.needs_flush
    }

    fn discard_used(&mut self) {
        self.input.drain(..mem::take(&mut self.used));
        if self.input.is_empty() && self.input.capacity() > 4 * READ_BYTES {
            self.input = Vec::new();
        }
    }

    /// Ready when anything was written or read.
    fn poll_io(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        let written = self.poll_write(cx);
        match self.poll_read(cx) {
            Poll::Pending if self.is_stalled && self.write_error.is_some() => {
                Poll::Ready(Err(self.closed(None)))
            }
            Poll::Ready(read) => Poll::Ready(read),
            Poll::Pending if written => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Whether anything was written.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> bool {
        let now_ms = self.now_ms();
        let Some(transport) = &mut self.transport else { return false };
        let mut written = false;
        while self.write_error.is_none() {
            let output = self.client.poll_output();
            if output.is_empty() {
                break;
            }
            match Pin::new(&mut *transport).poll_write(cx, output) {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => self.write_error = Some(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(len)) => {
                    if let Some(trace) = &mut self.trace {
                        trace.sent(&output[..len]);
                    }
                    self.client.handle_written(now_ms, len);
                    written = true;
                    self.needs_flush = true;
                }
                Poll::Ready(Err(error)) => self.write_error = Some(error),
            }
        }
        if self.needs_flush && self.write_error.is_none() {
            match Pin::new(&mut *transport).poll_flush(cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => {
                    self.needs_flush = false;
                    written = true;
                }
                Poll::Ready(Err(error)) => self.write_error = Some(error),
            }
        }
        written
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        let Some(transport) = &mut self.transport else {
            return Poll::Ready(Err(ClientError::Closed));
        };
        if self.is_stalled {
            return Poll::Pending;
        }
        self.input.reserve(READ_BYTES);
        match pin!(transport.read_buf(&mut self.input)).poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(0)) => Poll::Ready(Err(self.closed(None))),
            Poll::Ready(Ok(_)) => Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.closed(Some(error)))),
        }
    }

    /// A TLS stream that is cut without a farewell reads as an error of this kind.
    fn closed(&mut self, read_error: Option<io::Error>) -> ClientError {
        match read_error.filter(|error| error.kind() != io::ErrorKind::UnexpectedEof) {
            Some(error) => ClientError::Lost(error),
            None => match self.write_error.take() {
                Some(error) => ClientError::Lost(error),
                None => ClientError::Closed,
            },
        }
    }

    /// Says DISCONNECT, writes all that is left, and waits for the server to close: closing first
    /// with something unread would cut off what is still on its way to it.
    pub(in crate::cli) async fn disconnect(&mut self) {
        if self.client.is_connected() {
            let properties = self.settings.properties.encoded(Target::Disconnect);
            let ended = timeout(CLOSE_TIMEOUT, self.say_disconnect(&properties)).await;
            // Too late to do anything about it: everything that matters was acknowledged before.
            drop(ended);
        }
        self.close();
    }

    /// Ends a connection for an error: a 5.0 server is told why, if it can be told.
    pub(in crate::cli) async fn give_up(&mut self, error: &ClientError) {
        if matches!(error, ClientError::Ended(_)) {
            let written = timeout(CLOSE_TIMEOUT, async {
                while !self.client.is_written() || self.needs_flush {
                    self.turn_deaf().await?;
                }
                Ok::<(), ClientError>(())
            });
            // Who does not listen any more need not know.
            drop(written.await);
        }
        self.close();
    }

    async fn say_disconnect(&mut self, properties: &[u8]) -> Result<(), ClientError> {
        let properties = Properties::encoded(properties);
        while self.client.disconnect(ReasonCode::Success, properties) == Err(RequestError::Full) {
            self.turn().await?;
        }
        while !self.client.is_written() || self.needs_flush {
            self.turn_deaf().await?;
        }
        let Some(transport) = &mut self.transport else { return Ok(()) };
        transport.shutdown().await.map_err(ClientError::Lost)?;
        loop {
            self.turn_deaf().await?;
        }
    }

    /// Nothing that comes after DISCONNECT matters any more.
    async fn turn_deaf(&mut self) -> Result<(), ClientError> {
        self.input.clear();
        self.used = 0;
        self.is_stalled = false;
        self.turn().await
    }

    /// Closes the connection as it is; the session stays for the next one.
    pub(in crate::cli) fn close(&mut self) {
        self.client.handle_closed();
        self.transport = None;
        self.input.clear();
        self.used = 0;
        self.write_error = None;
        self.needs_flush = false;
        self.is_stalled = false;
        if let Some(trace) = &mut self.trace {
            trace.restart();
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn buffers(
    settings: &Settings,
    output_bytes: usize,
    retained_bytes: usize,
) -> Buffers<Vec<u8>, Vec<u8>> {
    let output_bytes = output_bytes.max(settings.connect_bytes()) + ANSWERS_BYTES;
    Buffers { output: vec![0; output_bytes], retained: vec![0; retained_bytes] }
}
