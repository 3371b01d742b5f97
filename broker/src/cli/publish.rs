//! `outpost pub`: publishes a message, or one for every line of its input, as mosquitto_pub does.

mod lines;
mod publisher;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use outpost_protocol::{Properties, QoS, TopicName};
use tokio::runtime;

use super::client::{ClientOptions, Reporter, Settings, Target};
use super::output::Failure;
use crate::config::io_reason;
use lines::Lines;
use publisher::{Publisher, Repeat};

const COMMAND: &str = "pub";

/// The longest payload: as long as MQTT lets a packet be. With its topic it may still be too long.
const PAYLOAD_BYTES_MAX: usize = 268_435_455;

/// Publish messages
///
/// Options and exit codes are those of mosquitto_pub. A message of QoS 1 or 2 is published when the
/// server has acknowledged it. With -l lost connections are opened again, and the command ends when
/// every line was acknowledged.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(super) struct Arguments {
    /// The topic to publish to
    #[arg(short, long)]
    topic: Option<String>,
    #[command(flatten)]
    payload: Payload,
    /// Have the server keep the message for later subscribers
    #[arg(short, long)]
    retain: bool,
    /// Publish the message so many times, each when the one before was delivered
    #[arg(long, value_name = "COUNT", default_value_t = 1, conflicts_with = "stdin_line",
        value_parser = clap::value_parser!(u64).range(1..))]
    repeat: u64,
    /// With --repeat: how long to wait in between, in seconds, with a fraction if need be
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = parse_delay,
        allow_hyphen_values = true)]
    repeat_delay: Duration,
    #[command(flatten)]
    client: ClientOptions,
}

// What to publish.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Payload {
    /// Publish this payload
    #[arg(short, long, value_name = "PAYLOAD", allow_hyphen_values = true)]
    message: Option<OsString>,
    /// Publish an empty payload
    #[arg(short, long)]
    null_message: bool,
    /// Publish the contents of a file
    #[arg(short, long)]
    file: Option<PathBuf>,
    /// Publish each line of standard input, as it comes
    #[arg(short = 'l', long)]
    stdin_line: bool,
    /// Publish all of standard input as one message
    #[arg(short, long)]
    stdin_file: bool,
}

fn parse_delay(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| "must be a number of seconds".into())
}

pub(super) fn execute(arguments: Arguments) -> Result<(), Failure> {
    run(arguments).map_err(|failure| failure.of(COMMAND))
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let mut settings =
        Settings::new(arguments.client, None).map_err(|error| Failure::usage([error]))?;
    let topic_of_url = settings.topic.take();
    let topic = arguments
        .topic
        .or(topic_of_url)
        .ok_or_else(|| Failure::usage(["a topic is needed: -t, or -L with one"]))?;
    TopicName::new(&topic).map_err(|error| Failure::usage([format!("-t: {error}")]))?;
    let properties = settings.properties.encoded(Target::Publish);
    let has_alias = Properties::encoded(&properties).topic_alias().is_some();
    if has_alias && settings.qos > QoS::AtMostOnce {
        // It may have to be sent on another connection, where the alias is unknown.
        return Err(Failure::usage(["a topic-alias goes with QoS 0 only"]));
    }
    let reporter = Reporter::new(COMMAND, settings.quiet, settings.debug);
    let payload = arguments.payload.read()?;
    let repeat = Repeat { count: arguments.repeat, delay: arguments.repeat_delay };
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::work(format!("cannot start: {}", io_reason(&error))))?;
    let published = runtime.block_on(async {
        let mut publisher = Publisher::new(settings, reporter, topic, arguments.retain);
        match payload {
            Some(payload) => publisher.publish(&payload, repeat).await,
            None => publisher.publish_lines(Lines::of_stdin()).await,
        }
    });
    // A name that is still looked up, or a line that is still waited for, keeps nobody waiting.
    runtime.shutdown_background();
    published
}

