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
    /// The command, where its name stands in front of every line.
    command: Option<&'static str>,
    /// What the user reads, one line for each error.
    lines: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Something failed at work: exit code 1.
    Work,
    /// The command line or the configuration is wrong: exit code 2.
    Usage,
    /// An exit code that says more, as those of mosquitto's clients.
    Code(u8),
}

impl Failure {
    /// Something failed at work.
    pub(super) fn work(line: impl Display) -> Self {
        Self { kind: Kind::Work, command: None, lines: vec![line.to_string()] }
    }

    /// The same in several lines.
    pub(super) fn works(lines: impl IntoIterator<Item = impl Display>) -> Self {
        Self { kind: Kind::Work, ..Self::usage(lines) }
    }

    /// The command line or the configuration is wrong.
    pub(super) fn usage(lines: impl IntoIterator<Item = impl Display>) -> Self {
        let lines = lines.into_iter().map(|line| line.to_string()).collect();
        Self { kind: Kind::Usage, command: None, lines }
    }

    /// A client ends with this exit code; no line: the user knows already, or wants no errors.
    pub(super) fn code(code: u8, line: Option<String>) -> Self {
        Self { kind: Kind::Code(code), command: None, lines: line.into_iter().collect() }
    }

    /// The same with the name of the command in front of every line.
    pub(super) fn of(self, command: &'static str) -> Self {
        Self { command: Some(command), ..self }
    }

    /// Tells the user.
    pub(super) fn report(&self, output: &mut Output<'_>) -> ExitCode {
        for line in &self.lines {
            // Nobody is left to tell that standard error is closed.
            match self.command {
                Some(command) => writeln!(output.err, "outpost {command}: {line}").ok(),
                None => writeln!(output.err, "outpost: {line}").ok(),
            };
        }
        ExitCode::from(self.exit_code())
    }

    fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Work => 1,
            Kind::Usage => 2,
            Kind::Code(code) => code,
        }
    }
}

/// Standard output cannot be written to. Where its reader has had enough (`| head`), that is no
/// fault, and nothing to tell.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::code(0, None);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_has_had_enough_is_no_fault() {
        let ended = |kind| capture(|_| Err(Failure::from(io::Error::from(kind))));
        assert_eq!(ended(io::ErrorKind::BrokenPipe), (String::new(), String::new(), 0));
        let (_, err, code) = ended(io::ErrorKind::StorageFull);
        assert_eq!(code, 1);
        assert!(err.starts_with("outpost: cannot write: "), "{err}");
    }
}
