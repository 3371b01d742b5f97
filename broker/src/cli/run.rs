//! `outpost run`.

use std::path::PathBuf;

use clap::Args;
use tokio::runtime;
use tracing::warn;

use super::output::Failure;
use crate::config::{Config, ListenAddress, Overrides, io_reason};
use crate::reload::Source;
use crate::server::{self, ServerError};

/// Run the broker until it is told to end (SIGTERM, Ctrl-C)
///
/// Without a file: a broker for this machine alone, on 127.0.0.1:1883, with its store in
/// ./outpost-data if that exists, else in the user's data directory.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration file
    #[arg(short = 'c', long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Listen on this address ("host:port") beside those that the file names; repeatable
    #[arg(long, value_name = "ADDR")]
    listen: Vec<ListenAddress>,
    /// Keep the store in this directory, whatever the file says
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

pub(super) fn execute(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { config: file, listen, data } = arguments;
    let source = Source { file, overrides: Overrides { listen, data } };
    let config = Config::load(source.file.as_deref(), source.overrides.clone())
        .map_err(|errors| Failure::usage(errors.iter()))?;
    if let (Some(_), Some(file)) = (&config.local, &source.file) {
        let words = "local: a file with [local] is for outpost bridge, which has no broker inside";
        return Err(Failure::usage([format!("{}: {words}", file.display())]));
    }
    begin(&config)?;
    to_the_end(server::run(config, source))
}

/// Sets the log up, and says what is unwise in the configuration.
pub(super) fn begin(config: &Config) -> Result<(), Failure> {
    crate::logging::init(&config.log).map_err(|error| Failure::usage([error]))?;
    for warning in config.warnings() {
        warn!("{warning}");
    }
    Ok(())
}

/// Runs a program until it ends.
pub(super) fn to_the_end(
    program: impl Future<Output = Result<(), ServerError>>,
) -> Result<(), Failure> {
    let runtime = runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::work(format!("cannot start threads: {}", io_reason(&error))))?;
    let ended = runtime.block_on(program).map_err(Failure::from);
    // What is not over now is nobody's business any more, such as looking up a bridge's name where
    // no name server answers: dropping the runtime would wait for it.
    runtime.shutdown_background();
    ended
}

/// A file that the configuration names is part of the configuration.
impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Config(errors) => Self::usage(errors.iter()),
            other => Self::work(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::TcpListener;

    use clap::Parser;

    use super::super::output::capture;
    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parse(line: &[&str]) -> Result<Arguments, clap::Error> {
        Line::try_parse_from([&["run"], line].concat()).map(|line| line.arguments)
    }

    #[test]
    fn what_the_user_types() {
        let arguments =
            parse(&["-c", "f", "--listen", "[::1]:1", "--listen", "a:2", "--data", "d"]).unwrap();
        assert_eq!(arguments.config, Some("f".into()));
        let listen: Vec<_> = arguments.listen.iter().map(ToString::to_string).collect();
        assert_eq!(
            (listen, arguments.data),
            (vec!["[::1]:1".into(), "a:2".into()], Some("d".into()))
        );
        let error = parse(&["--listen", "1883"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(
            error.to_string().contains(
                "invalid value '1883' for '--listen <ADDR>': must be \
                                            \"host:port\""
            ),
            "{error}"
        );
    }

    #[test]
    fn a_wrong_file_is_2() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("f.toml");
        fs::write(&file, "[store]\ncommit_interval_ms = -1\n").unwrap();
        let arguments = parse(&["-c", file.to_str().unwrap()]).unwrap();
        let (_, err, code) = capture(|_| execute(arguments));
        let expected = "store.commit_interval_ms = -1: must be 0 to 60000";
        assert_eq!(err, format!("outpost: {}:2: {expected}\n", file.display()));
        assert_eq!(code, 2);
    }

    #[test]
    fn a_password_file_that_is_wrong_is_2_as_well() {
        let errors = crate::config::ConfigErrors::of_file("passwords".as_ref(), "is wrong");
        let (_, err, code) = capture(|_| Err(ServerError::Config(errors).into()));
        assert_eq!((err.as_str(), code), ("outpost: passwords: is wrong\n", 2));
    }

    /// The whole way, up to a port that is taken: the one test here that sets the log up.
    #[test]
    fn a_port_in_use_is_1_and_one_line() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let line = ["--listen", &address, "--data", data.to_str().unwrap()];
        let (_, err, code) = capture(|_| execute(parse(&line).unwrap()));
        let expected =
            format!("outpost: cannot listen on {address}: another program listens there already\n");
        assert_eq!((err, code), (expected, 1));
    }
}
