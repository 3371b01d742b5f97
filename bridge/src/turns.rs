//! Who of several links goes first: a link waits for as long as one of a higher priority has something
//! to send that the network does not take.
//!
//! A link with nothing to send, or one whose window is closed because the other broker is slow to
//! acknowledge, keeps nobody waiting: what it cannot use goes to the others.

use std::collections::BTreeMap;

use tokio::sync::watch;

/// The links of one bridge that have something to send, counted by their priority.
type Busy = BTreeMap<u8, usize>;

/// What the links of one bridge have in common.
#[derive(Clone, Debug)]
pub struct Turns {
    busy: watch::Sender<Busy>,
}

impl Default for Turns {
    fn default() -> Self {
        Self { busy: watch::Sender::new(Busy::new()) }
    }
}

impl Turns {
    /// The place of a link among them.
    pub fn enter(&self, priority: u8) -> Turn {
        Turn { busy: self.busy.clone(), priority, is_busy: false }
    }
}

/// The place of one link.
#[derive(Debug)]
pub struct Turn {
    busy: watch::Sender<Busy>,
    priority: u8,
    is_busy: bool,
}

impl Turn {
    /// Whether this link has something to send that the network does not take.
    pub fn note(&mut self, is_busy: bool) {
        if self.is_busy == is_busy {
            return;
        }
        self.is_busy = is_busy;
        let priority = self.priority;
        self.busy.send_modify(|busy| {
            let count = busy.entry(priority).or_default();
            if is_busy {
                *count += 1;
            } else {
                *count -= 1;
            }
            if *count == 0 {
                busy.remove(&priority);
            }
        });
    }

    /// The links that share the way with this one.
    pub fn others(&self) -> Others {
        Others { busy: self.busy.subscribe(), priority: self.priority }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.note(false);
    }
}

/// What a link sees of the others.
#[derive(Debug)]
pub struct Others {
    busy: watch::Receiver<Busy>,
    priority: u8,
}

impl Others {
    /// Whether the link is to wait for them.
    pub fn go_first(&self) -> bool {
        self.busy.borrow().last_key_value().is_some_and(|(highest, _)| *highest > self.priority)
    }

    /// Until that may have changed.
    pub async fn changed(&mut self) {
        if self.busy.changed().await.is_err() {
            // There are no others any more.
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_lower_waits_for_as_long_as_a_higher_one_is_busy() {
        let turns = Turns::default();
        let (mut alarms, mut other, mut bulk) = (turns.enter(9), turns.enter(9), turns.enter(1));
        let yields = |turn: &Turn| turn.others().go_first();
        bulk.note(true);
        assert!(!yields(&bulk) && !yields(&alarms));
        alarms.note(true);
        other.note(true);
        assert!(yields(&bulk) && !yields(&alarms) && !yields(&other));
        alarms.note(false);
        assert!(yields(&bulk));
        drop(other);
        assert!(!yields(&bulk), "a link that is gone keeps nobody waiting");
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let turns = Turns::default();
        let (mut alarms, bulk) = (turns.enter(9), turns.enter(1));
        let mut others = bulk.others();
        alarms.note(true);
        others.changed().await;
        assert!(others.go_first());
        let woken = tokio::spawn(async move {
            others.changed().await;
            others.go_first()
        });
        alarms.note(false);
        assert!(!woken.await.unwrap());
    }
}
