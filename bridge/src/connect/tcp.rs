//! TCP: looking a name up, connecting, and what the socket is told.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpStream, lookup_host};
use tracing::debug;

use super::{transport, within};
use crate::link_error::{LinkError, Phase, io_words};

/// No more addresses of one name are tried in one attempt.
const ADDRESSES_MAX: usize = 4;

/// The socket takes no more than this, in bytes, beyond what is on its way. What the network does not
/// take now stays with us, where it is still our choice what goes first.
pub(super) const UNSENT_BYTES_MAX: u32 = 16 * 1024;

/// The relay notices first that nothing is acknowledged, and has better words for it. This is for what
/// it has given up: the system is not to go on with that.
const SLACK: Duration = Duration::from_secs(5);

/// TCP to `host:port`. The name is looked up for each connection, and its addresses are tried in
/// the order that the resolver gives.
#[derive(Clone, Debug)]
pub(super) struct TcpConnector {
    address: String,
    /// What it is called in errors.
    label: String,
    unacknowledged_max: Duration,
}

impl TcpConnector {
    /// To this address, in the form of [`crate::config::BridgeConfig::address`]. A connection whose
    /// bytes nobody acknowledges for `ack_timeout` and [`SLACK`] is given up by the system, whose own
    /// limit is a quarter of an hour.
    pub(super) fn new(address: &str, label: String, ack_timeout: Duration) -> Self {
        Self { address: address.to_owned(), label, unacknowledged_max: ack_timeout + SLACK }
    }

    pub(super) async fn open(&self) -> Result<TcpStream, LinkError> {
        let mut last_error = transport(Phase::Dns, format!("{}: it has no address", self.label));
        for address in self.look_up().await?.into_iter().take(ADDRESSES_MAX) {
            match self.connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last_error = error,
            }
        }
        Err(last_error)
    }

    async fn look_up(&self) -> Result<Vec<SocketAddr>, LinkError> {
        let found = within(Phase::Dns, &self.label, lookup_host(&self.address)).await?;
        let failed = |error| transport(Phase::Dns, format!("{}: {}", self.label, io_words(&error)));
        Ok(found.map_err(failed)?.collect())
    }

    async fn connect(&self, address: SocketAddr) -> Result<TcpStream, LinkError> {
        let numbers = address.to_string();
        let peer = match self.label.ends_with(&numbers) {
            true => self.label.clone(),
            false => format!("{} ({numbers})", self.label),
        };
        let failed =
            |error: io::Error| transport(Phase::Tcp, format!("{peer}: {}", io_words(&error)));
        let connected = within(Phase::Tcp, &peer, TcpStream::connect(address)).await?;
        let stream = connected.map_err(failed)?;
        // The bridge writes whole bursts; what it writes should leave at once.
        stream.set_nodelay(true).map_err(failed)?;
        // Without these a link is slower to notice what is wrong, and works.
        if let Err(error) = self.bound(&stream) {
            debug!(peer, %error, "the system does not bound what waits in a socket");
        }
        Ok(stream)
    }

    fn bound(&self, stream: &TcpStream) -> io::Result<()> {
        let socket = SockRef::from(stream);
        socket.set_tcp_user_timeout(Some(self.unacknowledged_max))?;
        socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_the_socket_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let limit = Duration::from_secs(7);
        let tcp = TcpConnector::new(&address, address.clone(), limit);
        let stream = tcp.open().await.expect("somebody listens");
        let socket = SockRef::from(&stream);
        assert!(stream.nodelay().expect("an option of TCP"));
        assert_eq!(socket.tcp_user_timeout().expect("an option of TCP"), Some(limit + SLACK));
        assert_eq!(socket.tcp_notsent_lowat().expect("an option of TCP"), UNSENT_BYTES_MAX);
    }

    /// A peer that reads nothing: what it and the network do not take is not swallowed by the socket.
    #[tokio::test]
    async fn what_the_network_does_not_take_stays_here() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        SockRef::from(&listener).set_recv_buffer_size(4096).expect("an option of sockets");
        let address = listener.local_addr().expect("bound").to_string();
        let tcp = TcpConnector::new(&address, address.clone(), Duration::from_secs(7));
        let stream = tcp.open().await.expect("somebody listens");
        let (_reads_nothing, _) = listener.accept().await.expect("it has come");
        let mut written = 0;
        let within = Duration::from_millis(200);
        while tokio::time::timeout(within, stream.writable()).await.is_ok() {
            match stream.try_write(&[0; 4096]) {
                Ok(count) => written += count,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        assert!(written < 128 * 1024, "{written} bytes were taken");
    }

    #[tokio::test]
    async fn names_and_addresses_are_told() {
        let limit = Duration::from_secs(7);
        let nowhere = TcpConnector::new("no.such.invalid:1", "no.such.invalid:1".into(), limit);
        let error = nowhere.open().await.expect_err("it has no address");
        assert_eq!(error.kind(), "dns");
        assert!(error.to_string().starts_with("DNS failed: no.such.invalid:1: "), "{error}");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        drop(listener);
        let address = format!("localhost:{port}");
        let error = TcpConnector::new(&address, format!("proxy {address}"), limit).open().await;
        let error = error.expect_err("nobody listens").to_string();
        assert!(error.starts_with(&format!("TCP failed: proxy {address} (")), "{error}");
        assert!(error.ends_with(&format!(":{port}): Connection refused")), "{error}");
    }
}
