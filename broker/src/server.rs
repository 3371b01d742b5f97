//! The broker as a program: store, core, listeners and bridges put together, and taken apart again.
//!
//! Order matters at both ends. At the start the store is read and every route rebuilt before the
//! first listener opens; at the end nobody is let in any more, the core's last batch is committed,
//! and only then the store is closed.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use outpost_bridge::config::BridgeConfig;
use outpost_bridge::peering::Features;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tracing::{error, info, warn};

use crate::admin::{ControlSocket, Operator, SOCKET_NAME};
use crate::auth::method::AuthMethods;
use crate::auth::{Authenticator, ListenerAuth, hashes_at_once};
use crate::bridges::{self, Bridges};
use crate::config::{self, Config, ConfigErrors, OnCorrupt};
use crate::core::{Broker, CommitPolicy, Settings};
use crate::file_limit;
use crate::net::clock::Clock;
use crate::net::handshake::Door;
use crate::net::listener::{Census, Listener};
use crate::net::shared::Shared;
use crate::reload::{Reloader, Source};
use crate::store::{
    Count, Found, RedbStore, Salvaged, Store, StoreError, StoreOptions, check_suspect, salvage,
    spawn_reader, spawn_writer, suspect, words_of,
};
use crate::tls;

/// How long connections may take to write what they still have, once the broker ends.
const FAREWELL: Duration = Duration::from_millis(500);

/// What `$SYS/broker/version` says.
const VERSION: &str = concat!("outpost version ", env!("CARGO_PKG_VERSION"));

/// Why the broker did not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store is damaged, and the configuration has the broker refuse to start then.
    #[error(
        "{0}. It was left as it is, since store.on_corrupt = \"refuse\"; with \"salvage\" the broker \
         sets the file aside and starts with what can be read of it"
    )]
    Damaged(StoreError),
    /// Password file, certificates.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// A listener's address.
    #[error("cannot listen on {address}: {why}")]
    Listen {
        /// As configured.
        address: String,
        /// In words.
        why: String,
    },
    /// The control socket that was asked for.
    #[error("{path}: {why}", path = path.display())]
    Control {
        /// As it was named.
        path: PathBuf,
        /// In words.
        why: String,
    },
    /// The TLS files of a bridge.
    #[error("bridge {name}: {why}")]
    Bridge {
        /// Its name.
        name: String,
        /// In words.
        why: String,
    },
    /// The system.
    #[error("cannot watch for signals: {0}")]
    Signals(io::Error),
}

/// Runs a broker until SIGTERM or SIGINT, or until its store fails.
///
/// # Errors
/// What keeps it from starting, and a store that can no longer be written: then nothing more is
/// acknowledged, and the process is to end.
pub async fn run(config: Config, source: Source) -> Result<(), ServerError> {
    let data_dir = config.store.path.clone();
    let mut server = Server::start(config, source).await?;
    let ended = server.wait().await;
    let stopped = server.stop().await;
    let ended = ended.and(stopped);
    if let Err(ServerError::Store(failure)) = &ended
        && failure.may_be_damage()
        && let Err(error) = suspect(&data_dir, failure)
    {
        error!(%error, "cannot have the next start check the store");
    }
    ended
}

/// A running broker.
struct Server {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
    bridges: Arc<Bridges>,
    writer: std::thread::JoinHandle<()>,
    reader: std::thread::JoinHandle<()>,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    reloader: Arc<Reloader>,
    store_failure: mpsc::Receiver<StoreError>,
}

