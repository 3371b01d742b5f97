//! Free loopback ports for brokers that are to be restarted on the same one.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// Ports from here on, below the range that the kernel gives to outgoing connections, so that the
/// port of a stopped broker is not taken by somebody's client before it is started again.
const FIRST: u32 = 10_000;
const COUNT: u32 = 22_000;

/// The UDP ports of the same numbers, held until the process ends: test programs that run side by
/// side see by them what the others have taken, also while no broker listens there.
static TAKEN: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());

/// A TCP port on 127.0.0.1 that nobody listens on now and that no test of this machine has been
/// given, in whatever process, until this process ends.
///
/// # Panics
/// When no port of the range is free.
pub fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Processes start at different places of the range, so that they seldom meet.
    let start = process::id().wrapping_mul(97);
    for _ in 0..COUNT {
        let step = GIVEN.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + start.wrapping_add(step) % COUNT;
        let port = u16::try_from(port).expect("the range ends below 65536");
        let Ok(taken) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) else { continue };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            TAKEN.lock().unwrap_or_else(PoisonError::into_inner).push(taken);
            return port;
        }
    }
    panic!("no free port on 127.0.0.1 between {FIRST} and {}", FIRST + COUNT);
}
