//! TLS for a client: from the files that the user named to a rustls configuration. Knows no sockets.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};

use super::options::TlsOptions;
use crate::config::io_reason;
use crate::tls::{read_certificates, read_private_key};

/// How to speak TLS; None: not at all. `wanted`: by the URL or the port.
///
/// # Errors
/// Files that cannot be used, and options that mean nothing without TLS, in words.
pub(super) fn client_config(
    options: &TlsOptions,
    wanted: bool,
) -> Result<Option<Arc<ClientConfig>>, String> {
    let names_authorities = options.cafile.is_some() || options.capath.is_some();
    if !(wanted || names_authorities || options.tls_use_os_certs || options.cert.is_some()) {
        return match meaningless_option(options) {
            Some(option) => Err(format!("{option} needs --cafile, --capath or --tls-use-os-certs")),
            None => Ok(None),
        };
    }
    let provider = Arc::new(ring::default_provider());
    let roots = roots(options, options.tls_use_os_certs || !names_authorities)?;
    let verifier = verifier(roots, options.insecure, &provider)?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions(options))
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match (&options.cert, &options.key) {
        (Some(cert), Some(key)) => {
            let certificates = read_certificates(cert).map_err(|errors| errors.to_string())?;
            let private_key = read_private_key(key).map_err(|errors| errors.to_string())?;
            config
                .with_client_auth_cert(certificates, private_key)
                .map_err(|error| format!("{}: does not fit: {error}", key.display()))?
        }
        _ => config.with_no_client_auth(),
    };
    config.alpn_protocols =
        options.tls_alpn.iter().map(|protocol| protocol.clone().into_bytes()).collect();
    Ok(Some(Arc::new(config)))
}

fn meaningless_option(options: &TlsOptions) -> Option<&'static str> {
    [
        (options.insecure, "--insecure"),
        (options.tls_version.is_some(), "--tls-version"),
        (options.tls_alpn.is_some(), "--tls-alpn"),
    ]
    .into_iter()
    .find_map(|(is_given, option)| is_given.then_some(option))
}

fn versions(options: &TlsOptions) -> &'static [&'static SupportedProtocolVersion] {
    const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
    match options.tls_version.as_deref() {
        Some("tlsv1.3") => &BOTH[..1],
        Some("tlsv1.2") => &BOTH[1..],
        _ => BOTH,
    }
}

fn roots(options: &TlsOptions, use_os_certs: bool) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = &options.cafile {
        for certificate in read_certificates(file).map_err(|errors| errors.to_string())? {
            roots
                .add(certificate)
                .map_err(|error| format!("{}: no authority: {error}", file.display()))?;
        }
    }
    if let Some(directory) = &options.capath {
        add_directory(&mut roots, directory)?;
    }
    if use_os_certs {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
    }
    if roots.is_empty() {
        return Err("no certificate of an authority found to check the server with".into());
    }
    Ok(roots)
}

/// A directory may hold what is no authority; that is passed over.
fn add_directory(roots: &mut RootCertStore, directory: &Path) -> Result<(), String> {
    let unreadable =
        |error| format!("{}: cannot be read: {}", directory.display(), io_reason(&error));
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if is_certificate_file(&path)
            && let Ok(certificates) = read_certificates(&path)
        {
            roots.add_parsable_certificates(certificates);
        }
    }
    Ok(())
}

fn is_certificate_file(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "crt" || extension == "pem")
}

fn verifier(
    roots: RootCertStore,
    insecure: bool,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
            .build()
            .map_err(|error| error.to_string())?;
    Ok(if insecure { Arc::new(AnyName(verifier)) } else { verifier })
}

/// Checks everything but that the certificate is for the host that was asked for: what `--insecure`
/// means for mosquitto_pub and mosquitto_sub too.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified =
            self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // The name is checked last, when the rest was found to be right.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
