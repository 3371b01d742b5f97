//! The log: where it goes (standard error), what it leaves out (the level of the configuration, or
//! `OUTPOST_LOG`), and how a line looks.
//!
//! On a terminal: time, level, message, fields, in colour. In the journal: no time and no colour,
//! which the journal has itself, and the level in front as sd-daemon(3) wants it. JSON on request:
//! one object a line.
//!
//! An event is one line, whatever stands in it: client identifiers, topics and what other brokers say
//! come from outside, and a line feed in one of them must not make a line that nobody wrote.

use std::env;
use std::fmt;
use std::fs;
use std::io::{self, IsTerminal};
use std::os::unix::fs::MetadataExt;

use tracing::{Dispatch, Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Log, LogFormat, LogLevel};

/// The variable that overrides `log.level`: a level, or directives such as
/// `info,outpost_broker::net=debug`.
pub const LOG_VARIABLE: &str = "OUTPOST_LOG";

/// The log could not be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The variable says nothing that can be understood.
    #[error(
        "{LOG_VARIABLE} = {value:?}: must be error, warn, info, debug or trace, or directives such \
         as info,outpost_broker::net=debug"
    )]
    Variable {
        /// What the variable says.
        value: String,
    },
    /// There is a log already in this process.
    #[error("the log has been set up before")]
    Twice,
}

/// Sets the log of this process up.
///
/// # Errors
/// `OUTPOST_LOG` cannot be understood, or there is a log already.
pub fn init(log: &Log) -> Result<(), LogError> {
    let variable = env::var_os(LOG_VARIABLE);
    let variable = variable.as_ref().map(|value| value.to_string_lossy());
    let style = Style::choose(log.format, is_journal(), colours());
    dispatch(style, filter(log.level, variable.as_deref())?, io::stderr)
        .try_init()
        .map_err(|_| LogError::Twice)
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Json,
    Journal,
    Text { colours: bool },
}

impl Style {
    fn choose(format: LogFormat, journal: bool, colours: bool) -> Self {
        match format {
            LogFormat::Json => Self::Json,
            LogFormat::Text if journal => Self::Journal,
            LogFormat::Text => Self::Text { colours },
        }
    }
}

/// Whether standard error is the journal. `JOURNAL_STREAM` alone does not tell: it is handed on to
/// children that write elsewhere, hence it names the device and inode to compare.
fn is_journal() -> bool {
    let stream = env::var(JOURNAL_VARIABLE).ok();
    let stderr = fs::metadata("/proc/self/fd/2").ok();
    let named = stderr.map(|stderr| format!("{}:{}", stderr.dev(), stderr.ino()));
    stream.is_some() && stream == named
}

const JOURNAL_VARIABLE: &str = "JOURNAL_STREAM";

/// Colours on a terminal, unless the user wants none (<https://no-color.org>).
fn colours() -> bool {
    io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// What the configuration or the variable wants, without what shows secrets: tungstenite writes whole
/// requests and frames at its lowest level, with the tokens and passwords in them.
fn filter(level: LogLevel, variable: Option<&str>) -> Result<EnvFilter, LogError> {
    let silent = |word: &str| word.parse().expect("a directive");
    let wanted = wanted(level, variable)?;
    Ok(wanted.add_directive(silent("tungstenite=off")))
}

fn wanted(level: LogLevel, variable: Option<&str>) -> Result<EnvFilter, LogError> {
    let level = match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    let Some(directives) = variable.filter(|directives| !directives.is_empty()) else {
        return Ok(EnvFilter::new(level));
    };
    // A word that is no level would be taken for the name of a crate, and switch all else off.
    let word = !directives.contains(['=', ',', ':', '[']);
    let parsed = EnvFilter::try_new(directives).ok();
    let known =
        parsed.filter(|_| !word || directives.parse::<Level>().is_ok() || directives == "off");
    known.ok_or_else(|| LogError::Variable { value: directives.to_owned() })
}

fn dispatch<W>(style: Style, filter: EnvFilter, writer: W) -> Dispatch
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match style {
        Style::Json => Dispatch::new(builder.json().flatten_event(true).finish()),
        Style::Journal => {
            let line = Format::default().without_time().with_target(false).with_ansi(false);
            let lines = OneLine { format: Journal(line), colours: false };
            Dispatch::new(builder.with_ansi(false).event_format(lines).finish())
        }
        Style::Text { colours } => {
            let format = Format::default().with_target(false).with_ansi(colours);
            let lines = OneLine { format, colours };
            Dispatch::new(builder.with_ansi(colours).event_format(lines).finish())
        }
    }
}

/// Shows control characters, so that they do nothing.
struct OneLine<F> {
    format: F,
    /// Sequences that set a colour stand for themselves. At the worst a client colours its name.
    colours: bool,
}

impl<S, N, F> FormatEvent<S, N> for OneLine<F>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.format.format_event(context, Writer::new(&mut line), event)?;
        let line = line.strip_suffix('\n').unwrap_or(&line);
        for (at, c) in line.char_indices() {
            if c.is_control() && !(self.colours && is_colour(&line[at..])) {
                write!(writer, "{}", c.escape_debug())?;
            } else {
                writer.write_char(c)?;
            }
        }
        writer.write_char('\n')
    }
}

