//! Certificates made on the spot: an authority, and who it vouches for.

use std::fs;
use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;

/// An authority and its files: `ca.pem`, and `NAME.pem` and `NAME.key` of each [`issue`]. The
/// files are removed when it is dropped.
///
/// [`issue`]: Certificates::issue
#[derive(Debug)]
pub struct Certificates {
    folder: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Certificates {
    /// Makes an authority.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "Authority of a test");
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, key).expect("signed");
        let certificates = Self { folder, authority };
        certificates.write("ca.pem", &certificates.authority.pem());
        certificates
    }

    /// Vouches for `name` as a server at localhost and 127.0.0.1 and as a client.
    pub fn issue(&self, name: &str) {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("names of a host");
        params.use_authority_key_identifier_extension = true;
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.authority).expect("signed");
        self.write(&format!("{name}.pem"), &certificate.pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }

    /// Where a file is.
    pub fn path(&self, file: &str) -> String {
        let path: PathBuf = self.folder.path().join(file);
        path.to_str().expect("the temporary folder is UTF-8").to_owned()
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.path(file), text).expect("write a certificate");
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}
