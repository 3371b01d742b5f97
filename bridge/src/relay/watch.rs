//! Whether an end is alive: PINGREQ when it is quiet, and the time it may take for anything.

use crate::link_error::LinkError;
use crate::side::Side;

/// The watch over one connection. Times are milliseconds of any clock that only goes forward.
#[derive(Debug)]
pub(super) struct Watch {
    side: Side,
    keep_alive_ms: Option<u64>,
    stall_ms: u64,
    received_ms: u64,
    written_ms: u64,
    ping: Ping,
    unwritten_since_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ping {
    /// None is under way.
    Idle,
    /// PINGREQ waits in the output, perhaps behind much else on a slow link.
    Queued,
    /// All that waited has been taken since, PINGREQ too.
    Sent { at_ms: u64 },
}

impl Watch {
    /// `keep_alive_s` 0: no pings. `stall_ms`: how long bytes may wait without any being taken.
    pub(super) fn new(side: Side, keep_alive_s: u16, stall_ms: u64, now_ms: u64) -> Self {
        Self {
            side,
            keep_alive_ms: (keep_alive_s > 0).then(|| u64::from(keep_alive_s) * 1000),
            stall_ms,
            received_ms: now_ms,
            written_ms: now_ms,
            ping: Ping::Idle,
            unwritten_since_ms: None,
        }
    }

    /// Bytes came.
    pub(super) fn handle_received(&mut self, now_ms: u64) {
        self.received_ms = now_ms;
    }

    /// PINGRESP came.
    pub(super) fn handle_ping_resp(&mut self) {
        self.ping = Ping::Idle;
    }

    /// Bytes were taken.
    pub(super) fn handle_written(&mut self, now_ms: u64) {
        self.written_ms = now_ms;
        self.unwritten_since_ms = None;
    }

    /// Told after each burst whether bytes wait to be written.
    pub(super) fn note_output(&mut self, waiting: bool, now_ms: u64) {
        self.unwritten_since_ms =
            if waiting { self.unwritten_since_ms.or(Some(now_ms)) } else { None };
        if !waiting && self.ping == Ping::Queued {
            self.ping = Ping::Sent { at_ms: now_ms };
        }
    }

    /// When to call [`Self::handle_timeout`] next.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        let stalled_ms = self.unwritten_since_ms.map(|since_ms| since_ms + self.stall_ms);
        [stalled_ms, self.ping_due_ms(), self.pong_due_ms()].into_iter().flatten().min()
    }

    /// `Ok(true)`: PINGREQ is to be sent. `reading`: whether anything that the end sends would be
    /// read now; while it would not, its silence says nothing.
    pub(super) fn handle_timeout(&mut self, reading: bool, now_ms: u64) -> Result<bool, LinkError> {
        if self.unwritten_since_ms.is_some_and(|since_ms| now_ms >= since_ms + self.stall_ms) {
            let limit_s = self.stall_ms / 1000;
            return Err(LinkError::WriteStalled { side: self.side, limit_s });
        }
        if !reading {
            self.received_ms = now_ms;
        }
        if self.pong_due_ms().is_some_and(|due_ms| now_ms >= due_ms) {
            return Err(LinkError::PingTimeout(self.side));
        }
        let ping = self.ping_due_ms().is_some_and(|due_ms| now_ms >= due_ms);
        if ping {
            self.ping = Ping::Queued;
        }
        Ok(ping)
    }

    /// Quiet in one direction is enough: a broker must hear from us [MQTT-3.1.2-20], and a link that
    /// only swallows what is sent must be found out.
    fn ping_due_ms(&self) -> Option<u64> {
        match self.ping {
            Ping::Idle => Some(self.received_ms.min(self.written_ms) + self.keep_alive_ms?),
            Ping::Queued | Ping::Sent { .. } => None,
        }
    }

    /// Anything that comes shows that the end lives; the answer itself may be far behind.
    fn pong_due_ms(&self) -> Option<u64> {
        let Ping::Sent { at_ms } = self.ping else { return None };
        Some(at_ms.max(self.received_ms) + self.keep_alive_ms?.min(self.stall_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> Watch {
        Watch::new(Side::Remote, 10, 30_000, 0)
    }

    /// PINGREQ is wanted, and is written at once.
    fn ping(watch: &mut Watch, now_ms: u64) {
        assert_eq!(watch.handle_timeout(true, now_ms - 1), Ok(false));
        assert_eq!(watch.handle_timeout(true, now_ms), Ok(true));
        watch.note_output(true, now_ms);
        watch.handle_written(now_ms);
        watch.note_output(false, now_ms);
    }

    #[test]
    fn pings_when_quiet_and_gives_up_without_an_answer() {
        let mut watch = watch();
        assert_eq!(watch.deadline_ms(), Some(10_000));
        ping(&mut watch, 10_000);
        assert_eq!(watch.deadline_ms(), Some(20_000));
        assert_eq!(watch.handle_timeout(true, 19_999), Ok(false));
        assert_eq!(watch.handle_timeout(true, 20_000), Err(LinkError::PingTimeout(Side::Remote)));
    }

    #[test]
    fn a_link_that_only_swallows_is_found_out() {
        let mut watch = watch();
        watch.handle_written(9_000);
        ping(&mut watch, 10_000);
        watch.handle_written(19_000);
        assert_eq!(watch.handle_timeout(true, 20_000), Err(LinkError::PingTimeout(Side::Remote)));
    }

    #[test]
    fn an_answer_starts_the_wait_anew() {
        let mut watch = watch();
        ping(&mut watch, 10_000);
        watch.handle_ping_resp();
        watch.handle_received(10_100);
        watch.handle_written(19_000);
        ping(&mut watch, 20_100);
    }

    #[test]
    fn a_ping_behind_much_else_is_not_due_before_it_is_written() {
        let mut watch = watch();
        watch.note_output(true, 0);
        assert_eq!(watch.handle_timeout(true, 10_000), Ok(true));
        watch.handle_written(29_000);
        watch.note_output(true, 29_000);
        assert_eq!(watch.handle_timeout(true, 50_000), Ok(false));
        watch.handle_written(50_000);
        watch.note_output(false, 50_000);
        assert_eq!(watch.deadline_ms(), Some(60_000));
    }

    #[test]
    fn silence_says_nothing_while_nothing_is_read() {
        let mut watch = watch();
        ping(&mut watch, 10_000);
        assert_eq!(watch.handle_timeout(false, 20_000), Ok(false));
        assert_eq!(watch.handle_timeout(true, 29_999), Ok(false));
        assert_eq!(watch.handle_timeout(true, 30_000), Err(LinkError::PingTimeout(Side::Remote)));
    }

    #[test]
    fn a_stalled_write_is_found_and_a_slow_one_is_not() {
        let mut watch = Watch::new(Side::Local, 0, 30_000, 0);
        assert_eq!(watch.deadline_ms(), None);
        watch.note_output(true, 1_000);
        watch.note_output(true, 20_000);
        assert_eq!(watch.deadline_ms(), Some(31_000));
        watch.handle_written(30_000);
        watch.note_output(true, 30_000);
        assert_eq!(watch.handle_timeout(true, 59_999), Ok(false));
        let stalled = LinkError::WriteStalled { side: Side::Local, limit_s: 30 };
        assert_eq!(watch.handle_timeout(true, 60_000), Err(stalled));
        watch.note_output(false, 60_000);
        assert_eq!(watch.handle_timeout(true, 99_000), Ok(false));
    }
}
