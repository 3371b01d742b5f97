//! The users of a password file, and the check of a password.
//!
//! What an onlooker could learn from the time it takes: nothing of which users there are, because an
//! unknown one costs a hash like any other. What the machine pays: a bounded number of hashes at
//! once, and none for a client that comes back with the password it proved before.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::thread;

use ring::hmac;
use ring::rand::SystemRandom;

use super::password_file::PasswordFile;
use super::password_hash::PasswordHash;

/// Hashes at once, on a machine with as many cores; each needs 19 MiB.
const HASHES_AT_ONCE_MAX: usize = 4;

/// How many passwords are hashed at once: the others wait.
pub(crate) fn hashes_at_once() -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(HASHES_AT_ONCE_MAX)
}

pub(super) struct Users {
    users: HashMap<Box<str>, User>,
    /// What the password of an unknown user is checked against, in vain.
    decoy: PasswordHash,
    /// Random, and in memory only: what is remembered of passwords means nothing elsewhere.
    key: hmac::Key,
    hashing: Permits,
}

struct User {
    hash: PasswordHash,
    /// The keyed hash of the password that was found right. A user has one password, so that one
    /// place is enough and nothing need be evicted.
    verified: OnceLock<hmac::Tag>,
}

impl Users {
    pub(super) fn new(file: PasswordFile) -> Self {
        let users: HashMap<Box<str>, User> = file
            .into_users()
            .map(|(name, hash)| (name.into(), User { hash, verified: OnceLock::new() }))
            .collect();
        let costliest = users.values().map(|user| &user.hash).max_by_key(|hash| hash.cost());
        Self {
            decoy: costliest.map_or_else(PasswordHash::decoy, PasswordHash::decoy_like),
            users,
            key: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
                .expect("the system has random bytes"),
            hashing: Permits::new(hashes_at_once()),
        }
    }

    /// Whether this password of this user has been found right before. Takes no time to speak of.
    pub(super) fn is_verified(&self, name: &str, password: &[u8]) -> bool {
        let tag = self.users.get(name).and_then(|user| user.verified.get());
        let remembered = |tag: &hmac::Tag| {
            hmac::verify(&self.key, &tagged(name, password), tag.as_ref()).is_ok()
        };
        tag.is_some_and(remembered)
    }

    /// Whether the user exists and the password is right.
    pub(super) fn verify(&self, name: &str, password: &[u8]) -> bool {
        if self.is_verified(name, password) {
            return true;
        }
        let user = self.users.get(name);
        let hash = user.map_or(&self.decoy, |user| &user.hash);
        let matches = self.hashing.with(|| hash.matches(password));
        let Some(user) = user.filter(|_| matches) else { return false };
        user.verified.get_or_init(|| hmac::sign(&self.key, &tagged(name, password)));
        true
    }
}

/// No user name has a NUL in it.
fn tagged(name: &str, password: &[u8]) -> Vec<u8> {
    [name.as_bytes(), &[0], password].concat()
}

/// So many at once, the others wait.
struct Permits {
    free: Mutex<usize>,
    released: Condvar,
}

impl Permits {
    fn new(free: usize) -> Self {
        Self { free: Mutex::new(free), released: Condvar::new() }
    }

    fn with<T>(&self, work: impl FnOnce() -> T) -> T {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.released.wait_while(free, |free| *free == 0);
        *waited.unwrap_or_else(PoisonError::into_inner) -= 1;
        let _permit = Permit(self);
        work()
    }
}

/// Given back on the way out, a panic included.
struct Permit<'p>(&'p Permits);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.released.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// More threads than permits all get their turn, never more than permits at once; a panic
    /// inside gives its permit back.
    #[test]
    fn permits_bound_what_runs_at_once() {
        let permits = Permits::new(2);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            permits.with(|| panic!("inside"));
        }));
        assert!(panicked.is_err());
        let (running, most, done) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let pair = Barrier::new(2);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    permits.with(|| {
                        most.fetch_max(
                            running.fetch_add(1, Ordering::SeqCst) + 1,
                            Ordering::SeqCst,
                        );
                        // Two must be inside together: one alone would wait for ever.
                        pair.wait();
                        running.fetch_sub(1, Ordering::SeqCst);
                        done.fetch_add(1, Ordering::SeqCst);
                    });
                });
            }
        });
        assert_eq!((most.into_inner(), done.into_inner()), (2, 8));
    }
}
