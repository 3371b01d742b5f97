//! `outpost bridge`: bridges without a broker, and what an operator asks of bridges that run, in a
//! broker or alone. The commands are requests over the control socket.

mod show;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{io, thread};

use clap::{Args, Subcommand, ValueEnum};
use serde::de::DeserializeOwned;

use super::output::{Failure, Output};
use super::run;
use crate::admin::{Answer, Request, SOCKET_NAME};
use crate::alone;
use crate::bridges::Report;
use crate::config::{Config, Overrides, io_reason};
use crate::reload::Source;

/// An answer that takes longer is given up.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// How often a drain looks again.
const DRAIN_POLL: Duration = Duration::from_millis(200);

/// How often it says how far it is.
const DRAIN_SHOW: Duration = Duration::from_secs(2);

/// Run bridges without a broker; or see and steer bridges that run
///
/// `outpost bridge -c FILE` runs the bridges of a file with `[local]` between brokers of any make, until it
/// is told to end (SIGTERM, Ctrl-C). The commands are for bridges that run: a broker is found by the store
/// of its configuration, as `outpost run` would find it; bridges without a broker by --socket.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// The configuration file
    #[arg(short = 'c', long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The control socket: of bridges without a broker, or of a broker whatever the file says
    #[arg(long, value_name = "PATH", global = true)]
    socket: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what the bridges are doing
    Status {
        /// One bridge alone
        name: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Tell what becomes of a topic
    Explain {
        /// The topic
        topic: String,
        /// One bridge alone
        #[arg(long, value_name = "NAME")]
        bridge: Option<String>,
        /// The broker that the message comes from; both where it is not given
        #[arg(long)]
        from: Option<From>,
    },
    /// Stop the link of a bridge in order, until it is resumed or the broker starts again
    ///
    /// Its sessions stay: what comes meanwhile waits.
    Pause {
        /// The bridge
        name: String,
    },
    /// Start a bridge that pauses
    Resume {
        /// The bridge
        name: String,
    },
    /// Have the program read its configuration again, as SIGHUP does
    ///
    /// Bridges are added, changed and removed; what else has changed needs a restart.
    Reload,
    /// Wait until the remote broker has acknowledged all that waits now
    ///
    /// Exits with 1 when that takes too long.
    Drain {
        /// The bridge
        name: String,
        /// Give up after so many seconds
        #[arg(long, value_name = "S")]
        timeout: Option<u64>,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum From {
    Local,
    Remote,
}

pub(super) fn execute(arguments: Arguments, output: &mut Output<'_>) -> Result<(), Failure> {
    let Arguments { command, config, socket } = arguments;
    let Some(command) = command else { return run_alone(config, socket.as_deref()) };
    let socket = Socket::find(config.as_deref(), socket)?;
    match command {
        Command::Status { name, json } => {
            let reports: Vec<Report> = socket.ask(&Request::Status { name })?;
            show::status(&reports, json, output)
        }
        Command::Explain { topic, bridge, from } => {
            let from = from.map(|from| match from {
                From::Local => "local".to_owned(),
                From::Remote => "remote".to_owned(),
            });
            let lines: Vec<String> = socket.ask(&Request::Explain { topic, bridge, from })?;
            for line in lines {
                writeln!(output.out, "{line}")?;
            }
            Ok(())
        }
        Command::Pause { name } => {
            socket.ask::<()>(&Request::Pause { name: name.clone() })?;
            Ok(writeln!(output.out, "{name}: paused")?)
        }
        Command::Resume { name } => {
            socket.ask::<()>(&Request::Resume { name: name.clone() })?;
            Ok(writeln!(output.out, "{name}: resumed")?)
        }
        Command::Reload => {
            let lines: Vec<String> = socket.ask(&Request::Reload {})?;
            if lines.is_empty() {
                writeln!(output.out, "nothing has changed")?;
            }
            for line in lines {
                writeln!(output.out, "{line}")?;
            }
            Ok(())
        }
        Command::Drain { name, timeout } => {
            drain(&socket, &name, timeout.map(Duration::from_secs), output)
        }
    }
}

fn run_alone(file: Option<PathBuf>, socket: Option<&Path>) -> Result<(), Failure> {
    let Some(file) = file else {
        return Err(Failure::usage([
            "bridge: -c FILE is missing, or a command (--help lists them)",
        ]));
    };
    let config = Config::load(Some(&file), Overrides::default())
        .map_err(|errors| Failure::usage(errors.iter()))?;
    if config.local.is_none() {
        let words = "local: is missing: must be a table with the address of the local broker; bridges \
                     that a broker runs itself are for outpost run";
        return Err(Failure::usage([format!("{}: {words}", file.display())]));
    }
    run::begin(&config)?;
    let source = Source { file: Some(file), overrides: Overrides::default() };
    run::to_the_end(alone::run(config, source, socket))
}

fn drain(
    socket: &Socket,
    name: &str,
    limit: Option<Duration>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let mark: u64 = socket.ask(&Request::DrainFrom { name: name.to_owned() })?;
    let start = Instant::now();
    let mut shown: Option<Instant> = None;
    loop {
        let left: u64 = socket.ask(&Request::DrainLeft { name: name.to_owned(), mark })?;
        if left == 0 {
            return Ok(writeln!(output.out, "{name}: drained")?);
        }
        if limit.is_some_and(|limit| start.elapsed() >= limit) {
            let s = start.elapsed().as_secs();
            let why = format!("{name}: {left} messages are not acknowledged after {s} s");
            return Err(Failure::work(why));
        }
        if shown.is_none_or(|at| at.elapsed() >= DRAIN_SHOW) {
            shown = Some(Instant::now());
            writeln!(output.err, "{name}: {left} messages left")?;
        }
        thread::sleep(DRAIN_POLL);
    }
}

/// The way to a program that runs.
struct Socket {
    path: PathBuf,
}

impl Socket {
    fn find(config: Option<&Path>, socket: Option<PathBuf>) -> Result<Self, Failure> {
        if let Some(path) = socket {
            return Ok(Self { path });
        }
        let config = Config::load(config, Overrides::default())
            .map_err(|errors| Failure::usage(errors.iter()))?;
        if config.local.is_some() {
            let words =
                "bridges without a broker have no store to find them by: give --socket PATH";
            return Err(Failure::usage([words]));
        }
        Ok(Self { path: config.store.path.join(SOCKET_NAME) })
    }

    fn ask<T: DeserializeOwned>(&self, request: &Request) -> Result<T, Failure> {
        let answer = self.exchange(request).map_err(|error| self.failed(&error))?;
        let value = match answer {
            Answer::Ok(value) => value,
            Answer::Error(why) => return Err(Failure::works(why.lines())),
        };
        serde_json::from_value(value).map_err(|error| {
            Failure::work(format!("{}: an answer of another version: {error}", self.path.display()))
        })
    }

    fn exchange(&self, request: &Request) -> io::Result<Answer> {
        let mut stream = UnixStream::connect(&self.path)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.set_write_timeout(Some(ANSWER_LIMIT))?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line)?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        if answer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_str(&answer)?)
    }

    fn failed(&self, error: &io::Error) -> Failure {
        let path = self.path.display();
        Failure::work(match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                format!("{path}: nobody runs with this control socket")
            }
            io::ErrorKind::UnexpectedEof => format!("{path}: the program ended"),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                format!("{path}: the program does not answer")
            }
            _ => format!("{path}: {}", io_reason(error)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::output::capture;
    use super::*;

    #[test]
    fn without_a_broker_it_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("control.sock");
        let command = Some(Command::Status { name: None, json: false });
        let arguments = Arguments { command, config: None, socket: Some(socket.clone()) };
        let (out, err, code) = capture(|output| execute(arguments, output));
        let expected =
            format!("outpost: {}: nobody runs with this control socket\n", socket.display());
        assert_eq!((out.as_str(), err, code), ("", expected, 1));
    }
}
