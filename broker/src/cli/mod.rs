//! The command line: what the user typed, and one module for each command.
//!
//! What a command has to say goes to standard output, errors and warnings to standard error, one
//! clear line each. Exit codes: 0 fine, 1 a failure at work, 2 usage or configuration; `pub` and `sub`
//! have more, as mosquitto_pub and mosquitto_sub.

mod bridge;
mod check;
mod client;
mod output;
mod passwd;
mod publish;
mod run;
mod store;
mod subscribe;
mod version;

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use output::{Failure, Output};

/// An MQTT edge broker that keeps every message it acknowledged.
#[derive(Debug, Parser)]
#[command(name = "outpost", version, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Arguments),
    Check(check::Arguments),
    Bridge(bridge::Arguments),
    Passwd(passwd::Arguments),
    Store(store::Arguments),
    Pub(Box<publish::Arguments>),
    Sub(Box<subscribe::Arguments>),
    Version(version::Arguments),
}

/// Does what the command line of this process asks for.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(asked_or_wrong) => return usage(&asked_or_wrong),
    };
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let mut output = Output { out: &mut out, err: &mut err };
    match execute(arguments.command, &mut output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(&mut output),
    }
}

fn execute(command: Command, output: &mut Output<'_>) -> Result<(), Failure> {
    match command {
        Command::Run(arguments) => run::execute(arguments),
        Command::Check(arguments) => check::execute(&arguments, output),
        Command::Bridge(arguments) => bridge::execute(arguments, output),
        Command::Passwd(arguments) => passwd::execute(&arguments, &mut passwd::terminal_or_stdin()),
        Command::Store(arguments) => store::execute(&arguments, output),
        Command::Pub(arguments) => publish::execute(*arguments),
        Command::Sub(arguments) => subscribe::execute(*arguments, output),
        Command::Version(arguments) => version::execute(&arguments, output),
    }
}

/// `--help` and `--version` come this way too; they go to standard output, and are fine.
fn usage(error: &clap::Error) -> ExitCode {
    // Nobody is left to tell that standard error is closed.
    error.print().ok();
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn usage_errors_are_2_and_help_is_fine() {
        for (line, code) in [
            (&["outpost"][..], 2),
            (&["outpost", "frobnicate"], 2),
            (&["outpost", "check"], 2),
            (&["outpost", "passwd", "f", "u", "-D", "-c"], 2),
            (&["outpost", "passwd", "f", "u", "password"], 2),
            (&["outpost", "passwd", "-b", "f", "u"], 2),
            (&["outpost", "store"], 2),
            (&["outpost", "store", "export"], 2),
            (&["outpost", "--help"], 0),
            (&["outpost", "--version"], 0),
        ] {
            assert_eq!(Arguments::try_parse_from(line).unwrap_err().exit_code(), code, "{line:?}");
        }
    }
}
