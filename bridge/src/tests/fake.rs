//! Fake brokers behind in-memory streams: the model of `model.rs` with a connection to serve.
//!
//! They are rude in one way on purpose: while they write they do not read, and the streams between
//! hold little, so that whatever could block each other does.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::connect::{BoxedStream, Connecting, Connector};
use crate::link_error::{LinkError, Phase};
use crate::model::{Message, Model};
use crate::output::Output;

/// Bytes that an in-memory stream holds.
const STREAM_BYTES: usize = 1000;

/// A broker that can be cut off, silenced and made unreachable. Clones are the same broker.
#[derive(Clone)]
pub(super) struct FakeBroker {
    shared: Arc<Shared>,
}

struct Shared {
    model: Mutex<Model>,
    wake: Notify,
    reachable: AtomicBool,
    /// It takes bytes, and answers nothing.
    silent: AtomicBool,
    connection: Mutex<Option<AbortHandle>>,
}

impl FakeBroker {
    pub(super) fn new(model: Model) -> Self {
        let shared = Shared {
            model: Mutex::new(model),
            wake: Notify::new(),
            reachable: AtomicBool::new(true),
            silent: AtomicBool::new(false),
            connection: Mutex::new(None),
        };
        Self { shared: Arc::new(shared) }
    }

    pub(super) fn model(&self) -> MutexGuard<'_, Model> {
        self.shared.model.lock().expect("no test has panicked")
    }

    pub(super) fn publish(&self, message: Message) {
        self.model().publish(message);
        self.shared.wake.notify_one();
    }

    pub(super) fn set_reachable(&self, reachable: bool) {
        self.shared.reachable.store(reachable, Ordering::Relaxed);
        if !reachable {
            self.cut();
        }
    }

    pub(super) fn set_silent(&self, silent: bool) {
        self.shared.silent.store(silent, Ordering::Relaxed);
    }

    /// The connection breaks, with all that was on its way.
    pub(super) fn cut(&self) {
        let connection = self.shared.connection.lock().expect("no test has panicked").take();
        if let Some(connection) = connection {
            connection.abort();
        }
        self.model().close();
    }

    pub(super) fn connector(&self) -> Box<dyn Connector> {
        Box::new(self.clone())
    }

    /// Serves one connection, in place of the one before.
    pub(super) fn serve(&self, stream: BoxedStream) {
        self.cut();
        let task = tokio::spawn(self.clone().talk(stream));
        *self.shared.connection.lock().expect("no test has panicked") = Some(task.abort_handle());
    }

    async fn talk(self, mut stream: BoxedStream) {
        let mut input = Vec::new();
        let mut out = Output::default();
        loop {
            let open = self.model().handle_bytes(&mut input, &mut out);
            if open {
                self.model().send(&mut out);
            }
            if self.shared.silent.load(Ordering::Relaxed) {
                out = Output::default();
            }
            if stream.write_all(out.pending()).await.is_err() || stream.flush().await.is_err() {
                return;
            }
            out = Output::default();
            if !open {
                return;
            }
            tokio::select! {
                read = stream.read_buf(&mut input) => {
                    if matches!(read, Ok(0) | Err(_)) {
                        return;
                    }
                }
                () = self.shared.wake.notified() => {}
            }
        }
    }
}

impl Connector for FakeBroker {
    fn connect(&mut self) -> Connecting<'_> {
        Box::pin(async move {
            if !self.shared.reachable.load(Ordering::Relaxed) {
                let what = "192.0.2.1:1883: connection refused".into();
                return Err(LinkError::Transport { phase: Phase::Tcp, what });
            }
            let (ours, theirs) = duplex(STREAM_BYTES);
            self.serve(Box::new(theirs));
            Ok(Box::new(ours) as BoxedStream)
        })
    }
}

/// Waits until `holds`, for an hour of virtual time at the most.
pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3_600_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{what}: not within an hour");
}

/// Numbers that look random and are the same in each run.
pub(super) fn numbers(seed: u64) -> impl Iterator<Item = u64> {
    let mut backoff = crate::backoff::Backoff::new(1 << 20, 1 << 20, seed);
    std::iter::repeat_with(move || backoff.next_delay_ms())
}

/// Payloads without immediate repetitions and later ones.
pub(super) fn without_repetitions(payloads: Vec<String>) -> VecDeque<String> {
    let mut seen = std::collections::BTreeSet::new();
    payloads.into_iter().filter(|payload| seen.insert(payload.clone())).collect()
}
