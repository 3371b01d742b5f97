//! TLS, by rustls with the ring provider, and the files that it needs.
//!
//! The files are looked at before each connection, and used anew when they have changed: a renewed
//! client certificate needs no restart. Where the new ones cannot be used, perhaps because only one of
//! two has been written yet, the old ones go on.

use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, ClientConfig, Error as TlsError, RootCertStore,
};
use tracing::{info, warn};

use super::{BoxedStream, tcp, transport, within};
use crate::config::TlsConfig;
use crate::link_error::{LinkError, Phase, io_words};

/// No file that is larger, in bytes, is taken.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// TLS to one address.
pub(super) struct Tls {
    files: Arc<TlsFiles>,
    server_name: ServerName<'static>,
}

impl Tls {
    /// `host`: the name that the certificate has to bear, unless the configuration names another.
    ///
    /// # Errors
    /// A server name that is none.
    pub(super) fn new(files: Arc<TlsFiles>, host: &str) -> Result<Self, LinkError> {
        let name = files.config.server_name.as_deref().unwrap_or(host);
        let server_name = ServerName::try_from(name.to_owned()).map_err(|_| {
            tls_error(format!("\"{name}\" is neither a host name nor an IP address"))
        })?;
        Ok(Self { files, server_name })
    }

    pub(super) async fn open(
        &self,
        stream: BoxedStream,
        address: &str,
    ) -> Result<BoxedStream, LinkError> {
        let connector = tokio_rustls::TlsConnector::from(self.files.current());
        let handshake = connector.connect_with(self.server_name.clone(), stream, |client| {
            // As much as the socket holds back, for the same reason.
            client.set_buffer_limit(Some(tcp::UNSENT_BYTES_MAX as usize));
        });
        let stream = within(Phase::Tls, address, handshake).await?;
        Ok(Box::new(stream.map_err(|error| tls_error(format!("{address}: {}", words(&error))))?))
    }
}

/// The files of one broker, for all its addresses.
pub(super) struct TlsFiles {
    config: TlsConfig,
    last: Mutex<Last>,
}

/// What was read last, and what is used.
struct Last {
    texts: Texts,
    client: Arc<ClientConfig>,
}

/// What the files hold, or why they cannot be read. Contents tell a change where times and lengths may
/// be the same, and three small files are nothing beside a handshake.
#[derive(PartialEq, Eq)]
struct Texts {
    ca: Result<Vec<u8>, String>,
    cert: Option<Result<Vec<u8>, String>>,
    key: Option<Result<Vec<u8>, String>>,
}

impl TlsFiles {
    /// Reads the files that `config` names.
    ///
    /// # Errors
    /// A file that cannot be read or used, with its name.
    pub(super) fn read(config: &TlsConfig) -> Result<Self, LinkError> {
        let texts = Texts::read(config);
        let client = Arc::new(client_config(config, &texts).map_err(tls_error)?);
        let last = Mutex::new(Last { texts, client });
        Ok(Self { config: config.clone(), last })
    }

    /// The files as they are now, or as they were when they could last be used.
    fn current(&self) -> Arc<ClientConfig> {
        // A panic leaves what was used before.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let texts = Texts::read(&self.config);
        if texts != last.texts {
            match client_config(&self.config, &texts) {
                Ok(client) => {
                    last.client = Arc::new(client);
                    let TlsConfig { ca_file, cert_file, key_file, .. } = &self.config;
                    info!(ca_file, cert_file, key_file, "changed TLS files are used");
                }
                Err(what) => {
                    warn!("changed TLS files cannot be used, the old ones go on: {what}");
                }
            }
            last.texts = texts;
        }
        last.client.clone()
    }
}

impl Texts {
    fn read(config: &TlsConfig) -> Self {
        Self {
            ca: read(&config.ca_file),
            cert: config.cert_file.as_deref().map(read),
            key: config.key_file.as_deref().map(read),
        }
    }
}

fn read(file: &str) -> Result<Vec<u8>, String> {
    let failed = |error: io::Error| format!("{file}: {}", io_words(&error));
    let mut text = Vec::new();
    let opened = File::open(file).map_err(failed)?;
    opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("{file}: it is larger than {FILE_BYTES_MAX} bytes"));
    }
    Ok(text)
}

fn client_config(config: &TlsConfig, texts: &Texts) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&config.ca_file, &texts.ca)? {
        roots.add(certificate).map_err(|error| format!("{}: {error}", config.ca_file))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let cert = config.cert_file.as_ref().zip(texts.cert.as_ref());
    let mut client = match cert.zip(config.key_file.as_ref().zip(texts.key.as_ref())) {
        Some(((cert_file, cert), (key_file, key))) => {
            let key = PrivateKeyDer::from_pem_slice(key.as_ref()?)
                .map_err(|error| format!("{key_file}: {error}"))?;
            let words = |error| match error {
                TlsError::InconsistentKeys(_) => format!(
                    "{key_file}: is not the private key of the first certificate in {cert_file}"
                ),
                other => format!("{cert_file} and {key_file}: {other}"),
            };
            builder.with_client_auth_cert(certificates(cert_file, cert)?, key).map_err(words)?
        }
        None => builder.with_no_client_auth(),
    };
    client.alpn_protocols = config.alpn.iter().map(|name| name.clone().into_bytes()).collect();
    Ok(client)
}

fn certificates(
    file: &str,
    text: &Result<Vec<u8>, String>,
) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(text.as_ref()?)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{file}: {error}"))?;
    if certificates.is_empty() {
        return Err(format!("{file}: no certificate in it"));
    }
    Ok(certificates)
}

fn tls_error(what: String) -> LinkError {
    transport(Phase::Tls, what)
}

/// What went wrong with a connection, where TLS says it as the system does elsewhere: also what a server
/// thinks of a client certificate, which it tells after the handshake.
pub(crate) fn words(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    let what = match inner {
        Some(TlsError::InvalidCertificate(certificate)) => return certificate_words(certificate),
        Some(TlsError::AlertReceived(alert)) => return alert_words(*alert),
        Some(TlsError::NoApplicationProtocol) => NO_ALPN,
        Some(TlsError::InvalidMessage(_)) => "what it answered is no TLS",
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "it closed the connection in the middle of the handshake"
        }
        _ => return io_words(error),
    };
    what.to_owned()
}

const NO_ALPN: &str = "it speaks none of the protocols in alpn";

fn certificate_words(error: &CertificateError) -> String {
    match error {
        // The second: from one with the name of an authority there, and another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is from none of the authorities in ca_file".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet (is the clock of this machine right?)".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, .. } => {
            format!("its certificate is not for {}", expected.to_str())
        }
        other => format!("its certificate cannot be trusted: {other}"),
    }
}

fn alert_words(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::NoApplicationProtocol => NO_ALPN.to_owned(),
        AlertDescription::CertificateRequired => "it wants a client certificate".to_owned(),
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied => {
            format!("it does not take the client certificate ({alert:?})")
        }
        other => format!("it refused TLS ({other:?})"),
    }
}
