//! Where a listener listens: a host and a port, checked in form and not resolved. Resolving happens
//! when the socket is bound.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// What [`ListenAddress`] takes, in words.
const EXPECTED: &str = "must be \"host:port\", such as 127.0.0.1:1883, 0.0.0.0:8883 or [::]:1883";

/// The longest host name (RFC 1035, in text form).
const HOST_BYTES_MAX: usize = 253;

/// A host (an IPv4 or IPv6 address or a name) and a TCP port; port 0 lets the system choose one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    host: Box<str>,
    port: u16,
}

impl ListenAddress {
    /// The host without brackets: an address or a name.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port; 0: the system chooses.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether only this machine can reach it: an address of the loopback network, or the name
    /// `localhost` (RFC 6761 reserves it for loopback). Any other name counts as reachable.
    pub fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            Err(_) => self.host.eq_ignore_ascii_case("localhost"),
        }
    }
}

/// 127.0.0.1:1883.
impl Default for ListenAddress {
    fn default() -> Self {
        Self { host: "127.0.0.1".into(), port: 1883 }
    }
}

/// The text is not an address to listen on; shown as what would be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidAddress;

impl fmt::Display for InvalidAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED)
    }
}

impl std::error::Error for InvalidAddress {}

impl FromStr for ListenAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let (host, port) = text.rsplit_once(':').ok_or(InvalidAddress)?;
        let port = parse_port(port).ok_or(InvalidAddress)?;
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(v6) if v6.parse::<Ipv6Addr>().is_ok() => v6,
            None if is_host(host) => host,
            _ => return Err(InvalidAddress),
        };
        Ok(Self { host: host.into(), port })
    }
}

/// `u16::from_str` would take a sign.
fn parse_port(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn is_host(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    !text.is_empty() && text.len() <= HOST_BYTES_MAX && text.bytes().all(allowed)
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_addresses_and_names() {
        for text in ["127.0.0.1:1883", "[::1]:8883", "[::]:0", "localhost:1883", "gw-1.lan:65535"] {
            let address: ListenAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn refuses_what_cannot_be_bound() {
        for text in [
            "",
            ":1883",
            "1883",
            "host",
            "host:",
            "host:65536",
            "host:+1",
            "::1:1883",
            "[x]:1",
            "*:1",
            "a b:1",
        ] {
            assert_eq!(text.parse::<ListenAddress>(), Err(InvalidAddress), "{text:?}");
        }
    }

    #[test]
    fn loopback_is_the_loopback_network_and_localhost() {
        let is_loopback = |text: &str| text.parse::<ListenAddress>().unwrap().is_loopback();
        for text in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1", "[::ffff:127.0.0.1]:1"]
        {
            assert!(is_loopback(text), "{text}");
        }
        for text in ["0.0.0.0:1", "[::]:1", "192.168.1.1:1", "localhost.example:1", "gateway:1"] {
            assert!(!is_loopback(text), "{text}");
        }
    }
}
