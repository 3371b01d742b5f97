//! Handshakes in memory, and what broken files get for an answer.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ConnectionCommon, ProtocolVersion, SideData};
use rustls::{ServerConnection, SupportedProtocolVersion};
use tempfile::TempDir;

use super::*;

/// An authority, with a server and a client certificate from it, all in files.
struct Site {
    directory: TempDir,
    authority: CertificateDer<'static>,
}

impl Site {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap();
        let site = Self { directory, authority: authority.der().clone() };
        site.write("ca.pem", &authority.pem());
        let issuer = Issuer::new(params, key);
        site.issue("server", &["server"], &issuer);
        site.issue("client", &["gateway-7"], &issuer);
        site
    }

    fn issue(&self, file: &str, names: &[&str], issuer: &Issuer<'_, KeyPair>) {
        let key = KeyPair::generate().unwrap();
        let certificate = named(names).signed_by(&key, issuer).unwrap();
        self.write(&format!("{file}.pem"), &certificate.pem());
        self.write(&format!("{file}.key"), &key.serialize_pem());
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.path(file), text).unwrap();
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    fn files(&self) -> ListenerTls {
        ListenerTls {
            cert_file: self.path("server.pem"),
            key_file: self.path("server.key"),
            client_ca_file: None,
            require_client_cert: false,
            cn_as_user_name: false,
        }
    }

    fn files_with_clients(&self, require_client_cert: bool) -> ListenerTls {
        let client_ca_file = Some(self.path("ca.pem"));
        ListenerTls { client_ca_file, require_client_cert, ..self.files() }
    }

    fn error(&self, files: &ListenerTls) -> String {
        let error = server_config(files).unwrap_err().to_string();
        error.replace(&format!("{}/", self.directory.path().display()), "")
    }

    fn client(&self, version: &'static SupportedProtocolVersion, certified: bool) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        if !certified {
            return builder.with_no_client_auth();
        }
        let certificate = read_certificates(&self.path("client.pem")).unwrap();
        let key = read_private_key(&self.path("client.key")).unwrap();
        builder.with_client_auth_cert(certificate, key).unwrap()
    }

    /// A whole handshake; what the server then knows.
    fn handshake(
        &self,
        files: &ListenerTls,
        version: &'static SupportedProtocolVersion,
        certified: bool,
    ) -> Result<(Option<ProtocolVersion>, Option<String>), rustls::Error> {
        let name = ServerName::try_from("localhost").unwrap();
        let client = Arc::new(self.client(version, certified));
        let mut client = ClientConnection::new(client, name).unwrap();
        let mut server = ServerConnection::new(server_config(files).unwrap()).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            carry(&mut client, &mut server)?;
            carry(&mut server, &mut client)?;
        }
        let certificate = server.peer_certificates().and_then(|chain| chain.first());
        Ok((server.protocol_version(), certificate.and_then(common_name)))
    }
}

fn carry<A: SideData, B: SideData>(
    from: &mut ConnectionCommon<A>,
    to: &mut ConnectionCommon<B>,
) -> Result<(), rustls::Error> {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    let mut bytes = &bytes[..];
    while !bytes.is_empty() {
        to.read_tls(&mut bytes).unwrap();
        to.process_new_packets()?;
    }
    Ok(())
}

fn named(common_names: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    for name in common_names {
        params.distinguished_name.push(DnType::CommonName, *name);
    }
    params
}

fn self_signed(common_names: &[&str]) -> CertificateDer<'static> {
    named(common_names).self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
}

#[test]
fn both_versions_without_client_certificates() {
    let site = Site::new();
    for (version, expected) in
        [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)]
    {
        for certified in [false, true] {
            let known = site.handshake(&site.files(), version, certified).unwrap();
            assert_eq!(known, (Some(expected), None), "not asked for, not known");
        }
    }
}