/// Whether a text begins with ESC `[`, numbers, `m` (ECMA-48, SGR).
fn is_colour(text: &str) -> bool {
    let numbers = |c: char| c.is_ascii_digit() || c == ';';
    let rest = text.strip_prefix("\x1b[").map(|rest| rest.trim_start_matches(numbers));
    rest.is_some_and(|rest| rest.starts_with('m'))
}

/// A line with `<n>` in front, the priority of syslog(3).
struct Journal(Format<Full, ()>);

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        write!(writer, "<{priority}>")?;
        self.0.format_event(context, writer, event)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(style: Style, filter: EnvFilter) -> String {
        written_by(style, filter, || {
            tracing::warn!(client_id = "c1", address = "[::1]:5", "malformed packet");
            tracing::debug!("packet");
        })
    }

    fn written_by(style: Style, filter: EnvFilter, work: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let dispatch = dispatch(style, filter, move || writer.clone());
        tracing::dispatcher::with_default(&dispatch, work);
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn at(level: LogLevel) -> EnvFilter {
        filter(level, None).unwrap()
    }

    #[test]
    fn a_terminal_gets_time_level_message_fields() {
        let line = written(Style::Text { colours: false }, at(LogLevel::Info));
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.len() > 20 && time.ends_with('Z'), "{time}");
        assert_eq!(rest, " WARN malformed packet client_id=\"c1\" address=\"[::1]:5\"\n");
    }

    #[test]
    fn colours_only_where_asked_for() {
        let with = written(Style::Text { colours: true }, at(LogLevel::Info));
        let without = written(Style::Text { colours: false }, at(LogLevel::Info));
        assert!(with.contains('\x1b') && !without.contains('\x1b'), "{with}{without}");
    }

    #[test]
    fn the_journal_gets_the_priority_and_no_time() {
        let lines = written(Style::Journal, at(LogLevel::Debug));
        assert_eq!(
            lines,
            "<4> WARN malformed packet client_id=\"c1\" address=\"[::1]:5\"\n<7>DEBUG packet\n"
        );
    }

    /// A client identifier with a line feed in it could write lines of its own into the log, one
    /// with an escape sequence could write over others on a terminal.
    #[test]
    fn an_event_is_one_line_whatever_a_client_calls_itself() {
        let client_id = "a\r\n<2>CRIT\x1b[2K\x07z";
        for style in [Style::Text { colours: false }, Style::Journal, Style::Json] {
            let line = written_by(style, at(LogLevel::Info), || {
                tracing::warn!(client = %client_id, "client {client_id} lost");
            });
            let inner = line.strip_suffix('\n').unwrap();
            let does_something = |c: char| c.is_ascii_control();
            assert!(!inner.contains(does_something), "{style:?}: {line:?}");
            assert_eq!(inner.matches("CRIT").count(), 2, "{line:?}");
        }
        let line = written_by(Style::Text { colours: true }, at(LogLevel::Info), || {
            tracing::warn!(client = %client_id, "client {client_id} lost");
        });
        assert!(line.lines().count() == 1 && !line.contains("\x1b[2K"), "{line:?}");
    }

    #[test]
    fn json_has_one_object_a_line() {
        let line = written(Style::Json, at(LogLevel::Info));
        assert_eq!(line.lines().count(), 1);
        for part in [
            "{\"timestamp\":\"",
            "\"level\":\"WARN\"",
            "\"message\":\"malformed packet\"",
            "\"client_id\":\"c1\"",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }

    #[test]
    fn the_level_bounds_what_is_written() {
        let style = Style::Text { colours: false };
        for (level, lines) in
            [(LogLevel::Error, 0), (LogLevel::Warn, 1), (LogLevel::Info, 1), (LogLevel::Trace, 2)]
        {
            assert_eq!(written(style, at(level)).lines().count(), lines, "{level:?}");
        }
    }

    #[test]
    fn what_shows_secrets_is_never_written() {
        for filter in [at(LogLevel::Trace), filter(LogLevel::Info, Some("trace")).unwrap()] {
            let text = written_by(Style::Text { colours: false }, filter, || {
                tracing::trace!(target: "tungstenite::protocol", "a frame with a password");
                tracing::trace!(target: "another", "nothing of the kind");
            });
            assert!(text.contains("nothing") && !text.contains("password"), "{text}");
        }
    }

    #[test]
    fn the_variable_overrides_the_level() {
        let style = Style::Text { colours: false };
        let lines = |variable| {
            written(style, filter(LogLevel::Error, Some(variable)).unwrap()).lines().count()
        };
        assert_eq!(lines(""), 0, "empty is unset");
        assert_eq!(lines("DEBUG"), 2);
        assert_eq!(lines("off"), 0);
        assert_eq!(lines("error,outpost_broker::logging=warn"), 1);
    }

    #[test]
    fn a_variable_that_means_nothing_is_refused() {
        for value in ["loud", "x=y=z", "outpost_broker=loud"] {
            let error = filter(LogLevel::Info, Some(value)).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "OUTPOST_LOG = {value:?}: must be error, warn, info, debug or trace, or \
                     directives such as info,outpost_broker::net=debug"
                )
            );
        }
    }

    #[test]
    fn json_goes_before_the_journal_and_the_journal_before_colours() {
        assert_eq!(Style::choose(LogFormat::Json, true, true), Style::Json);
        assert_eq!(Style::choose(LogFormat::Text, true, true), Style::Journal);
        let text = Style::choose(LogFormat::Text, false, true);
        assert_eq!(text, Style::Text { colours: true });
    }
}
