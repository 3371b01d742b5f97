//! Listeners: accepting, TLS, and the limits that hold before CONNECT.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::connection::linger;
use super::handshake::{Caller, Door, shake_hands};
use super::stream::Stream;
use crate::auth::ListenerAuth;
use crate::tls;

/// How long accepting rests when the system has no more file descriptors, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many connections there are, over all listeners.
#[derive(Debug)]
pub(crate) struct Census {
    connections: AtomicU32,
    connecting: AtomicU32,
    connections_max: u32,
    connecting_max: u32,
}

/// One place among those counted; given back when dropped.
struct Place {
    census: Arc<Census>,
    counter: fn(&Census) -> &AtomicU32,
}

impl Drop for Place {
    fn drop(&mut self) {
        (self.counter)(&self.census).fetch_sub(1, Ordering::Relaxed);
    }
}

impl Census {
    pub(crate) fn new(connections_max: u32, connecting_max: u32) -> Arc<Self> {
        Arc::new(Self {
            connections: AtomicU32::new(0),
            connecting: AtomicU32::new(0),
            connections_max,
            connecting_max,
        })
    }

    fn take(self: &Arc<Self>, counter: fn(&Self) -> &AtomicU32, max: u32) -> Option<Place> {
        // Made first, so that one that is one too many is given back as well.
        let place = Place { census: self.clone(), counter };
        let before = counter(self).fetch_add(1, Ordering::Relaxed);
        (before < max).then_some(place)
    }
}

/// One listener.
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) policy: ListenerAuth,
    pub(crate) door: Arc<Door>,
    pub(crate) census: Arc<Census>,
    pub(crate) connect_timeout: Duration,
}

impl Listener {
    /// Accepts for as long as it is polled.
    pub(crate) async fn run(self) {
        let listener = Arc::new(self);
        loop {
            match listener.socket.accept().await {
                Ok((socket, address)) => listener.admit(socket, address),
                Err(error) => {
                    if listener.door.shared.may_log() {
                        warn!(%error, "a connection could not be accepted");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, socket: TcpStream, address: SocketAddr) {
        let census = &self.census;
        let Some(place) = census.take(|c| &c.connections, census.connections_max) else {
            self.warn_full(address, "limits.connections_max");
            return;
        };
        let Some(connecting) = census.take(|c| &c.connecting, census.connecting_max) else {
            self.warn_full(address, "limits.connecting_max");
            return;
        };
        tokio::spawn(serve(self.clone(), socket, address, place, connecting));
    }

    fn warn_full(&self, address: SocketAddr, limit: &str) {
        if self.door.shared.may_log() {
            warn!(%address, "refused: {limit} is reached");
        }
    }

    async fn tls(&self, socket: TcpStream) -> io::Result<(Stream, Option<Box<str>>)> {
        let Some(acceptor) = &self.tls else { return Ok((Stream::Tcp(socket), None)) };
        let stream = acceptor.accept(socket).await?;
        let certificates = stream.get_ref().1.peer_certificates();
        let cn = certificates.and_then(|c| tls::common_name(c.first()?)).map(Into::into);
        Ok((Stream::Tls(Box::new(stream)), cn))
    }
}

async fn serve(
    listener: Arc<Listener>,
    socket: TcpStream,
    address: SocketAddr,
    place: Place,
    connecting: Place,
) {
    // Acknowledgements and alarms are small and must not wait for company; what can go together is
    // written together.
    let _ = socket.set_nodelay(true);
    let shaken = tokio::time::timeout(listener.connect_timeout, greet(&listener, socket, address));
    // Boxed: what is needed once, at the start, shall not make every idle connection larger.
    let shaken = Box::pin(shaken).await;
    drop(connecting);
    drop(listener);
    match shaken {
        Ok(Some(Ok(connection))) => connection.run().await,
        Ok(Some(Err(stream))) => linger(stream).await,
        Ok(None) => {}
        Err(_) => debug!(%address, "no CONNECT within limits.connect_timeout_ms"),
    }
    drop(place);
}

async fn greet(
    listener: &Listener,
    socket: TcpStream,
    address: SocketAddr,
) -> Option<Result<super::connection::Connection, Stream>> {
    let (stream, certificate_cn) = match listener.tls(socket).await {
        Ok(secured) => secured,
        Err(error) => {
            if listener.door.shared.may_log() {
                warn!(%address, %error, "TLS failed");
            }
            return None;
        }
    };
    let caller = Caller {
        address: address.to_string().into(),
        policy: listener.policy,
        certificate_cn,
        is_internal: false,
    };
    Some(shake_hands(&listener.door, caller, stream).await)
}
