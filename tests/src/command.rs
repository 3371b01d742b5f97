//! A command-line client as a process: its input, its lines, its end.

use std::io::{Read, Write};
use std::process::{self, Child, ChildStdin, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::broker::{DEADLINE, binary};

/// How often a process is asked whether it has ended, once its output has.
const POLL: Duration = Duration::from_millis(2);

/// So many bytes are shown of what a command wrote when what was waited for did not come.
const SHOWN: usize = 4_096;

/// A running command. Dropped, it is killed; if the test failed, what it wrote to standard error is
/// shown.
#[derive(Debug)]
pub struct Command {
    child: Child,
    input: Option<ChildStdin>,
    output: Arc<Pipe>,
    errors: Arc<Pipe>,
    /// How much of the output was taken by [`Command::line`].
    taken: usize,
}

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its exit code; None: a signal ended it.
    pub code: Option<i32>,
    /// All that it wrote to standard output.
    pub output: Vec<u8>,
    /// All that it wrote to standard error.
    pub errors: String,
}

impl Ended {
    /// Its output as text.
    ///
    /// # Panics
    /// When it ended with another exit code than 0, or its output is not UTF-8.
    #[track_caller]
    pub fn text(&self) -> &str {
        assert_eq!(self.code, Some(0), "{self:?}");
        str::from_utf8(&self.output).expect("the output is text")
    }
}

impl Command {
    /// Starts `outpost` with these arguments.
    pub fn outpost(arguments: &[&str]) -> Self {
        let program = binary();
        Self::start(program.to_str().expect("the path of the binary is UTF-8"), arguments)
    }

    /// Starts a program.
    ///
    /// # Panics
    /// When it cannot be started; `tests/install.sh` installs the foreign ones.
    pub fn start(program: &str, arguments: &[&str]) -> Self {
        let mut child = process::Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}; run tests/install.sh"));
        let input = child.stdin.take();
        let output = Pipe::of(child.stdout.take().expect("a pipe"));
        let errors = Pipe::of(child.stderr.take().expect("a pipe"));
        Self { child, input, output, errors, taken: 0 }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes to its standard input.
    #[track_caller]
    pub fn write(&mut self, bytes: &[u8]) {
        let input = self.input.as_mut().expect("the input is open");
        input.write_all(bytes).expect("write to the command");
    }

    /// Closes its standard input.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// The next line of its output, without the line feed.
    #[track_caller]
    pub fn line(&mut self) -> String {
        self.line_within(DEADLINE)
    }

    /// The same for a line that may take longer than others, or for one of very many.
    ///
    /// # Panics
    /// When none comes in `within`.
    #[track_caller]
    pub fn line_within(&mut self, within: Duration) -> String {
        let taken = self.taken;
        let found = self.output.wait_within(within, |bytes| {
            bytes[taken..].iter().position(|byte| *byte == b'\n').map(|len| {
                String::from_utf8(bytes[taken..taken + len].to_vec()).expect("a line of text")
            })
        });
        let line = found.unwrap_or_else(|seen| panic!("no line in {within:?} after: {seen}"));
        self.taken += line.len() + 1;
        line
    }

    /// The next line of its output that holds `text`; those before it are passed over.
    #[track_caller]
    pub fn line_with(&mut self, text: &str) -> String {
        loop {
            let line = self.line();
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Waits until `text` stands in what it wrote to standard error, `times` times.
    #[track_caller]
    pub fn wait_for_error(&self, text: &str, times: usize) {
        let found = self.errors.wait(|bytes| {
            (String::from_utf8_lossy(bytes).matches(text).count() >= times).then_some(())
        });
        found.unwrap_or_else(|seen| panic!("no {text:?} in {DEADLINE:?} in: {seen}"));
    }

    /// Sends it a signal, by its name.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let status = process::Command::new("kill").args(["-s", name, &pid]).status();
        assert!(status.expect("run kill").success(), "kill -s {name}");
    }

    /// Closes its input and waits for its end.
    ///
    /// # Panics
    /// When it does not end in time.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        self.close_input();
        let output = self.output.wait_to_end();
        let errors = self.errors.wait_to_end();
        let errors = String::from_utf8_lossy(&errors).into_owned();
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().expect("wait for the command") {
                return Ended { code: status.code(), output, errors };
            }
            assert!(Instant::now() < deadline, "the command does not end: {errors}");
            thread::sleep(POLL);
        }
    }
}

impl Drop for Command {
    #[allow(clippy::print_stderr, reason = "a failed test shows what the command had to say")]
    fn drop(&mut self) {
        // Either may fail only if it has ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let errors = self.errors.lock().bytes.clone();
            eprintln!("standard error of a command:\n{}", String::from_utf8_lossy(&errors));
        }
    }
}

/// What has come out of a process, and whether more can come.
#[derive(Debug, Default)]
struct Pipe {
    state: Mutex<PipeState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct PipeState {
    bytes: Vec<u8>,
    is_closed: bool,
}

impl Pipe {
    fn of(mut source: impl Read + Send + 'static) -> Arc<Self> {
        let pipe = Arc::new(Self::default());
        let writer = Arc::clone(&pipe);
        thread::spawn(move || {
            let mut block = [0; 16 * 1024];
            loop {
                let read = source.read(&mut block).unwrap_or(0);
                let mut state = writer.lock();
                state.bytes.extend_from_slice(&block[..read]);
                state.is_closed = read == 0;
                writer.changed.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
        pipe
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, PipeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<T>(&self, find: impl FnMut(&[u8]) -> Option<T>) -> Result<T, String> {
        self.wait_within(DEADLINE, find)
    }

    /// Waits until `find` finds something. Fails with the end of what there is, when it is too
    /// late.
    fn wait_within<T>(
        &self,
        within: Duration,
        mut find: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<T, String> {
        let deadline = Instant::now() + within;
        let mut state = self.lock();
        loop {
            if let Some(found) = find(&state.bytes) {
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.is_closed || left.is_zero() {
                let from = state.bytes.len().saturating_sub(SHOWN);
                return Err(String::from_utf8_lossy(&state.bytes[from..]).into_owned());
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    #[track_caller]
    fn wait_to_end(&self) -> Vec<u8> {
        let deadline = Instant::now() + DEADLINE;
        let mut state = self.lock();
        while !state.is_closed {
            let left = deadline.saturating_duration_since(Instant::now());
            let seen = || String::from_utf8_lossy(&state.bytes).into_owned();
            assert!(!left.is_zero(), "the command does not end; it wrote: {}", seen());
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.bytes.clone()
    }
}
