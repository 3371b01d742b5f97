//! A byte stream to the server: TCP, or TLS over it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::error::ClientError;
use super::settings::Settings;

/// How long one address may take to answer, and a server to come through the TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Where packets pass.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Transport for T {}

/// Connects to the first address of the server that answers.
pub(super) async fn connect(settings: &Settings) -> Result<Box<dyn Transport>, ClientError> {
    let stream = connect_tcp(settings).await?;
    match &settings.tls {
        Some(config) => connect_tls(settings, config, stream).await,
        None => Ok(Box::new(stream)),
    }
}

async fn connect_tcp(settings: &Settings) -> Result<TcpStream, ClientError> {
    let local = match &settings.bind_address {
        Some(name) => lookup(name, 0).await?,
        None => Vec::new(),
    };
    let mut failed = None;
    for address in lookup(&settings.host, settings.port).await? {
        match timeout(CONNECT_TIMEOUT, connect_to(address, &local)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failed = Some((address, error)),
            Err(_) => failed = Some((address, io::ErrorKind::TimedOut.into())),
        }
    }
    match failed {
        Some((address, error)) => Err(ClientError::Connect { address: address.to_string(), error }),
        None => Err(no_address(&settings.host, "it has none")),
    }
}

async fn lookup(host: &str, port: u16) -> Result<Vec<SocketAddr>, ClientError> {
    match lookup_host((host, port)).await {
        Ok(addresses) => Ok(addresses.collect()),
        // The system's words begin with "failed to lookup address information: ".
        Err(error) => {
            let text = error.to_string();
            Err(no_address(host, text.rsplit(": ").next().unwrap_or(&text)))
        }
    }
}

fn no_address(host: &str, reason: &str) -> ClientError {
    ClientError::Lookup { host: host.to_owned(), reason: reason.to_owned() }
}

/// `local`: the addresses of this machine to connect from; none: the system chooses.
async fn connect_to(address: SocketAddr, local: &[SocketAddr]) -> io::Result<TcpStream> {
    let socket = match address.ip() {
        IpAddr::V4(_) => TcpSocket::new_v4()?,
        IpAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if !local.is_empty() {
        let same_family = local.iter().find(|local| local.is_ipv4() == address.is_ipv4());
        socket.bind(*same_family.ok_or(io::ErrorKind::AddrNotAvailable)?)?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn connect_tls(
    settings: &Settings,
    config: &Arc<ClientConfig>,
    stream: TcpStream,
) -> Result<Box<dyn Transport>, ClientError> {
    let failed = |reason: String| ClientError::Tls {
        address: format!("{}:{}", settings.host, settings.port),
        reason,
    };
    let name = ServerName::try_from(settings.host.clone())
        .map_err(|_| failed("its name can stand in no certificate".into()))?;
    let handshake = TlsConnector::from(Arc::clone(config)).connect(name, stream);
    match timeout(CONNECT_TIMEOUT, handshake).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed("it did not answer in time".into())),
    }
}
