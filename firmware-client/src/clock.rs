//! Where the client gets time from.

use core::future::Future;

/// A clock and its alarm.
///
/// With embassy: `Instant::now().as_millis()` and `Timer::at(Instant::from_millis(deadline_ms))`.
pub trait Clock {
    /// Milliseconds since any moment; never less than before.
    fn now_ms(&self) -> u64;

    /// Is ready once [`Self::now_ms`] has reached `deadline_ms`.
    fn wait_until(&self, deadline_ms: u64) -> impl Future<Output = ()>;
}

impl<K: Clock> Clock for &K {
    fn now_ms(&self) -> u64 {
        (**self).now_ms()
    }

    fn wait_until(&self, deadline_ms: u64) -> impl Future<Output = ()> {
        (**self).wait_until(deadline_ms)
    }
}