impl Server {
    async fn start(config: Config, source: Source) -> Result<Self, ServerError> {
        if let Err(connections) = file_limit::raise(config.limits.connections_max) {
            let wanted = config.limits.connections_max;
            warn!(
                connections,
                wanted,
                "the system allows fewer connections than limits.connections_max (ulimit -n)"
            );
        }
        let authenticator = Arc::new(Authenticator::from_config(&config.auth)?);
        let acceptors = acceptors(&config)?;
        let prepared = bridges::prepared(&config.bridges)?;
        let clock = Clock::start();
        let (store, broker) = open(&config, clock)?;
        let shared = Shared::new(broker, clock);
        store.wait_for_space(shared.clone());
        let door = Arc::new(Door {
            shared: shared.clone(),
            authenticator,
            methods: AuthMethods::default(),
            hashing: Arc::new(Semaphore::new(hashes_at_once())),
            packet_bytes_max: config.limits.packet_bytes_max,
            connect_bytes_max: config.limits.connect_bytes_max.min(config.limits.packet_bytes_max),
        });
        // Before anybody can see that the broker runs: from then on it ends in order.
        let terminate = signal(SignalKind::terminate()).map_err(ServerError::Signals)?;
        let interrupt = signal(SignalKind::interrupt()).map_err(ServerError::Signals)?;
        let hangup = signal(SignalKind::hangup()).map_err(ServerError::Signals)?;
        let control = control_socket(&config.store.path);
        let sockets = bind(&config).await?;
        // One from each thread of the store at most.
        let (failed, store_failure) = mpsc::channel(2);
        let on_failure = || {
            let failed = failed.clone();
            // The receiver lives as long as the server waits for it.
            move |error| drop(failed.try_send(error))
        };
        let reader = spawn_reader(store.reader(), shared.clone(), on_failure());
        let writer = spawn_writer(Box::new(store), shared.clone(), on_failure());
        let mut tasks = JoinSet::new();
        let timers = shared.clone();
        tasks.spawn(async move { timers.run_timers().await });
        let census = Census::new(config.limits.connections_max, config.limits.connecting_max);
        for ((listener, socket), tls) in config.listeners.iter().zip(sockets).zip(acceptors) {
            let address = socket.local_addr().map_or(String::new(), |a| a.to_string());
            info!(%address, tls = tls.is_some(), "listening");
            let listener = Listener {
                socket,
                tls,
                policy: ListenerAuth::from(listener),
                door: door.clone(),
                census: census.clone(),
                connect_timeout: Duration::from_millis(config.limits.connect_timeout_ms),
            };
            tasks.spawn(listener.run());
        }
        let bridges = Bridges::start(prepared, Some(door), config.sys.interval_s);
        tasks.spawn(bridges.clone().tell());
        let reloader = Arc::new(Reloader::new(source, config.clone(), bridges.clone()));
        if let Some(control) = control {
            let operator = Operator { bridges: bridges.clone(), reloader: reloader.clone() };
            tasks.spawn(control.run(operator));
        }
        Ok(Self {
            shared,
            tasks,
            bridges,
            writer,
            reader,
            terminate,
            interrupt,
            store_failure,
            hangup,
            reloader,
        })
    }

    /// Until the broker is told to end, or has to.
    async fn wait(&mut self) -> Result<(), ServerError> {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => info!("SIGTERM: ending"),
                _ = self.interrupt.recv() => info!("SIGINT: ending"),
                Some(failure) = self.store_failure.recv() => {
                    error!(%failure, "nothing more is acknowledged: ending");
                    return Err(failure.into());
                }
                Some(()) = self.hangup.recv() => {
                    let reloader = self.reloader.clone();
                    // It has told the log what came of it.
                    self.tasks.spawn(async move { drop(reloader.reload().await) });
                    continue;
                }
            }
            return Ok(());
        }
    }

    /// Says good-bye, commits what is left, and closes the store.
    async fn stop(mut self) -> Result<(), ServerError> {
        self.tasks.shutdown().await;
        // A link that is stuck does not hold up the end.
        self.bridges.stop(FAREWELL).await;
        self.shared.enter(None, |core| core.broker.handle_shutdown(core.now));
        let (writer, reader) = (self.writer, self.reader);
        self.shared.end();
        let joined = tokio::task::spawn_blocking(move || (writer.join(), reader.join()));
        tokio::time::sleep(FAREWELL).await;
        // One that panicked has said so.
        let _ = joined.await;
        if let Ok(failure) = self.store_failure.try_recv() {
            error!(%failure, "what was not acknowledged is not stored");
            return Err(failure.into());
        }
        info!("ended");
        Ok(())
    }
}

/// The broker does what it is for without it.
fn control_socket(data_dir: &Path) -> Option<ControlSocket> {
    let path = data_dir.join(SOCKET_NAME);
    let bound = ControlSocket::bind(&path);
    bound.inspect_err(|error| warn!(path = %path.display(), %error, "no control socket")).ok()
}