#[test]
fn client_certificates_optional_and_required() {
    let site = Site::new();
    for version in [&TLS12, &TLS13] {
        for required in [false, true] {
            let files = site.files_with_clients(required);
            let (_, name) = site.handshake(&files, version, true).unwrap();
            assert_eq!(name.as_deref(), Some("gateway-7"));
            let without = site.handshake(&files, version, false);
            assert_eq!(without.is_err(), required, "{without:?}");
        }
    }
}

#[test]
fn a_client_certificate_of_another_authority_is_refused() {
    let (site, other) = (Site::new(), Site::new());
    let foreign = ListenerTls {
        client_ca_file: Some(other.path("ca.pem")),
        ..site.files_with_clients(false)
    };
    assert!(site.handshake(&foreign, &TLS13, true).is_err());
    assert!(site.handshake(&foreign, &TLS13, false).is_ok());
}

#[test]
fn missing_and_empty_files() {
    let site = Site::new();
    site.write("empty", "");
    let files = |cert: &str, key: &str| ListenerTls {
        cert_file: site.path(cert),
        key_file: site.path(key),
        ..site.files()
    };
    assert_eq!(
        site.error(&files("no.pem", "server.key")),
        "no.pem: cannot be read: No such file or directory"
    );
    assert_eq!(
        site.error(&files("server.pem", "no.key")),
        "no.key: cannot be read: No such file or directory"
    );
    assert_eq!(
        site.error(&files("empty", "server.key")),
        "empty: has no certificate in it (PEM, -----BEGIN CERTIFICATE-----)"
    );
    assert_eq!(
        site.error(&files("server.pem", "server.pem")),
        "server.pem: has no private key in it (PEM, -----BEGIN PRIVATE KEY-----)"
    );
    let no_authority = ListenerTls { client_ca_file: Some(site.path("empty")), ..site.files() };
    assert_eq!(
        site.error(&no_authority),
        "empty: has no certificate in it (PEM, -----BEGIN CERTIFICATE-----)"
    );
    let directory = ListenerTls { key_file: site.directory.path().join("."), ..site.files() };
    assert!(
        site.error(&directory).ends_with("is not a PEM file: it must be a file of at most 4 MiB")
    );
}

#[test]
fn files_that_do_not_fit() {
    let site = Site::new();
    let files = ListenerTls { key_file: site.path("client.key"), ..site.files() };
    assert_eq!(
        site.error(&files),
        "client.key: is not the private key of the first certificate in server.pem"
    );
}

#[test]
fn broken_files() {
    let site = Site::new();
    let pem = fs::read_to_string(site.path("server.pem")).unwrap();
    let begin = "-----BEGIN CERTIFICATE-----\n";
    for (text, problem) in [
        (&pem[..pem.len() / 2], "is not a PEM file: a section has no -----END line"),
        (&pem.replace(begin, &format!("{begin}!!!")), "is not a PEM file: a section is not base64"),
        (&format!("{begin}AAAA\n-----END CERTIFICATE-----\n"), "certificate 1 is not X.509"),
    ] {
        site.write("broken.pem", text);
        let files = ListenerTls { cert_file: site.path("broken.pem"), ..site.files() };
        assert_eq!(site.error(&files), format!("broken.pem: {problem}"));
    }
    site.write(
        "locked.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let files = ListenerTls { key_file: site.path("locked.key"), ..site.files() };
    assert_eq!(
        site.error(&files),
        "locked.key: its private key is encrypted; a broker has nobody to ask the passphrase of"
    );
}

#[test]
fn common_names() {
    assert_eq!(common_name(&self_signed(&["g\u{e9}rard"])).as_deref(), Some("g\u{e9}rard"));
    assert_eq!(common_name(&self_signed(&[])), None, "no name");
    assert_eq!(common_name(&self_signed(&[""])), None, "an empty name");
    assert_eq!(common_name(&self_signed(&["a\nb"])), None, "a line break");
    let mut two = named(&["a"]);
    two.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 3]), "b");
    let two = two.self_signed(&KeyPair::generate().unwrap()).unwrap();
    assert_eq!(common_name(two.der()), None, "two names");
    assert_eq!(common_name(&CertificateDer::from(vec![0x30, 0x00])), None, "no certificate");
}
