//! How the bridge gets a byte stream to a broker: by TCP, through a proxy, with TLS, over WebSocket, in
//! this order and as far as the configuration asks for them; or what the caller makes up.
//!
//! Each step knows the byte stream below it and nothing of the others. What goes over the stream, MQTT
//! and compression, knows nothing of the steps.

mod proxy;
mod tcp;
pub(crate) mod tls;
pub(crate) mod websocket;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::addresses::Addresses;
use crate::config::{BridgeConfig, LocalConfig, TlsConfig, host_of};
use crate::link_error::{LinkError, Phase};
use crate::peering::NodeId;
use proxy::Proxy;
use tcp::TcpConnector;
use tls::{Tls, TlsFiles};
use websocket::WebSocket;

/// Looking up a name, one TCP connect, and each handshake may take this long.
const STEP_LIMIT_S: u64 = 10;

/// As `ack_timeout_s` where it is not given, for a local broker over the network.
const LOCAL_ACK_TIMEOUT: Duration = Duration::from_secs(60);

/// A byte stream in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Any byte stream.
pub type BoxedStream = Box<dyn Stream>;

/// A connection in the making.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = Result<BoxedStream, LinkError>> + Send + 'a>>;

/// Which topics are meant.
pub type TopicTest = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Makes byte streams to one broker, a new one for each link.
pub trait Connector: Send {
    /// Makes one.
    ///
    /// # Errors
    /// [`LinkError::Transport`] or [`LinkError::TimedOut`], with the step that failed.
    fn connect(&mut self) -> Connecting<'_>;

    /// The address of the last connection, where it is not that of the configuration.
    fn address(&self) -> Option<&str> {
        None
    }

    /// The broker, where it is an Outpost and known before it is asked.
    fn node(&self) -> Option<NodeId> {
        None
    }

    /// Of what goes out by this broker's connection, only `takes` is wanted at the other end, and what is
    /// retained on `newly`, which was not wanted before. A broker that can see to it does.
    fn narrow(&mut self, _takes: TopicTest, _newly: TopicTest) {}

    /// A link by the last connection has ended.
    fn link_ended(&mut self) {}

    /// Makes connections to an address that is preferred to the one in use.
    fn preferred(&mut self) -> Option<&mut dyn Connector> {
        None
    }
}

/// The connector to the remote broker that a configuration asks for; it is valid (see
/// [`BridgeConfig::validate`]).
///
/// # Errors
/// A TLS file that cannot be used, with its name, or a server name that is none.
pub fn remote_connector(config: &BridgeConfig) -> Result<Box<dyn Connector>, LinkError> {
    let files = tls_files(config.tls.as_ref())?;
    if config.fallback_addresses.is_empty() {
        return Ok(Box::new(Way::remote(&config.address, config, files)?));
    }
    let addresses = std::iter::once(&config.address).chain(&config.fallback_addresses);
    let each = addresses.map(|address| {
        let way = Way::remote(address, config, files.clone())?;
        Ok((address.clone(), Box::new(way) as Box<dyn Connector>))
    });
    let each = each.collect::<Result<_, LinkError>>()?;
    Ok(Box::new(Addresses::new(config.address_policy, each)))
}

/// The connector to a local broker that is reached over the network.
///
/// # Errors
/// A TLS file that cannot be used, with its name, or a server name that is none.
pub fn local_connector(config: &LocalConfig) -> Result<Box<dyn Connector>, LinkError> {
    let files = tls_files(config.tls.as_ref())?;
    Ok(Box::new(Way::new(&config.address, LOCAL_ACK_TIMEOUT, files)?))
}

/// All addresses of a broker share what the files hold.
fn tls_files(config: Option<&TlsConfig>) -> Result<Option<Arc<TlsFiles>>, LinkError> {
    config.map(|config| Ok(Arc::new(TlsFiles::read(config)?))).transpose()
}

/// The way to one address of a broker.
struct Way {
    address: String,
    tcp: TcpConnector,
    proxy: Option<Proxy>,
    tls: Option<Tls>,
    websocket: Option<WebSocket>,
}

impl Way {
    /// By TCP, and TLS where there are files for it.
    fn new(
        address: &str,
        ack_timeout: Duration,
        files: Option<Arc<TlsFiles>>,
    ) -> Result<Self, LinkError> {
        let host = host_of(address).unwrap_or(address);
        Ok(Self {
            address: address.to_owned(),
            tcp: TcpConnector::new(address, address.to_owned(), ack_timeout),
            proxy: None,
            tls: files.map(|files| Tls::new(files, host)).transpose()?,
            websocket: None,
        })
    }

    /// With all that the configuration of a remote broker asks for.
    fn remote(
        address: &str,
        config: &BridgeConfig,
        files: Option<Arc<TlsFiles>>,
    ) -> Result<Self, LinkError> {
        let ack_timeout = Duration::from_secs(config.ack_timeout_s.into());
        let mut way = Self::new(address, ack_timeout, files)?;
        if let Some(proxy) = &config.proxy {
            let label = format!("proxy {}", proxy.address);
            way.tcp = TcpConnector::new(&proxy.address, label, ack_timeout);
            way.proxy = Some(Proxy::new(proxy));
        }
        way.websocket = config.websocket.as_ref().map(|websocket| {
            WebSocket::new(address, websocket, way.tls.is_some(), config.packet_bytes_max)
        });
        Ok(way)
    }

    async fn open(&self) -> Result<BoxedStream, LinkError> {
        let mut tcp = self.tcp.open().await?;
        if let Some(proxy) = &self.proxy {
            proxy.ask(&mut tcp, &self.address).await?;
        }
        let mut stream: BoxedStream = Box::new(tcp);
        if let Some(tls) = &self.tls {
            stream = tls.open(stream, &self.address).await?;
        }
        if let Some(websocket) = &self.websocket {
            stream = websocket.open(stream, &self.address).await?;
        }
        Ok(stream)
    }
}

impl Connector for Way {
    fn connect(&mut self) -> Connecting<'_> {
        Box::pin(self.open())
    }
}

/// One step, within its time. `peer`: the address that it is taken with.
async fn within<T>(
    phase: Phase,
    peer: &str,
    step: impl Future<Output = T>,
) -> Result<T, LinkError> {
    timeout(Duration::from_secs(STEP_LIMIT_S), step).await.map_err(|_| LinkError::TimedOut {
        phase,
        peer: peer.to_owned(),
        limit_s: STEP_LIMIT_S,
    })
}

fn transport(phase: Phase, what: String) -> LinkError {
    LinkError::Transport { phase, what }
}
