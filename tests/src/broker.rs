//! A broker process with a directory, a port and a log of its own.

use std::env;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use outpost_protocol::{Connect, ProtocolVersion};

use crate::client::RawClient;
use crate::port::free_port;

/// How long any single thing may take before a test gives up on it. Generous, since test machines
/// are busy; nothing waits this long when all is well.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// How often something is asked for that cannot be waited on (a process that ends, a port that
/// opens).
const POLL: Duration = Duration::from_millis(2);

/// A running broker. Dropped, it is killed and its directory removed; if the test failed, its log
/// is shown first.
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
    process: Option<Process>,
}

/// What belongs to a broker that this process started.
#[derive(Debug)]
struct Process {
    child: Option<Child>,
    dir: PathBuf,
    arguments: Vec<String>,
    /// A signal that it ignores, where it is not to.
    ignores: Option<&'static str>,
}

impl Broker {
    /// Starts a broker with the defaults, or takes the one that `OUTPOST_TEST_BROKER` names.
    pub fn start() -> Self {
        match external() {
            Some(address) => Self { address, process: None },
            None => Self::with_config(""),
        }
    }

    /// Starts a broker with `config` (TOML) as its configuration. In it, `{dir}` stands for the
    /// broker's own directory. It listens on a free port of 127.0.0.1 ([`Broker::address`]) beside
    /// any listener that the configuration names, with its store in `{dir}/data`.
    ///
    /// # Panics
    /// When the binary is missing, and when the broker ends or does not listen in time.
    pub fn with_config(config: &str) -> Self {
        Self::with_process(Process::new(config))
    }

    /// The same, for a broker that does not hear a signal, by its name without SIG.
    pub fn with_config_ignoring(signal: &'static str, config: &str) -> Self {
        let mut process = Process::new(config);
        process.ignores = Some(signal);
        Self::with_process(process)
    }

    fn with_process(mut process: Process) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        process.arguments.extend([
            "--listen".to_owned(),
            address.to_string(),
            "--data".to_owned(),
            process.dir.join("data").display().to_string(),
        ]);
        Self::launched(address, process)
    }

    /// Starts a broker with nothing but `config`, in which `{dir}` stands for the broker's own
    /// directory, as `outpost run -c FILE` does. It has to listen on `address`.
    ///
    /// # Panics
    /// When the binary is missing, and when the broker ends or does not listen in time.
    pub fn with_config_alone(config: &str, address: SocketAddr) -> Self {
        Self::launched(address, Process::new(config))
    }

    fn launched(address: SocketAddr, process: Process) -> Self {
        let mut broker = Self { address, process: Some(process) };
        broker.launch();
        broker
    }

    /// One broker with the defaults for all tests of this process that run at the same time. They
    /// use client identifiers and topics of their own ([`crate::unique`]).
    pub fn shared() -> Lease {
        static SHARED: Mutex<Weak<Broker>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let broker = shared.upgrade().unwrap_or_else(|| Arc::new(Self::start()));
        *shared = Arc::downgrade(&broker);
        Lease(broker)
    }

    /// Whether `OUTPOST_TEST_BROKER` names a broker: it cannot be configured, killed or restarted,
    /// and tests that need that have nothing to show.
    pub fn is_external() -> bool {
        external().is_some()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its own directory: `outpost.toml`, `stderr.log` and `data` are in it.
    pub fn dir(&self) -> &Path {
        &self.own().dir
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.own().child.as_ref().expect("the broker is running").id()
    }

    /// All that it has written to its standard error so far, over restarts.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    /// Waits until its log holds `text`.
    pub fn wait_for_log(&self, text: &str) {
        self.wait_for_log_within(text, DEADLINE);
    }

    /// The same for what may take longer than other things.
    pub fn wait_for_log_within(&self, text: &str, within: Duration) {
        let deadline = Instant::now() + within;
        while !self.log().contains(text) {
            assert!(Instant::now() < deadline, "no '{text}' in the log:\n{}", self.log());
            thread::sleep(POLL);
        }
    }

    /// Opens a network connection without sending anything.
    pub fn open(&self, version: ProtocolVersion) -> RawClient {
        RawClient::open(self.address, version)
    }

    /// Opens a network connection, sends `connect` and expects CONNACK with Success.
    pub fn connect(&self, connect: &Connect<'_>) -> RawClient {
        let mut client = self.open(connect.version);
        client.connect(connect);
        client
    }

    /// Kills it at once (SIGKILL) and waits until it is gone.
    pub fn kill(&mut self) {
        let mut child = self.own_mut().child.take().expect("the broker is running");
        child.kill().expect("kill the broker");
        child.wait().expect("wait for the broker");
    }

    /// Asks it to end (SIGTERM) without waiting.
    pub fn terminate(&self) {
        let status = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status();
        assert!(status.expect("run kill").success(), "kill -TERM");
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> ExitStatus {
        let mut child = self.own_mut().child.take().expect("the broker is running");
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = child.try_wait().expect("wait for the broker") {
                return status;
            }
            if Instant::now() > deadline {
                child.kill().expect("kill the broker");
                panic!("the broker did not end:\n{}", self.log());
            }
            thread::sleep(POLL);
        }
    }

    /// Starts it again after [`Broker::kill`] or [`Broker::wait`], same port, same store.
    pub fn restart(&mut self) {
        assert!(self.own().child.is_none(), "the broker is still running");
        self.launch();
    }

    /// Starts it again after [`Broker::kill`] or [`Broker::wait`] and kills it after so long, most
    /// likely before it listens.
    pub fn restart_and_kill(&mut self, after: Duration) {
        assert!(self.own().child.is_none(), "the broker is still running");
        self.own_mut().spawn();
        thread::sleep(after);
        self.kill();
    }

    fn launch(&mut self) {
        let address = self.address;
        self.own_mut().spawn();
        let deadline = Instant::now() + DEADLINE;
        loop {
            let is_open = TcpStream::connect(address).is_ok();
            let process = self.own_mut();
            let child = process.child.as_mut().expect("it has just been started");
            // Looked at after connecting: another program may have been listening there.
            if let Some(status) = child.try_wait().expect("wait for the broker") {
                process.child = None;
                panic!("the broker ended with {status}:\n{}", process.log());
            }
            if is_open {
                return;
            }
            assert!(Instant::now() < deadline, "the broker does not listen:\n{}", process.log());
            thread::sleep(POLL);
        }
    }

    fn own(&self) -> &Process {
        self.process.as_ref().expect("the broker was started by this test")
    }

    fn own_mut(&mut self) -> &mut Process {
        self.process.as_mut().expect("the broker was started by this test")
    }
}