impl Payload {
    /// None: line by line.
    fn read(self) -> Result<Option<Vec<u8>>, Failure> {
        if self.stdin_line {
            return Ok(None);
        }
        let payload = match (self.message, self.file, self.stdin_file) {
            (Some(message), ..) => message.into_encoded_bytes(),
            (None, Some(path), _) => {
                let name = path.display().to_string();
                let unreadable = |error| unreadable(&name, &error);
                read_all(&name, File::open(&path).map_err(unreadable)?)?
            }
            (None, None, true) => read_all("standard input", io::stdin().lock())?,
            (None, None, false) => Vec::new(),
        };
        Ok(Some(payload))
    }
}

fn read_all(name: &str, input: impl Read) -> Result<Vec<u8>, Failure> {
    let mut payload = Vec::new();
    input
        .take(PAYLOAD_BYTES_MAX as u64 + 1)
        .read_to_end(&mut payload)
        .map_err(|error| unreadable(name, &error))?;
    if payload.len() > PAYLOAD_BYTES_MAX {
        let line = format!("{name}: a payload must have at most {PAYLOAD_BYTES_MAX} bytes");
        return Err(Failure::work(line));
    }
    Ok(payload)
}

fn unreadable(name: &str, error: &io::Error) -> Failure {
    Failure::work(format!("{name}: cannot be read: {}", io_reason(error)))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use clap::Parser;

    use super::super::output::capture;
    use super::*;

    #[derive(Debug, Parser)]
    #[command(disable_help_flag = true)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        let words = ["pub"].into_iter().chain(line.split(' ').filter(|word| !word.is_empty()));
        Line::try_parse_from(words).map(|line| line.arguments)
    }

    #[test]
    fn what_the_user_types() {
        let arguments = parse("-t a -m -5 -r --repeat 3 --repeat-delay 0.5 -q 1").unwrap();
        assert_eq!(arguments.topic.as_deref(), Some("a"));
        assert_eq!((arguments.retain, arguments.repeat), (true, 3));
        assert_eq!(arguments.repeat_delay, Duration::from_millis(500));
        assert_eq!(arguments.payload.read().unwrap(), Some(b"-5".to_vec()));
        assert_eq!(parse("-t a -n").unwrap().payload.read().unwrap(), Some(Vec::new()));
        assert_eq!(parse("-t a -l").unwrap().payload.read().unwrap(), None);
    }

    #[test]
    fn what_does_not_go_together() {
        for (line, error) in [
            ("-t a", "required arguments were not provided"),
            ("-t a -m x -n", "cannot be used with"),
            ("-t a -l --repeat 2", "cannot be used with"),
            ("-t a -m x --repeat 0", "0 is not in 1.."),
            ("-t a -m x --repeat-delay -1", "must be a number of seconds"),
            ("-t a -m x --repeat-delay soon", "must be a number of seconds"),
        ] {
            let found = parse(line).unwrap_err();
            assert!(found.to_string().contains(error), "{line}: {found}");
            assert_eq!(found.exit_code(), 2);
        }
    }

    #[test]
    fn a_file_is_the_payload() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"a\n\xff\0").unwrap();
        let arguments = parse(&format!("-t a -f {}", file.path().display())).unwrap();
        assert_eq!(arguments.payload.read().unwrap(), Some(b"a\n\xff\0".to_vec()));
    }

    #[test]
    fn failures_are_one_line() {
        for (line, expected, code) in [
            ("-m x", "outpost pub: a topic is needed: -t, or -L with one\n", 2),
            (
                "-t a -f /nonexistent",
                "outpost pub: /nonexistent: cannot be read: No such file or directory\n",
                1,
            ),
            (
                "-t a -m x -q 1 -D publish topic-alias 1",
                "outpost pub: a topic-alias goes with QoS 0 only\n",
                2,
            ),
            (
                "-t a -m x -c",
                "outpost pub: a session that stays at the server (-c, -x -1) needs a client \
                 identifier: -i\n",
                2,
            ),
        ] {
            let (_, err, found) = capture(|_| execute(parse(line).unwrap()));
            assert_eq!((err.as_str(), found), (expected, code), "{line}");
        }
        let (_, err, code) = capture(|_| execute(parse("-t a/# -m x").unwrap()));
        assert!(err.starts_with("outpost pub: -t: ") && err.lines().count() == 1, "{err}");
        assert_eq!(code, 2);
    }
}
