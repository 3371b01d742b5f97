//! What happened in a run: a hash always, the words on request.

use std::fmt::{self, Write as _};

use outpost_broker::core::time::Instant;

/// The run's moments are told from here on.
pub(crate) const EPOCH: Instant = Instant(1_700_000_000_000);

/// Takes in everything that happens. Two runs with the same hash were the same.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    lines: u64,
    is_printed: bool,
    line: String,
}

impl Trace {
    /// A trace of nothing yet; `is_printed`: each line goes to standard output as well.
    pub(crate) fn new(is_printed: bool) -> Self {
        // The offset basis of FNV-1a.
        Self { hash: 0xcbf2_9ce4_8422_2325, lines: 0, is_printed, line: String::new() }
    }

    /// Something happened.
    pub(crate) fn tell(&mut self, now: Instant, what: fmt::Arguments<'_>) {
        self.line.clear();
        // Writing to a string cannot fail.
        let _ = write!(self.line, "{:>9} {what}", now.since_ms(EPOCH));
        self.take_in_line();
        self.lines += 1;
        if self.is_printed {
            self.print();
        }
    }

    /// Bytes that are part of what happened.
    pub(crate) fn take_in(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// The hash of everything so far.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// How many things happened.
    pub(crate) fn lines(&self) -> u64 {
        self.lines
    }

    fn take_in_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        self.take_in(line.as_bytes());
        self.line = line;
    }

    #[allow(clippy::print_stdout, reason = "the trace was asked for")]
    fn print(&self) {
        println!("{}", self.line);
    }
}