impl Process {
    /// Not started yet: a directory with the configuration.
    fn new(config: &str) -> Self {
        let dir = own_directory();
        let config = config.replace("{dir}", dir.to_str().expect("the temporary folder is UTF-8"));
        let config_file = dir.join("outpost.toml");
        fs::write(&config_file, config).expect("write the configuration");
        let arguments = vec!["run".into(), "-c".into(), config_file.display().to_string()];
        Self { child: None, dir, arguments, ignores: None }
    }

    fn spawn(&mut self) {
        let path = self.dir.join("stderr.log");
        let log = File::options().create(true).append(true).open(path).expect("open the log");
        let mut command = match self.ignores {
            None => Command::new(binary()),
            Some(signal) => {
                let script = format!("trap '' {signal}; exec \"$0\" \"$@\"");
                let mut shell = Command::new("sh");
                shell.args(["-c", &script]).arg(binary());
                shell
            }
        };
        let child = command
            .args(&self.arguments)
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("clone the log"))
            .stderr(log)
            .spawn()
            .expect("start the broker");
        self.child = Some(child);
    }

    fn log(&self) -> String {
        let bytes = fs::read(self.dir.join("stderr.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Process {
    #[allow(clippy::print_stderr, reason = "a failed test shows what the broker had to say")]
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Either may fail only if it has ended by itself; then there is nothing to kill.
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            eprintln!("log of the broker in {}:\n{}", self.dir.display(), self.log());
        } else {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// A test's share of [`Broker::shared`]. If the test fails, the end of the broker's log is shown.
#[derive(Debug)]
pub struct Lease(Arc<Broker>);

impl Deref for Lease {
    type Target = Broker;

    fn deref(&self) -> &Broker {
        &self.0
    }
}

impl Drop for Lease {
    #[allow(clippy::print_stderr, reason = "a failed test shows what the broker had to say")]
    fn drop(&mut self) {
        if thread::panicking() {
            let log = self.0.log();
            let from = log.lines().count().saturating_sub(40);
            let end: Vec<&str> = log.lines().skip(from).collect();
            eprintln!("end of the shared broker's log:\n{}", end.join("\n"));
        }
    }
}

/// The broker that `OUTPOST_TEST_BROKER` names.
fn external() -> Option<SocketAddr> {
    let name = env::var("OUTPOST_TEST_BROKER").ok()?;
    let mut addresses = name.to_socket_addrs().expect("OUTPOST_TEST_BROKER is host:port");
    Some(addresses.next().expect("OUTPOST_TEST_BROKER has an address"))
}

/// The `outpost` binary of the target folder that this test was built into.
///
/// # Panics
/// When it has not been built.
pub fn binary() -> PathBuf {
    built("outpost", "cargo build -p outpost-broker")
}

/// A program of the target folder that this test was built into, which `how` builds.
///
/// # Panics
/// When it has not been built.
pub fn built(program: &str, how: &str) -> PathBuf {
    let test = env::current_exe().expect("the path of this test");
    let profile = test.parent().and_then(Path::parent).expect("target/<profile>/deps/<test>");
    let path = profile.join(program);
    assert!(path.exists(), "{} is missing: {how}", path.display());
    path
}

/// A new directory of this process in the folder for temporary files.
fn own_directory() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let dir = env::temp_dir().join(format!("outpost-test-{}-{number}", process::id()));
    // What stands there is of an earlier process with the same number that failed.
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("create the broker's directory");
    dir
}
