//! Subscribes over one session, and goes on over as many connections as it takes.

use std::io::{self, Write};
use std::time::Duration;

use outpost_protocol::client::{Event, RequestError};
use outpost_protocol::{
    Properties, ProtocolVersion, Publish, QoS, ReasonCode, RetainHandling, SubscribeFilter,
    SubscriptionOptions,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use super::super::client::{Accepted, After, Backoff, ClientError, Link, Reporter};
use super::super::output::Failure;
use super::Plan;
use super::inbox::{Inbox, Next};
use crate::config::io_reason;

/// Room for deletions of retained messages.
const RETAINED_BYTES: usize = 1024 * 1024;
/// What SUBSCRIBE and UNSUBSCRIBE have beside filters and properties, at most.
const HEADER_BYTES: usize = 64;

/// The exit code of mosquitto_sub when the time of -W is over.
const TIMED_OUT: u8 = 27;

/// What is subscribed to, and how.
#[derive(Clone, Debug)]
pub(super) struct Subscriptions {
    pub(super) filters: Vec<String>,
    pub(super) unsubscribe: Vec<String>,
    pub(super) no_local: bool,
    pub(super) retain_as_published: bool,
    pub(super) retain_handling: RetainHandling,
    /// The properties of SUBSCRIBE and UNSUBSCRIBE in wire form.
    pub(super) properties: Vec<u8>,
    pub(super) unsubscribe_properties: Vec<u8>,
}

impl Subscriptions {
    /// More than either packet can have.
    fn bytes(&self) -> usize {
        let filters = self.filters.iter().chain(&self.unsubscribe);
        let filters: usize = filters.map(|filter| filter.len() + 3).sum();
        filters + self.properties.len() + self.unsubscribe_properties.len() + HEADER_BYTES
    }

    fn list(&self, qos: QoS) -> Vec<SubscribeFilter<'_>> {
        let options = SubscriptionOptions {
            qos,
            no_local: self.no_local,
            retain_as_published: self.retain_as_published,
            retain_handling: self.retain_handling,
        };
        self.filters.iter().map(|filter| SubscribeFilter { filter, options }).collect()
    }
}

/// Shows what comes for these subscriptions.
pub(super) struct Subscriber<W> {
    link: Link,
    subscriptions: Subscriptions,
    timeout: Option<Duration>,
    reporter: Reporter,
    progress: Progress<W>,
}

/// What has been reached, and what is done with events.
struct Progress<W> {
    inbox: Inbox<W>,
    reporter: Reporter,
    filters: Vec<String>,
    exit_after_subscribing: bool,
    /// How many answers are missing.
    unanswered: usize,
    /// Whether all have come, once, so that a server that kept the session need not be asked again.
    is_subscribed: bool,
    /// Whether messages that nobody looks at would come again.
    is_session_kept: bool,
    end: Option<End>,
}

/// Why it is over.
#[derive(Debug)]
enum End {
    /// All that was asked for has been done; what is acknowledged is acknowledged.
    Done {
        /// The last message is for somebody else.
        leave_last: bool,
    },
    /// Ctrl-C or SIGTERM.
    Interrupted,
    TimedOut,
    /// Nobody reads the output any more.
    BrokenPipe,
    Output(io::Error),
    Refused(ReasonCode),
    Request(RequestError),
    Connection(ClientError),
}

impl From<ClientError> for End {
    fn from(error: ClientError) -> Self {
        Self::Connection(error)
    }
}

impl<W: Write> Subscriber<W> {
    pub(super) fn new(plan: Plan, reporter: Reporter, out: W) -> Self {
        let Plan { settings, subscriptions, selection, printer, .. } = plan;
        let is_session_kept = settings.is_session_kept();
        let filters = subscriptions.filters.clone();
        let link = Link::new(settings, &reporter, subscriptions.bytes(), RETAINED_BYTES);
        let progress = Progress {
            inbox: Inbox::new(selection, printer, reporter.clone(), out),
            reporter: reporter.clone(),
            filters,
            exit_after_subscribing: plan.exit_after_subscribing,
            unanswered: 0,
            is_subscribed: false,
            is_session_kept,
            end: None,
        };
        Self { link, subscriptions, timeout: plan.timeout, reporter, progress }
    }

