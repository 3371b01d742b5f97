//! TLS for listeners: from the files that the operator named to a rustls configuration, and the name
//! in a client certificate. Knows no sockets.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use x509_parser::parse_x509_certificate;

use crate::config::{ConfigErrors, ListenerTls, io_reason};

/// A file of keys or certificates may have so many bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A common name longer than MQTT lets a user name be is no user name.
const COMMON_NAME_BYTES_MAX: usize = 65_535;

/// What a listener presents and asks for: TLS 1.2 and 1.3 with the ring provider, certificate and
/// key from the files, client certificates not asked for, optional or required.
///
/// # Errors
/// The first file that cannot be read, holds nothing of its kind, or does not fit the others.
pub fn server_config(files: &ListenerTls) -> Result<Arc<ServerConfig>, ConfigErrors> {
    let provider = Arc::new(ring::default_provider());
    let certificates = read_certificates(&files.cert_file)?;
    let key = read_private_key(&files.key_file)?;
    let verifier = client_verifier(files, &provider)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| wrong(&files.cert_file, error.to_string()))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates, key)
        .map_err(|error| does_not_fit(files, &error))?;
    // A client resumes with the last ticket it got; a second one would only cost memory.
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

/// The common name in the subject of a certificate; `None` where there is none, more than one, or
/// one that cannot be a user name (empty, control characters, more than 65535 bytes).
pub fn common_name(cert: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = parse_x509_certificate(cert).ok()?;
    let mut names = certificate.subject().iter_common_name();
    // Of two names either could be meant; who gets to choose would choose the better one.
    let (name, None) = (names.next()?.as_str().ok()?, names.next()) else { return None };
    let usable = (1..=COMMON_NAME_BYTES_MAX).contains(&name.len());
    (usable && !name.contains(char::is_control)).then(|| name.to_owned())
}

/// The certificates in a PEM file: at least one.
///
/// # Errors
/// The file cannot be read or has no certificate in it.
pub fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigErrors> {
    let text = read(file)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let certificates = certificates.map_err(|error| broken(file, &error))?;
    if certificates.is_empty() {
        return Err(wrong(file, "has no certificate in it (PEM, -----BEGIN CERTIFICATE-----)"));
    }
    for (n, certificate) in certificates.iter().enumerate() {
        parse_x509_certificate(certificate)
            .map_err(|_| wrong(file, format!("certificate {} is not X.509", n + 1)))?;
    }
    Ok(certificates)
}

/// The first private key in a PEM file: PKCS #8, SEC 1 or PKCS #1.
///
/// # Errors
/// The file cannot be read, or has no private key in it that can be read without a passphrase.
pub fn read_private_key(file: &Path) -> Result<PrivateKeyDer<'static>, ConfigErrors> {
    let text = read(file)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound if is_encrypted(&text) => wrong(
            file,
            "its private key is encrypted; a broker has nobody to ask the passphrase of",
        ),
        pem::Error::NoItemsFound => {
            wrong(file, "has no private key in it (PEM, -----BEGIN PRIVATE KEY-----)")
        }
        error => broken(file, &error),
    })
}

fn client_verifier(
    files: &ListenerTls,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, ConfigErrors> {
    let Some(file) = &files.client_ca_file else {
        return Ok(WebPkiClientVerifier::no_client_auth());
    };
    let mut roots = RootCertStore::empty();
    for (n, certificate) in read_certificates(file)?.into_iter().enumerate() {
        roots.add(certificate).map_err(|error| {
            wrong(file, format!("certificate {} cannot be an authority: {error}", n + 1))
        })?;
    }
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let verifier = match files.require_client_cert {
        true => verifier,
        false => verifier.allow_unauthenticated(),
    };
    verifier.build().map_err(|error| wrong(file, error.to_string()))
}

fn does_not_fit(files: &ListenerTls, error: &rustls::Error) -> ConfigErrors {
    match error {
        rustls::Error::InconsistentKeys(_) => wrong(
            &files.key_file,
            format!(
                "is not the private key of the first certificate in {}",
                files.cert_file.display()
            ),
        ),
        // The certificate has been read; what is left to be refused is the kind of key.
        error => wrong(&files.key_file, format!("its private key cannot be used: {error}")),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, ConfigErrors> {
    let unreadable = |error| wrong(file, format!("cannot be read: {}", io_reason(&error)));
    let metadata = fs::metadata(file).map_err(unreadable)?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(wrong(file, "is not a PEM file: it must be a file of at most 4 MiB"));
    }
    fs::read(file).map_err(unreadable)
}

fn is_encrypted(text: &[u8]) -> bool {
    String::from_utf8_lossy(text).contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
}

fn broken(file: &Path, error: &pem::Error) -> ConfigErrors {
    let problem = match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no -----END line",
        pem::Error::IllegalSectionStart { .. } => "a -----BEGIN line is broken",
        pem::Error::Base64Decode(_) => "a section is not base64",
        _ => "it cannot be understood",
    };
    wrong(file, format!("is not a PEM file: {problem}"))
}

fn wrong(file: &Path, problem: impl Into<String>) -> ConfigErrors {
    ConfigErrors::of_file(file, problem)
}

#[cfg(test)]
mod tests;
