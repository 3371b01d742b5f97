//! Keep-alive (3.1.2.10), for the client and for the server. No clock: times are milliseconds of
//! any epoch, given by the caller, who must not let them run backwards.

/// What a client has to do for its keep-alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAliveStep {
    /// Nothing.
    Idle,
    /// PINGREQ is to be sent [MQTT-3.1.2-20].
    SendPingReq,
    /// No PINGRESP came: the connection is to be closed (3.1.2.10).
    Close,
}

/// The client's keep-alive: when to send PINGREQ, when to give up.
#[derive(Clone, Debug)]
pub struct KeepAlive {
    /// 0: none.
    interval_ms: u64,
    ping_timeout_ms: u64,
    last_sent_ms: u64,
    ping_sent_ms: Option<u64>,
}

impl KeepAlive {
    /// For a connection whose CONNECT is sent at `now_ms`. `keep_alive_s` is that of CONNECT, in
    /// seconds, 0: none; `ping_timeout_ms` is how long a PINGRESP may take.
    pub const fn new(keep_alive_s: u16, ping_timeout_ms: u64, now_ms: u64) -> Self {
        Self {
            interval_ms: keep_alive_s as u64 * 1000,
            ping_timeout_ms,
            last_sent_ms: now_ms,
            ping_sent_ms: None,
        }
    }

    /// CONNACK came with a Server Keep Alive, which replaces the client's own [MQTT-3.1.2-21].
    pub fn handle_server_keep_alive(&mut self, server_keep_alive_s: u16) {
        self.interval_ms = u64::from(server_keep_alive_s) * 1000;
    }

    /// A packet was sent.
    pub fn handle_sent(&mut self, now_ms: u64) {
        self.last_sent_ms = now_ms;
    }

    /// PINGRESP came.
    pub fn handle_ping_resp(&mut self) {
        self.ping_sent_ms = None;
    }

    /// What is to be done now. After `SendPingReq` the PINGREQ counts as sent.
    pub fn poll(&mut self, now_ms: u64) -> KeepAliveStep {
        match self.deadline_ms() {
            Some(deadline) if deadline <= now_ms => {}
            _ => return KeepAliveStep::Idle,
        }
        if self.ping_sent_ms.is_some() {
            return KeepAliveStep::Close;
        }
        self.ping_sent_ms = Some(now_ms);
        self.last_sent_ms = now_ms;
        KeepAliveStep::SendPingReq
    }

    /// When to call `poll` at the latest; none without keep-alive.
    pub fn deadline_ms(&self) -> Option<u64> {
        match self.ping_sent_ms {
            Some(sent) => Some(sent.saturating_add(self.ping_timeout_ms)),
            None if self.interval_ms == 0 => None,
            None => Some(self.last_sent_ms.saturating_add(self.interval_ms)),
        }
    }
}

/// The server's keep-alive: a client that was silent for one and a half times its keep-alive is
/// gone [MQTT-3.1.2-22].
#[derive(Clone, Debug)]
pub struct KeepAliveWatch {
    /// 0: none.
    patience_ms: u64,
    last_received_ms: u64,
}

impl KeepAliveWatch {
    /// For a connection whose CONNECT came at `now_ms`. `keep_alive_s` is that of CONNECT
    /// [MQTT-3.2.2-22] or the Server Keep Alive that was answered, in seconds; 0: none.
    pub const fn new(keep_alive_s: u16, now_ms: u64) -> Self {
        Self { patience_ms: keep_alive_s as u64 * 1500, last_received_ms: now_ms }
    }

    /// A packet came.
    pub fn handle_received(&mut self, now_ms: u64) {
        self.last_received_ms = now_ms;
    }

    /// Whether the connection is to be closed.
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.deadline_ms().is_some_and(|deadline| deadline <= now_ms)
    }

    /// When it expires if nothing comes; none without keep-alive.
    pub fn deadline_ms(&self) -> Option<u64> {
        (self.patience_ms != 0).then(|| self.last_received_ms.saturating_add(self.patience_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [MQTT-3.1.2-20]
    #[test]
    fn a_silent_client_pings() {
        let mut keep_alive = KeepAlive::new(10, 3_000, 1_000);
        assert_eq!(keep_alive.deadline_ms(), Some(11_000));
        assert_eq!(keep_alive.poll(10_999), KeepAliveStep::Idle);
        keep_alive.handle_sent(5_000);
        assert_eq!(keep_alive.poll(11_000), KeepAliveStep::Idle);
        assert_eq!(keep_alive.poll(15_000), KeepAliveStep::SendPingReq);
        assert_eq!(keep_alive.poll(15_000), KeepAliveStep::Idle, "once");
        keep_alive.handle_ping_resp();
        assert_eq!(keep_alive.deadline_ms(), Some(25_000));
    }

    /// 3.1.2.10
    #[test]
    fn a_missing_pingresp_closes_even_while_packets_are_sent() {
        let mut keep_alive = KeepAlive::new(10, 3_000, 0);
        assert_eq!(keep_alive.poll(10_000), KeepAliveStep::SendPingReq);
        keep_alive.handle_sent(12_000);
        assert_eq!(keep_alive.poll(12_999), KeepAliveStep::Idle);
        assert_eq!(keep_alive.poll(13_000), KeepAliveStep::Close);
    }

    /// [MQTT-3.1.2-21]
    #[test]
    fn the_servers_keep_alive_counts() {
        let mut keep_alive = KeepAlive::new(0, 3_000, 0);
        assert_eq!(keep_alive.deadline_ms(), None);
        assert_eq!(keep_alive.poll(u64::MAX), KeepAliveStep::Idle);
        keep_alive.handle_server_keep_alive(5);
        assert_eq!(keep_alive.poll(5_000), KeepAliveStep::SendPingReq);
    }

    /// [MQTT-3.1.2-22]
    #[test]
    fn the_server_waits_one_and_a_half_times() {
        let mut watch = KeepAliveWatch::new(10, 1_000);
        assert!(!watch.is_expired(15_999));
        assert!(watch.is_expired(16_000));
        watch.handle_received(14_000);
        assert_eq!(watch.deadline_ms(), Some(29_000));
        assert!(!KeepAliveWatch::new(0, 0).is_expired(u64::MAX));
        assert_eq!(KeepAliveWatch::new(u16::MAX, u64::MAX).deadline_ms(), Some(u64::MAX));
    }
}