    /// The whole way, to the exit code.
    pub(super) async fn run(mut self) -> Result<(), Failure> {
        let end = self.run_to_end().await;
        self.leave(&end).await;
        self.report(end)
    }

    async fn run_to_end(&mut self) -> End {
        let interrupted = interrupted();
        tokio::pin!(interrupted);
        let accepted = tokio::select! {
            accepted = self.link.connect() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => return error.into(),
            },
            () = &mut interrupted => return End::Interrupted,
        };
        let timeout = self.timeout;
        let timed_out = async {
            match timeout {
                Some(timeout) => sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            end = self.serve_connections(accepted) => end,
            () = interrupted => End::Interrupted,
            () = timed_out => End::TimedOut,
        }
    }

    async fn serve_connections(&mut self, mut accepted: Accepted) -> End {
        let mut backoff = Backoff::new();
        loop {
            let mut lost = match self.serve(accepted).await {
                End::Connection(error) if error.is_transient() => error,
                end => return end,
            };
            self.link.give_up(&lost).await;
            accepted = loop {
                let delay = backoff.next_delay();
                self.reporter.warn(format!("{lost}; trying again in {} s", delay.as_secs()));
                sleep(delay).await;
                match self.link.connect().await {
                    Ok(accepted) => break accepted,
                    Err(error) if error.is_transient() => lost = error,
                    Err(error) => return error.into(),
                }
            };
            backoff.reset();
        }
    }

    /// One connection, to its end.
    async fn serve(&mut self, accepted: Accepted) -> End {
        self.progress.inbox.restart();
        if !(accepted.session_present && self.progress.is_subscribed)
            && let Err(error) = self.subscribe()
        {
            return End::Request(error);
        }
        loop {
            if let Err(error) = self.handle() {
                return error.into();
            }
            if let Some(end) = self.progress.end.take() {
                return end;
            }
            if let Err(error) = self.link.turn().await {
                return error.into();
            }
        }
    }

    fn subscribe(&mut self) -> Result<(), RequestError> {
        let Self { link, subscriptions, progress, .. } = self;
        let qos = link.settings().qos;
        progress.unanswered = 0;
        if !subscriptions.filters.is_empty() {
            let properties = Properties::encoded(&subscriptions.properties);
            link.client.subscribe(&subscriptions.list(qos), properties)?;
            progress.unanswered += 1;
        }
        if !subscriptions.unsubscribe.is_empty() {
            let filters: Vec<_> = subscriptions.unsubscribe.iter().map(String::as_str).collect();
            let properties = Properties::encoded(&subscriptions.unsubscribe_properties);
            link.client.unsubscribe(&filters, properties)?;
            progress.unanswered += 1;
        }
        Ok(())
    }

    /// Shows what was read. The output is flushed before any acknowledgement can be written, so
    /// that what is acknowledged has left this program.
    fn handle(&mut self) -> Result<(), ClientError> {
        let Self { link, progress, .. } = self;
        let version = link.settings().version;
        let handled = link.handle(|client, event| {
            progress.inbox.send_removals(client);
            progress.take(event, version)
        });
        progress.inbox.send_removals(&mut link.client);
        if let Err(error) = progress.inbox.out.flush() {
            progress.fail(error);
        }
        Ok(handled?)
    }

    /// Acknowledges what was shown, has deletions acknowledged, and says DISCONNECT.
    async fn leave(&mut self, end: &End) {
        match end {
            End::Connection(error) => return self.link.give_up(error).await,
            // What could not be written is not acknowledged.
            End::Output(_) => return self.link.close(),
            _ => {}
        }
        if !matches!(end, End::Done { leave_last: true }) {
            // A connection that fails now has been of use up to here.
            drop(self.link.acknowledge().await);
        }
        if matches!(end, End::Done { .. }) {
            drop(self.finish_removals().await);
        }
        self.link.disconnect().await;
    }

