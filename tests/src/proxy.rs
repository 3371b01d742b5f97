//! A bad link: a TCP proxy that delays, limits the rate, stalls, cuts, swallows, and holds bytes back,
//! as the test says.
//!
//! Two threads for each direction of a connection: one reads, one writes when a block is due. What is
//! on its way is bounded, so that whoever sends too fast feels it as on a real link.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes on their way in one direction, at most.
const BUFFER_BYTES: usize = 64 * 1024;

/// Small enough that a limited rate is smooth and a cut falls inside of packets.
const BLOCK_BYTES: usize = 1024;

/// How a link is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quality {
    /// From one end to the other: half of the round trip.
    pub delay: Duration,
    /// In each direction of each connection; none: no limit.
    pub bytes_per_s: Option<u32>,
}

/// A TCP proxy to one address. Dropped, it cuts all connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    quality: Quality,
    /// Nothing moves.
    is_stalled: bool,
    /// Whoever connects is cut off at once.
    is_stopped: bool,
    /// Bytes that still pass before all connections are cut.
    cut_after: Option<usize>,
    connections: Vec<Connection>,
    /// How many there were.
    accepted: usize,
}

/// Both sockets of a connection, and what was done to it.
#[derive(Debug)]
struct Connection {
    ends: [TcpStream; 2],
    /// What comes is taken and goes nowhere; neither end hears of the other any more.
    is_half_open: bool,
    /// What comes waits, and whoever closes is not told on.
    is_held: bool,
}

impl Proxy {
    /// A proxy to `target`.
    pub fn start(target: SocketAddr, quality: Quality) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let state = State {
            quality,
            is_stalled: false,
            is_stopped: false,
            cut_after: None,
            connections: Vec::new(),
            accepted: 0,
        };
        let shared = Arc::new(Shared { target, state: Mutex::new(state), changed: Condvar::new() });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.lock().is_stopped {
                    return;
                }
                accepting.join(stream.expect("accept"));
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections made through it so far.
    pub fn connections(&self) -> usize {
        self.shared.lock().accepted
    }

    /// Stops everything that moves, or lets it go on.
    pub fn stall(&self, is_stalled: bool) {
        self.shared.change(|state| state.is_stalled = is_stalled);
    }

    /// Cuts all connections once so many more bytes have passed, whatever they are in the middle of.
    pub fn cut_after(&self, bytes: usize) {
        self.shared.change(|state| state.cut_after = Some(bytes));
    }

    /// From now on the present connections swallow what is sent, without a word to either end.
    pub fn half_open(&self) {
        self.shared.change(|state| state.each(|connection| connection.is_half_open = true));
    }

    /// What is sent by the present connections waits from now on, until [`Self::release`]. Their
    /// first end is closed, so that whoever is there makes a new one; the second is not told.
    pub fn hold(&self) {
        self.shared.change(|state| {
            state.each(|connection| {
                connection.is_held = true;
                // It fails where that end has gone by itself.
                let _ = connection.ends[0].shutdown(Shutdown::Both);
            });
        });
    }

    /// What was held goes on.
    pub fn release(&self) {
        self.shared.change(|state| state.each(|connection| connection.is_held = false));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.change(|state| {
            state.is_stopped = true;
            state.cut();
        });
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn each(&mut self, change: impl FnMut(&mut Connection)) {
        self.connections.iter_mut().for_each(change);
    }

    fn cut(&mut self) {
        self.each(|connection| {
            for end in &connection.ends {
                // It fails where that end has gone by itself.
                let _ = end.shutdown(Shutdown::Both);
            }
        });
    }

    /// So many bytes are to pass: how many do before the cut.
    fn pass(&mut self, count: usize) -> usize {
        let Some(left) = &mut self.cut_after else { return count };
        let passed = count.min(*left);
        *left -= passed;
        passed
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Connects to the target, and moves bytes both ways.
    fn join(self: &Arc<Self>, near: TcpStream) {
        // Where nobody listens, whoever connected is closed.
        let Ok(far) = TcpStream::connect(self.target) else { return };
        let clone = |stream: &TcpStream| stream.try_clone().expect("clone a socket");
        for end in [&near, &far] {
            end.set_nodelay(true).expect("set TCP_NODELAY");
        }
        let mut state = self.lock();
        let number = state.connections.len();
        let ends = [clone(&near), clone(&far)];
        state.connections.push(Connection { ends, is_half_open: false, is_held: false });
        state.accepted += 1;
        drop(state);
        self.carry(number, clone(&near), clone(&far));
        self.carry(number, far, near);
    }

    fn carry(self: &Arc<Self>, number: usize, from: TcpStream, to: TcpStream) {
        let way = Arc::new(Way::default());
        let (reader, writer) = (Arc::clone(self), Arc::clone(self));
        let read_way = Arc::clone(&way);
        thread::spawn(move || reader.read(number, from, &read_way));
        thread::spawn(move || writer.write(number, to, &way));
    }

    fn read(&self, number: usize, mut from: TcpStream, way: &Way) {
        let mut block = [0; BLOCK_BYTES];
        loop {
            let count = from.read(&mut block).unwrap_or(0);
            if self.lock().connections[number].is_half_open && count > 0 {
                continue;
            }
            // Not under the lock: it may have to wait.
            let delay = self.lock().quality.delay;
            way.push(&block[..count], delay);
            if count == 0 {
                return;
            }
        }
    }

    fn write(&self, number: usize, mut to: TcpStream, way: &Way) {
        loop {
            let (due, block) = way.pop();
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let mut state = self.lock();
            while state.is_stalled || state.connections[number].is_held {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.connections[number].is_half_open {
                return;
            }
            let (passed, rate) = (state.pass(block.len()), state.quality.bytes_per_s);
            let is_cut = passed < block.len();
            drop(state);
            if let Some(rate) = rate {
                thread::sleep(Duration::from_secs_f64(passed as f64 / f64::from(rate)));
            }
            let is_lost = to.write_all(&block[..passed]).is_err();
            if is_cut {
                self.change(|state| {
                    state.cut_after = None;
                    state.cut();
                });
            }
            if is_cut || is_lost || block.is_empty() {
                // It fails where that end has gone by itself.
                let _ = to.shutdown(Shutdown::Both);
                way.close();
                return;
            }
        }
    }
}

/// What is on its way in one direction of a connection, with the time when it arrives. An empty block
/// is the end.
#[derive(Debug, Default)]
struct Way {
    state: Mutex<WayState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct WayState {
    blocks: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    /// Nobody takes from it any more.
    is_closed: bool,
}

impl Way {
    fn push(&self, block: &[u8], delay: Duration) {
        let mut state = self.lock();
        while state.bytes >= BUFFER_BYTES && !state.is_closed {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.bytes += block.len();
        state.blocks.push_back((Instant::now() + delay, block.to_vec()));
        self.changed.notify_all();
    }

    fn pop(&self) -> (Instant, Vec<u8>) {
        let mut state = self.lock();
        loop {
            if let Some((due, block)) = state.blocks.pop_front() {
                state.bytes -= block.len();
                self.changed.notify_all();
                return (due, block);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, WayState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