/// Opens the store and rebuilds the core from it. A damaged store is salvaged first, if it may be.
fn open(config: &Config, clock: Clock) -> Result<(RedbStore, Broker), ServerError> {
    let options = StoreOptions {
        cache_bytes: usize::try_from(config.store.cache_bytes).unwrap_or(usize::MAX),
        ..StoreOptions::default()
    };
    match restore(config, &options, clock) {
        Err(damage) if damage.is_damage() => match config.store.on_corrupt {
            OnCorrupt::Salvage => {
                error!(%damage, "the store is damaged: taking over what can be read of it");
                let salvaged = salvage(&config.store.path, &options)?;
                tell(&salvaged);
                let (store, mut broker) = restore(config, &options, clock)?;
                let Count { kept, lost } = salvaged.found.total();
                broker.count_salvaged(kept, lost);
                Ok((store, broker))
            }
            OnCorrupt::Refuse => Err(ServerError::Damaged(damage)),
        },
        restored => Ok(restored?),
    }
}

/// What was lost has to be seen.
fn tell(salvaged: &Salvaged) {
    let Salvaged { set_aside, found } = salvaged;
    let kept_as = set_aside.display();
    let Found { sessions, subscriptions, retained, origins, messages, damaged_pages } = found;
    let told = [
        ("sessions", sessions),
        ("subscriptions", subscriptions),
        ("retained messages", retained),
        ("origins of bridged messages", origins),
        ("queued messages", messages),
    ];
    for (rows, Count { kept, lost }) in told {
        error!(rows, kept, lost = %words_of(*lost), "salvaged");
    }
    error!(%kept_as, damaged_pages, "the damaged store was set aside; a new one holds what was salvaged");
}

/// Opens a sound store and rebuilds the core from it.
fn restore(
    config: &Config,
    options: &StoreOptions,
    clock: Clock,
) -> Result<(RedbStore, Broker), StoreError> {
    check_suspect(&config.store.path)?;
    let mut store = RedbStore::open(&config.store.path, options)?;
    let settings = Settings {
        limits: config.limits.clone(),
        commit: commit_policy(&config.store),
        topic_classes: config.store.topics.clone(),
        queues: config.queues.clone(),
        sys_interval_s: config.sys.interval_s,
        features: Features { zstd: true, interest: true },
        version: VERSION,
        seed: seed(),
    };
    let now = clock.now();
    let mut broker = Broker::new(now, settings);
    let mut restoring = broker.restore(now);
    let numbers = store.load(&mut restoring)?;
    restoring.finish(numbers);
    let (sessions, messages, retained) = broker.totals();
    info!(path = %config.store.path.display(), sessions, messages, retained, "store opened");
    let links: Vec<BridgeConfig> = bridges::links(&config.bridges).collect();
    let client_ids: Vec<String> = links.iter().map(BridgeConfig::client_id).collect();
    broker.end_internal_sessions_except(now, &client_ids);
    links.iter().for_each(|link| bridges::prepare(&mut broker, now, link));
    Ok((store, broker))
}

/// A number that nobody outside knows: the standard library's hash keys come from the system's
/// random source.
pub(crate) fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

fn commit_policy(store: &config::Store) -> CommitPolicy {
    CommitPolicy {
        interval_ms: store.commit_interval_ms,
        interval_max_ms: store.commit_interval_max_ms,
        flash_budget_per_day: store.flash_budget_per_day,
        lazy_interval_ms: store.lazy_commit_interval_ms,
        rows_max: usize::try_from(store.commit_ops_max).unwrap_or(usize::MAX),
        bytes_max: store.commit_bytes_max,
    }
}

fn acceptors(config: &Config) -> Result<Vec<Option<TlsAcceptor>>, ConfigErrors> {
    let acceptor = |listener: &config::Listener| {
        let Some(tls) = &listener.tls else { return Ok(None) };
        Ok(Some(TlsAcceptor::from(tls::server_config(tls)?)))
    };
    config.listeners.iter().map(acceptor).collect()
}

async fn bind(config: &Config) -> Result<Vec<TcpListener>, ServerError> {
    let mut sockets = Vec::new();
    for listener in &config.listeners {
        let address = listener.address.to_string();
        let failed = |error: io::Error| ServerError::Listen {
            address: address.clone(),
            why: match error.kind() {
                io::ErrorKind::AddrInUse => "another program listens there already".into(),
                io::ErrorKind::PermissionDenied => {
                    "ports below 1024 need a privilege (CAP_NET_BIND_SERVICE)".into()
                }
                _ => error.to_string(),
            },
        };
        let resolved: Vec<SocketAddr> =
            tokio::net::lookup_host(&address).await.map_err(failed)?.collect();
        sockets.push(TcpListener::bind(&*resolved).await.map_err(failed)?);
    }
    Ok(sockets)
}
