//! The control socket: how the operator's commands reach a program that runs.
//!
//! A Unix socket in the data directory, for its owner alone. Each connection brings one request, a
//! line of JSON, and gets one answer, a line of JSON as well: `{"ok": ...}` or `{"error": "..."}`.
//!
//! # Bounds
//! [`CONNECTIONS_MAX`] connections at a time (more wait in the system's queue), [`LINE_BYTES_MAX`] for a
//! request, [`LINE_LIMIT`] to send it and as long to take the answer.

mod request;

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::debug;

pub(crate) use request::{Answer, Operator, Request};

/// The name of the socket in the data directory.
pub(crate) const SOCKET_NAME: &str = "control.sock";

/// Connections at a time.
const CONNECTIONS_MAX: usize = 8;

/// Bytes of a request.
const LINE_BYTES_MAX: u64 = 128 << 10;

/// For a request to come, and for its answer to be taken.
const LINE_LIMIT: Duration = Duration::from_secs(5);

/// After a failure to accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// The socket. Dropped, it is removed.
pub(crate) struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Makes it, in the place of one that an earlier run left. The caller knows that nobody else
    /// runs: it holds the lock of the store.
    ///
    /// # Errors
    /// Of the system; a path that is longer than the system allows for a socket, for one.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        // It gets its name when nobody else can open it any more.
        let new = path.with_extension("new");
        remove_if_there(&new)?;
        let listener = UnixListener::bind(&new)?;
        fs::set_permissions(&new, Permissions::from_mode(0o600))?;
        fs::rename(&new, path)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Serves requests for as long as it is polled.
    pub(crate) async fn run(self, operator: impl Into<Arc<Operator>>) {
        let operator = operator.into();
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let place = places.clone().acquire_owned().await;
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let operator = operator.clone();
                    tokio::spawn(async move {
                        let _place = place;
                        if let Err(error) = serve(stream, &operator).await {
                            debug!(%error, "a control connection failed");
                        }
                    });
                }
                Err(error) => {
                    debug!(%error, "cannot accept a control connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // The next start replaces one that stays.
        fs::remove_file(&self.path).ok();
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

async fn serve(mut stream: UnixStream, operator: &Arc<Operator>) -> io::Result<()> {
    let mut line = String::new();
    let mut reader = BufReader::new((&mut stream).take(LINE_BYTES_MAX));
    timeout(LINE_LIMIT, reader.read_line(&mut line)).await??;
    let answer = match serde_json::from_str(&line) {
        _ if !line.ends_with('\n') => {
            Answer::Error(format!("a request is one line of up to {LINE_BYTES_MAX} bytes"))
        }
        Ok(request) => operator.obey(request).await,
        Err(error) => Answer::Error(format!("no request that is known: {error}")),
    };
    let mut line = serde_json::to_vec(&answer).map_err(io::Error::other)?;
    line.push(b'\n');
    timeout(LINE_LIMIT, stream.write_all(&line)).await??;
    Ok(())
}
