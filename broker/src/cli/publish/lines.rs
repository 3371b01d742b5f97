//! The lines of standard input, as they come.
//!
//! A thread reads, since a terminal or a pipe cannot be waited for otherwise. It is a few blocks
//! ahead at most; the longest line is the longest payload.

use std::io::{self, Read};
use std::thread;

use tokio::sync::mpsc;

use super::PAYLOAD_BYTES_MAX;

const BLOCK_BYTES: usize = 64 * 1024;
const BLOCKS_AHEAD: usize = 4;

/// What may fail with lines.
#[derive(Debug)]
pub(super) enum LineError {
    Read(io::Error),
    TooLong,
}

/// Lines without their ends, one after the other. The last one needs no end.
#[derive(Debug)]
pub(super) struct Lines {
    blocks: mpsc::Receiver<io::Result<Vec<u8>>>,
    buffer: Vec<u8>,
    /// Where the present line starts in `buffer`, and up to where no line feed was found.
    start: usize,
    searched: usize,
    /// Where its line feed is.
    end: Option<usize>,
    has_ended: bool,
}

impl Lines {
    pub(super) fn of_stdin() -> Self {
        Self::of(io::stdin())
    }

    fn of(input: impl Read + Send + 'static) -> Self {
        let (sender, blocks) = mpsc::channel(BLOCKS_AHEAD);
        thread::spawn(move || read_blocks(input, &sender));
        Self { blocks, buffer: Vec::new(), start: 0, searched: 0, end: None, has_ended: false }
    }

    /// The present line; None: it has not come yet, or there is none any more.
    pub(super) fn current(&mut self) -> Option<&[u8]> {
        if self.end.is_none() {
            let found = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n');
            self.end = found.map(|at| self.searched + at);
            self.searched = self.end.unwrap_or(self.buffer.len());
        }
        match self.end {
            Some(end) => Some(&self.buffer[self.start..end]),
            None if self.has_ended && self.start < self.buffer.len() => {
                Some(&self.buffer[self.start..])
            }
            None => None,
        }
    }

    /// The present line is done with.
    pub(super) fn advance(&mut self) {
        self.start = self.end.take().map_or(self.buffer.len(), |end| end + 1);
        self.searched = self.start;
    }

    /// Whether there are no more lines.
    pub(super) fn is_done(&mut self) -> bool {
        self.has_ended && self.current().is_none()
    }

    /// Whether the present line is still to be read.
    pub(super) fn wants_more(&mut self) -> bool {
        !self.has_ended && self.current().is_none()
    }

    /// Waits for more of the input.
    pub(super) async fn read_more(&mut self) -> Result<(), LineError> {
        match self.blocks.recv().await {
            Some(Ok(block)) => {
                self.buffer.drain(..self.start);
                self.searched -= self.start;
                self.start = 0;
                self.buffer.extend_from_slice(&block);
                if self.buffer.len() > PAYLOAD_BYTES_MAX && self.current().is_none() {
                    return Err(LineError::TooLong);
                }
            }
            Some(Err(error)) => return Err(LineError::Read(error)),
            None => self.has_ended = true,
        }
        Ok(())
    }
}

fn read_blocks(mut input: impl Read, blocks: &mpsc::Sender<io::Result<Vec<u8>>>) {
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        let read = match input.read(&mut block) {
            Ok(0) => return,
            Ok(len) => Ok(block[..len].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let has_failed = read.is_err();
        if blocks.blocking_send(read).is_err() || has_failed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Input that comes in these pieces.
    struct Pieces(VecDeque<&'static [u8]>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some(piece) = self.0.pop_front() else { return Ok(0) };
            buffer[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    fn all_lines(pieces: &[&'static [u8]]) -> Vec<Vec<u8>> {
        let mut lines = Lines::of(Pieces(pieces.iter().copied().collect()));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut found = Vec::new();
            while !lines.is_done() {
                while let Some(line) = lines.current() {
                    found.push(line.to_vec());
                    lines.advance();
                }
                if lines.wants_more() {
                    lines.read_more().await.unwrap();
                }
            }
            found
        })
    }

    #[test]
    fn lines_in_any_pieces() {
        let pieces: &[&[u8]] = &[b"on", b"e\ntwo\r\n\nth", b"re", b"e\n\xff", b"last"];
        let expected: [&[u8]; 5] = [b"one", b"two\r", b"", b"three", b"\xfflast"];
        assert_eq!(all_lines(pieces), expected);
        assert_eq!(all_lines(&[b"a\n", b"b\n"]), [b"a", b"b"]);
        assert!(all_lines(&[]).is_empty());
        assert_eq!(all_lines(&[b"\n"]), [b""]);
    }

    #[test]
    fn a_failing_input_is_told() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::PermissionDenied.into())
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let error = runtime.block_on(Lines::of(Failing).read_more()).unwrap_err();
        assert!(matches!(error, LineError::Read(_)), "{error:?}");
    }
}
