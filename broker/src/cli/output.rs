//! Where commands write, and how they fail.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

/// Standard output and standard error, or what stands for them in a test.
pub(super) struct Output<'o> {
    pub(super) out: &'o mut dyn Write,
    pub(super) err: &'o mut dyn Write,
}

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub(super) struct Failure {
    kind: Kind,
    /// What the user reads, one line for each error.
    lines: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Something failed at work: exit code 1.
    Work,
    /// The command line or the configuration is wrong: exit code 2.
    Usage,
}

impl Failure {
    /// Something failed at work.
    pub(super) fn work(line: impl Display) -> Self {
        Self { kind: Kind::Work, lines: vec![line.to_string()] }
    }

    /// The command line or the configuration is wrong.
    pub(super) fn usage(lines: impl IntoIterator<Item = impl Display>) -> Self {
        let lines = lines.into_iter().map(|line| line.to_string()).collect();
        Self { kind: Kind::Usage, lines }
    }

    /// Tells the user.
    pub(super) fn report(&self, output: &mut Output<'_>) -> ExitCode {
        for line in &self.lines {
            // Nobody is left to tell that standard error is closed.
            writeln!(output.err, "outpost: {line}").ok();
        }
        ExitCode::from(self.exit_code())
    }

    fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Work => 1,
            Kind::Usage => 2,
        }
    }
}

/// Standard output cannot be written to.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::work(format!("cannot write: {}", crate::config::io_reason(&error)))
    }
}

/// Runs a command in a test: what it wrote to standard output, what to standard error, and its exit
/// code.
#[cfg(test)]
pub(super) fn capture(
    command: impl FnOnce(&mut Output<'_>) -> Result<(), Failure>,
) -> (String, String, u8) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut output = Output { out: &mut out, err: &mut err };
    let code = match command(&mut output) {
        Ok(()) => 0,
        Err(failure) => {
            failure.report(&mut output);
            failure.exit_code()
        }
    };
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), code)
}
