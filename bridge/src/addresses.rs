//! Several addresses of one remote broker, or of several that stand in for each other.
//!
//! `failover` prefers the first: each link tries them in order, and a link by a later one ends when the
//! first has been reachable again for a while. `round_robin` has no first: each link begins with the one
//! behind the last.

use std::time::Duration;

use tokio::time::sleep;

use crate::config::AddressPolicy;
use crate::connect::{BoxedStream, Connecting, Connector};
use crate::link_error::LinkError;

/// How often the first address has to be reachable in a row, before it is taken again.
const PROBES: u32 = 3;

/// Makes connections by whichever address works.
pub(crate) struct Addresses {
    policy: AddressPolicy,
    each: Vec<(String, Box<dyn Connector>)>,
    /// The one in use.
    current: usize,
}

impl Addresses {
    /// These, at least one, in the order of preference.
    pub(crate) fn new(policy: AddressPolicy, each: Vec<(String, Box<dyn Connector>)>) -> Self {
        Self { policy, each, current: 0 }
    }

    async fn open(&mut self) -> Result<BoxedStream, LinkError> {
        let count = self.each.len();
        let first = match self.policy {
            AddressPolicy::Failover => 0,
            AddressPolicy::RoundRobin => self.current,
        };
        let mut failed = None;
        for index in (0..count).map(|turn| (first + turn) % count) {
            self.current = index;
            match self.each[index].1.connect().await {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.expect("there is at least one address"))
    }
}

impl Connector for Addresses {
    fn connect(&mut self) -> Connecting<'_> {
        Box::pin(self.open())
    }

    fn address(&self) -> Option<&str> {
        self.each.get(self.current).map(|(address, _)| address.as_str())
    }

    fn link_ended(&mut self) {
        if self.policy == AddressPolicy::RoundRobin {
            self.current = (self.current + 1) % self.each.len();
        }
    }

    fn preferred(&mut self) -> Option<&mut dyn Connector> {
        let is_second_best = self.policy == AddressPolicy::Failover && self.current > 0;
        let (_, first) = self.each.first_mut().filter(|_| is_second_best)?;
        Some(&mut **first)
    }
}

/// Returns when an address that is preferred to the one in use has been reachable for so long; never,
/// where there is none. A connection is made and closed, without CONNECT, so that no session notices.
pub(crate) async fn preferred_is_back(remote: &mut dyn Connector, after: Duration) {
    let Some(preferred) = remote.preferred() else { return std::future::pending().await };
    let mut reached = 0;
    while reached < PROBES {
        sleep(after / PROBES).await;
        reached = if preferred.connect().await.is_ok() { reached + 1 } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use tokio::io::duplex;

    use super::*;
    use crate::link_error::Phase;

    /// Reachable or not, and how often it was tried.
    #[derive(Clone, Default)]
    struct Fake {
        is_up: Arc<AtomicBool>,
        tries: Arc<AtomicU32>,
    }

    impl Connector for Fake {
        fn connect(&mut self) -> Connecting<'_> {
            self.tries.fetch_add(1, Ordering::Relaxed);
            let is_up = self.is_up.load(Ordering::Relaxed);
            Box::pin(async move {
                if is_up {
                    Ok(Box::new(duplex(1).0) as BoxedStream)
                } else {
                    let what = "192.0.2.1:1883: connection refused".to_owned();
                    Err(LinkError::Transport { phase: Phase::Tcp, what })
                }
            })
        }
    }

    fn addresses(policy: AddressPolicy) -> (Addresses, [Fake; 3]) {
        let fakes = [Fake::default(), Fake::default(), Fake::default()];
        let each = ["a", "b", "c"].into_iter().zip(&fakes);
        let each = each
            .map(|(name, fake)| (name.to_owned(), Box::new(fake.clone()) as Box<dyn Connector>));
        (Addresses::new(policy, each.collect()), fakes)
    }

    fn set(fake: &Fake, is_up: bool) {
        fake.is_up.store(is_up, Ordering::Relaxed);
    }

    #[tokio::test]
    async fn failover_takes_the_first_that_works() {
        let (mut addresses, [a, b, c]) = addresses(AddressPolicy::Failover);
        assert!(addresses.connect().await.is_err());
        assert_eq!(c.tries.load(Ordering::Relaxed), 1);
        set(&b, true);
        assert!(addresses.connect().await.is_ok());
        assert_eq!(addresses.address(), Some("b"));
        addresses.link_ended();
        set(&a, true);
        assert!(addresses.connect().await.is_ok());
        assert_eq!(addresses.address(), Some("a"));
        assert!(addresses.preferred().is_none());
    }

    #[tokio::test]
    async fn round_robin_goes_on_behind_the_last() {
        let (mut addresses, fakes) = addresses(AddressPolicy::RoundRobin);
        fakes.iter().for_each(|fake| set(fake, true));
        for expected in ["a", "b", "c", "a"] {
            assert!(addresses.connect().await.is_ok());
            assert_eq!(addresses.address(), Some(expected));
            assert!(addresses.preferred().is_none());
            addresses.link_ended();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_is_taken_again_once_it_is_stable() {
        let (mut addresses, [a, b, _]) = addresses(AddressPolicy::Failover);
        set(&b, true);
        addresses.connect().await.unwrap();
        let after = Duration::from_secs(60);
        let never = tokio::time::timeout(4 * after, preferred_is_back(&mut addresses, after));
        assert!(never.await.is_err(), "it is not reachable");
        set(&a, true);
        let begun = tokio::time::Instant::now();
        preferred_is_back(&mut addresses, after).await;
        assert_eq!(begun.elapsed(), after);
    }
}
