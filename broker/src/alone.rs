//! Bridges as a program of their own: between brokers that are elsewhere, with none inside.
//!
//! It keeps nothing: what is under way is in the sessions of the brokers, so that it may be killed and
//! started anew at any moment, here or on another machine.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tracing::info;

use crate::admin::{ControlSocket, Operator};
use crate::bridges::{self, Bridges};
use crate::config::{Config, io_reason};
use crate::reload::{Reloader, Source};
use crate::server::ServerError;

/// How long links may take to say good-bye.
const FAREWELL: Duration = Duration::from_millis(1500);

/// Runs the bridges of a configuration with `[local]` until SIGTERM or SIGINT. `socket`: where the
/// operator's commands are taken; none: nowhere.
///
/// # Errors
/// What keeps it from starting.
pub async fn run(config: Config, source: Source, socket: Option<&Path>) -> Result<(), ServerError> {
    let prepared = bridges::prepared(&config.bridges)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(ServerError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServerError::Signals)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(ServerError::Signals)?;
    let control = socket.map(bind).transpose()?;
    let bridges = Bridges::start(prepared, None, 0);
    let reloader = Arc::new(Reloader::new(source, config, bridges.clone()));
    let mut tasks = JoinSet::new();
    if let Some(control) = control {
        let operator = Operator { bridges: bridges.clone(), reloader: reloader.clone() };
        tasks.spawn(control.run(operator));
    }
    loop {
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM: ending"),
            _ = interrupt.recv() => info!("SIGINT: ending"),
            Some(()) = hangup.recv() => {
                let reloader = reloader.clone();
                // It has told the log what came of it.
                tasks.spawn(async move { drop(reloader.reload().await) });
                continue;
            }
        }
        break;
    }
    tasks.shutdown().await;
    bridges.stop(FAREWELL).await;
    info!("ended");
    Ok(())
}

/// No lock of a store says that nobody else uses the socket.
fn bind(path: &Path) -> Result<ControlSocket, ServerError> {
    let failed = |why: String| ServerError::Control { path: path.to_owned(), why };
    if UnixStream::connect(path).is_ok() {
        return Err(failed("another program runs with this control socket".into()));
    }
    if path.exists() && !is_socket(path) {
        return Err(failed("is there, and no socket".into()));
    }
    ControlSocket::bind(path).map_err(|error: io::Error| {
        failed(format!("cannot make the control socket: {}", io_reason(&error)))
    })
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    path.symlink_metadata().is_ok_and(|found| found.file_type().is_socket())
}
