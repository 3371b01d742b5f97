//! How the bridge gets a byte stream to a broker: TCP, TLS, or what the caller makes up.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::addresses::Addresses;
use crate::config::{BridgeConfig, LocalConfig, TlsConfig, host_of};
use crate::link_error::{LinkError, Phase};

/// Looking up a name, one TCP connect, and the TLS handshake may each take this long.
const STEP_LIMIT_S: u64 = 10;

/// No more addresses of one name are tried in one attempt.
const ADDRESSES_MAX: usize = 4;

/// A byte stream in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Any byte stream.
pub type BoxedStream = Box<dyn Stream>;

/// A connection in the making.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = Result<BoxedStream, LinkError>> + Send + 'a>>;

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

    /// A link by the last connection has ended.
    fn link_ended(&mut self) {}

    /// Makes connections to an address that is preferred to the one in use.
    fn preferred(&mut self) -> Option<&mut dyn Connector> {
        None
    }
}

/// The connector to the remote broker that a configuration asks for.
///
/// # Errors
/// A TLS file that cannot be used, with its name.
pub fn remote_connector(config: &BridgeConfig) -> Result<Box<dyn Connector>, LinkError> {
    if config.fallback_addresses.is_empty() {
        return connector_to(&config.address, config.tls.as_ref());
    }
    let addresses = std::iter::once(&config.address).chain(&config.fallback_addresses);
    let each =
        addresses.map(|address| Ok((address.clone(), connector_to(address, config.tls.as_ref())?)));
    let each = each.collect::<Result<_, LinkError>>()?;
    Ok(Box::new(Addresses::new(config.address_policy, each)))
}

/// The connector to a local broker that is reached over the network.
///
/// # Errors
/// A TLS file that cannot be used, with its name.
pub fn local_connector(config: &LocalConfig) -> Result<Box<dyn Connector>, LinkError> {
    connector_to(&config.address, config.tls.as_ref())
}

fn connector_to(address: &str, tls: Option<&TlsConfig>) -> Result<Box<dyn Connector>, LinkError> {
    let tcp = TcpConnector::new(address);
    match tls {
        None => Ok(Box::new(tcp)),
        Some(tls) => {
            let host = host_of(address).unwrap_or(address);
            let server_name = tls.server_name.as_deref().unwrap_or(host);
            Ok(Box::new(TlsConnector::new(tcp, tls, server_name)?))
        }
    }
}

/// TCP to `host:port`. The name is looked up for each connection, and its addresses are tried in
/// the order that the resolver gives.
#[derive(Clone, Debug)]
pub struct TcpConnector {
    address: String,
}

impl TcpConnector {
    /// To this address, in the form of [`BridgeConfig::address`].
    pub fn new(address: &str) -> Self {
        Self { address: address.into() }
    }

    async fn open(&self) -> Result<TcpStream, LinkError> {
        let mut last_error = transport(Phase::Dns, format!("{} has no address", self.address));
        for address in self.look_up().await?.into_iter().take(ADDRESSES_MAX) {
            match connect_tcp(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last_error = error,
            }
        }
        Err(last_error)
    }

    async fn look_up(&self) -> Result<Vec<SocketAddr>, LinkError> {
        let found = within(Phase::Dns, lookup_host(&self.address)).await?;
        let found =
            found.map_err(|error| transport(Phase::Dns, format!("{}: {error}", self.address)))?;
        Ok(found.collect())
    }
}

impl Connector for TcpConnector {
    fn connect(&mut self) -> Connecting<'_> {
        Box::pin(async move { Ok(Box::new(self.open().await?) as BoxedStream) })
    }
}

/// TLS over TCP, by rustls with the ring provider.
#[derive(Clone)]
pub struct TlsConnector {
    tcp: TcpConnector,
    tls: tokio_rustls::TlsConnector,
    server_name: ServerName<'static>,
}

impl TlsConnector {
    /// Reads the files that `config` names. A change of the files needs a new connector.
    ///
    /// # Errors
    /// A file that cannot be read or used, with its name, or a server name that is none.
    pub fn new(
        tcp: TcpConnector,
        config: &TlsConfig,
        server_name: &str,
    ) -> Result<Self, LinkError> {
        let server_name = ServerName::try_from(server_name.to_owned()).map_err(|_| {
            tls_error(format!("\"{server_name}\" is neither a host name nor an IP address"))
        })?;
        let tls = tokio_rustls::TlsConnector::from(Arc::new(client_config(config)?));
        Ok(Self { tcp, tls, server_name })
    }

    async fn open(&self) -> Result<BoxedStream, LinkError> {
        let tcp = self.tcp.open().await?;
        let handshake = self.tls.connect(self.server_name.clone(), tcp);
        let stream = within(Phase::Tls, handshake).await?;
        let failed = |error| tls_error(format!("{}: {error}", self.tcp.address));
        Ok(Box::new(stream.map_err(failed)?))
    }
}

impl Connector for TlsConnector {
    fn connect(&mut self) -> Connecting<'_> {
        Box::pin(self.open())
    }
}

async fn connect_tcp(address: SocketAddr) -> Result<TcpStream, LinkError> {
    let failed = |error: io::Error| transport(Phase::Tcp, format!("{address}: {error}"));
    let stream = within(Phase::Tcp, TcpStream::connect(address)).await?.map_err(failed)?;
    // The bridge writes whole bursts; what it writes should leave at once.
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
}

async fn within<T>(phase: Phase, step: impl Future<Output = T>) -> Result<T, LinkError> {
    timeout(Duration::from_secs(STEP_LIMIT_S), step)
        .await
        .map_err(|_| LinkError::TimedOut { phase, limit_s: STEP_LIMIT_S })
}

fn client_config(config: &TlsConfig) -> Result<ClientConfig, LinkError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&config.ca_file)? {
        roots
            .add(certificate)
            .map_err(|error| tls_error(format!("{}: {error}", config.ca_file)))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| tls_error(error.to_string()))?
        .with_root_certificates(roots);
    let mut client = match (&config.cert_file, &config.key_file) {
        (Some(cert_file), Some(key_file)) => {
            let key = PrivateKeyDer::from_pem_file(Path::new(key_file))
                .map_err(|error| tls_error(format!("{key_file}: {error}")))?;
            builder
                .with_client_auth_cert(certificates(cert_file)?, key)
                .map_err(|error| tls_error(format!("{cert_file} and {key_file}: {error}")))?
        }
        _ => builder.with_no_client_auth(),
    };
    client.alpn_protocols = config.alpn.iter().map(|name| name.clone().into_bytes()).collect();
    Ok(client)
}

fn certificates(file: &str) -> Result<Vec<CertificateDer<'static>>, LinkError> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(Path::new(file))
        .and_then(Iterator::collect)
        .map_err(|error| tls_error(format!("{file}: {error}")))?;
    if certificates.is_empty() {
        return Err(tls_error(format!("{file}: no certificate in it")));
    }
    Ok(certificates)
}

fn transport(phase: Phase, what: String) -> LinkError {
    LinkError::Transport { phase, what }
}

fn tls_error(what: String) -> LinkError {
    transport(Phase::Tls, what)
}