    /// Messages that come meanwhile are not shown; where the session is kept they are left for the
    /// next time.
    async fn finish_removals(&mut self) -> Result<(), ClientError> {
        let Self { link, progress, .. } = self;
        while link.client.in_flight() > 0 || progress.inbox.has_removals() {
            let mut is_over = false;
            let is_kept = progress.is_session_kept;
            link.handle(|client, event| {
                progress.inbox.send_removals(client);
                is_over = matches!(event, Event::Disconnected(_))
                    || matches!(event, Event::Message(p) if is_kept && p.qos > QoS::AtMostOnce);
                if is_over { After::Break(()) } else { After::Continue(()) }
            })?;
            progress.inbox.send_removals(&mut link.client);
            if is_over {
                break;
            }
            if link.client.in_flight() > 0 {
                link.turn().await?;
            }
        }
        Ok(())
    }

    fn report(&self, end: End) -> Result<(), Failure> {
        let (code, line) = match end {
            End::Done { .. } | End::Interrupted | End::BrokenPipe => return Ok(()),
            End::TimedOut => (TIMED_OUT, "timed out".to_owned()),
            End::Output(error) => {
                (1, format!("cannot write to standard output: {}", io_reason(&error)))
            }
            End::Refused(reason) => (reason.into(), "all subscriptions were refused".to_owned()),
            End::Request(error) => (1, error.to_string()),
            End::Connection(error) => (error.exit_code(), error.to_string()),
        };
        Err(Failure::code(code, Some(line).filter(|_| !self.link.settings().quiet)))
    }
}

impl<W: Write> Progress<W> {
    fn take(&mut self, event: Event<'_>, version: ProtocolVersion) -> After {
        match event {
            Event::Message(publish) => self.receive(&publish),
            Event::Subscribed(packet) => {
                let reasons: Vec<_> = packet.reasons.iter().collect();
                self.note_subscribed(&reasons, version);
            }
            Event::Unsubscribed(packet) => {
                for reason in packet.reasons.iter().filter(|reason| reason.is_error()) {
                    self.reporter.warn(format!("not unsubscribed: {reason}"));
                }
                self.note_answer();
            }
            Event::Published(published) if !published.outcome.is_success() => {
                self.reporter.warn("a retained message was not deleted: the server refused it");
            }
            Event::Disconnected(packet) => {
                self.end = Some(ClientError::disconnected(&packet).into());
            }
            Event::Auth(_) => self.end = Some(ClientError::Authentication.into()),
            Event::Published(_) | Event::Connected(_) | Event::Refused(_) => {}
        }
        if self.end.is_some() { After::Break(()) } else { After::Continue(()) }
    }

    fn receive(&mut self, publish: &Publish<'_>) {
        match self.inbox.receive(publish) {
            Ok(Next::GoOn) => {}
            Ok(Next::Enough) => self.end = Some(End::Done { leave_last: false }),
            Ok(Next::TooMuch) => self.end = Some(End::Done { leave_last: true }),
            Err(error) => self.fail(error),
        }
    }

    fn note_subscribed(&mut self, reasons: &[ReasonCode], version: ProtocolVersion) {
        for (filter, reason) in self.filters.iter().zip(reasons) {
            match (reason.is_error(), version) {
                (false, _) => {}
                (true, ProtocolVersion::V5) => {
                    self.reporter.warn(format!("not subscribed to {filter}: {reason}"));
                }
                // There is one code for every failure.
                (true, _) => self.reporter.warn(format!("not subscribed to {filter}")),
            }
        }
        match reasons.iter().all(|reason| reason.is_error()) {
            true => self.end = reasons.first().map(|reason| End::Refused(*reason)),
            false => self.note_answer(),
        }
    }

    fn note_answer(&mut self) {
        self.unanswered = self.unanswered.saturating_sub(1);
        if self.unanswered == 0 {
            self.is_subscribed = true;
            if self.exit_after_subscribing {
                self.end = Some(End::Done { leave_last: false });
            }
        }
    }

    fn fail(&mut self, error: io::Error) {
        self.end = Some(match error.kind() {
            io::ErrorKind::BrokenPipe => End::BrokenPipe,
            _ => End::Output(error),
        });
    }
}

/// Ctrl-C or SIGTERM.
async fn interrupted() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // They end the program as they are.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
