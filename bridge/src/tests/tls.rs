//! TCP and TLS over the loopback, with certificates made on the spot.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use outpost_protocol::{ProtocolVersion, QoS};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::fake::{FakeBroker, until};
use super::{config, models, setup};
use crate::config::{BridgeConfig, TlsConfig};
use crate::connect::{Connector, remote_connector};
use crate::link_error::{LinkError, Phase};
use crate::model::Message;
use crate::run;
use crate::side::PerSide;
use crate::status::BridgeStatus;

/// An authority, and the files of one server and one client that it vouches for.
pub(super) struct Files {
    folder: tempfile::TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Files {
    pub(super) fn make() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"))
            .expect("signed");
        let files = Self { folder, authority };
        files.write("ca.pem", &files.authority.pem());
        for name in ["localhost", "gateway"] {
            files.issue(name);
        }
        files
    }

    /// A new certificate and its key.
    fn issue(&self, name: &str) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.authority).expect("signed");
        self.write(&format!("{name}.pem"), &certificate.pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }

    /// For a gateway that knows the authority, and whom it knows.
    pub(super) fn config(&self) -> TlsConfig {
        TlsConfig {
            ca_file: self.text("ca.pem"),
            cert_file: Some(self.text("gateway.pem")),
            key_file: Some(self.text("gateway.key")),
            server_name: Some("localhost".into()),
            alpn: vec!["mqtt".into()],
        }
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("written");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("UTF-8").to_owned()
    }

    /// Takes only clients that the authority vouches for.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(certificate(&self.path("ca.pem"))).expect("a certificate");
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .expect("an authority");
        let key = PrivateKeyDer::from_pem_file(self.path("localhost.key")).expect("a key");
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate(&self.path("localhost.pem"))], key)
            .expect("a pair");
        config.alpn_protocols = vec![b"mqtt".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

fn certificate(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).expect("a certificate")
}

/// Serves `broker` behind TLS; the port.
async fn listen(broker: FakeBroker, acceptor: TlsAcceptor) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                broker.serve(Box::new(stream));
            }
        }
    });
    port
}

fn with_tls(port: u16, tls: TlsConfig) -> BridgeConfig {
    BridgeConfig { address: format!("127.0.0.1:{port}"), tls: Some(tls), ..config(2) }
}

#[tokio::test]
async fn messages_go_over_tls_with_a_client_certificate() {
    let files = Files::make();
    let brokers = models(ProtocolVersion::V5);
    let port = listen(brokers.remote.clone(), files.acceptor()).await;
    relay_large_messages(with_tls(port, files.config()), &brokers).await;
}

/// A large message each way, with the remote broker where the configuration says.
pub(super) async fn relay_large_messages(config: BridgeConfig, brokers: &PerSide<FakeBroker>) {
    config.validate().expect("a valid configuration");
    let remote = remote_connector(&config).expect("usable files");
    let status = Arc::new(BridgeStatus::new("large"));
    let (shutdown, shut_down) = tokio::sync::oneshot::channel::<()>();
    let local = brokers.local.connector();
    let stop = async move { drop(shut_down.await) };
    let bridge = tokio::spawn(run(setup(config, local, remote, &status), stop));
    let PerSide { local, remote } = brokers;
    until("subscribed", || local.model().subscribes > 0 && remote.model().subscribes > 0).await;
    local.publish(Message::new("up/x", QoS::ExactlyOnce, "a".repeat(200_000)));
    remote.publish(Message::new("site7/down/x", QoS::ExactlyOnce, "b".repeat(200_000)));
    let arrived = || remote.model().delivered.len() == 1 && local.model().delivered.len() == 1;
    until("arrived", || arrived() && local.model().is_idle() && remote.model().is_idle()).await;
    assert_eq!(status.snapshot().last_error, None, "the first link did");
    shutdown.send(()).expect("it runs");
    bridge.await.expect("it does not panic");
}

/// The client certificate of one connection, as the server sees it.
async fn presented(
    connector: &mut dyn Connector,
    listener: &TcpListener,
    acceptor: &TlsAcceptor,
) -> CertificateDer<'static> {
    let server = async {
        let (stream, _) = listener.accept().await.expect("the bridge comes");
        let stream = acceptor.accept(stream).await.expect("a certificate that is known");
        stream.get_ref().1.peer_certificates().expect("it was asked for")[0].clone().into_owned()
    };
    let (connected, certificate) = tokio::join!(connector.connect(), server);
    connected.expect("the server is known");
    certificate
}

#[tokio::test]
async fn renewed_certificates_are_used_at_the_next_connection() {
    let files = Files::make();
    let acceptor = files.acceptor();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let mut connector = remote_connector(&with_tls(port, files.config())).expect("usable files");
    let in_file = || certificate(&files.path("gateway.pem"));
    let first = in_file();
    assert_eq!(presented(&mut *connector, &listener, &acceptor).await, first);
    files.issue("gateway");
    let second = in_file();
    assert_ne!(second, first);
    assert_eq!(presented(&mut *connector, &listener, &acceptor).await, second);
    // Whoever renews writes one file after the other.
    files.write("gateway.key", &KeyPair::generate().expect("a key").serialize_pem());
    assert_eq!(presented(&mut *connector, &listener, &acceptor).await, second);
    for broken in ["", "no PEM", "-----BEGIN CERTIFICATE-----\n!\n"] {
        files.write("gateway.pem", broken);
        assert_eq!(presented(&mut *connector, &listener, &acceptor).await, second);
    }
    std::fs::remove_file(files.path("ca.pem")).expect("it is there");
    assert_eq!(presented(&mut *connector, &listener, &acceptor).await, second);
    files.write("ca.pem", &files.authority.pem());
    files.issue("gateway");
    assert_eq!(presented(&mut *connector, &listener, &acceptor).await, in_file());
    assert_ne!(in_file(), second);
}

/// The authority of the remote broker may change as well.
#[tokio::test]
async fn a_renewed_authority_is_trusted_at_the_next_connection() {
    let (files, others) = (Files::make(), Files::make());
    let brokers = models(ProtocolVersion::V5);
    let port = listen(brokers.remote, others.acceptor()).await;
    let tls = TlsConfig { cert_file: None, key_file: None, ..files.config() };
    let mut connector = remote_connector(&with_tls(port, tls)).expect("usable files");
    let error = connector.connect().await.err().expect("it is refused");
    let words = "its certificate is from none of the authorities in ca_file";
    assert_eq!(error.to_string(), format!("TLS failed: 127.0.0.1:{port}: {words}"));
    files.write("ca.pem", &others.authority.pem());
    assert!(connector.connect().await.is_ok());
}

/// With TLS 1.3 a server says what it thinks of the client when the client takes itself for connected.
#[tokio::test]
async fn a_client_without_a_certificate_is_told() {
    let files = Files::make();
    let brokers = models(ProtocolVersion::V5);
    let port = listen(brokers.remote.clone(), files.acceptor()).await;
    let tls = TlsConfig { cert_file: None, key_file: None, ..files.config() };
    let config = with_tls(port, tls);
    let remote = remote_connector(&config).expect("usable files");
    let status = Arc::new(BridgeStatus::new("tls"));
    let local = brokers.local.connector();
    let bridge = run(setup(config, local, remote, &status), std::future::pending());
    let bridge = tokio::spawn(bridge);
    until("told", || status.snapshot().last_error.is_some()).await;
    let told = status.snapshot().last_error.expect("just seen").what;
    assert!(told.ends_with("failed: it wants a client certificate"), "{told}");
    bridge.abort();
}

#[tokio::test]
async fn a_server_that_another_authority_vouches_for_is_refused() {
    let files = Files::make();
    let others = Files::make();
    let brokers = models(ProtocolVersion::V5);
    let port = listen(brokers.remote, others.acceptor()).await;
    let tls = TlsConfig {
        ca_file: files.text("ca.pem"),
        server_name: Some("localhost".into()),
        ..TlsConfig::default()
    };
    let mut connector = remote_connector(&with_tls(port, tls)).expect("usable files");
    let error = connector.connect().await.err().expect("it is refused");
    let LinkError::Transport { phase: Phase::Tls, what } = error else { panic!("{error}") };
    assert!(what.starts_with(&format!("127.0.0.1:{port}: ")), "{what}");
}

#[tokio::test]
async fn a_server_that_speaks_no_such_protocol_refuses() {
    let files = Files::make();
    let brokers = models(ProtocolVersion::V5);
    let port = listen(brokers.remote, files.acceptor()).await;
    let tls = TlsConfig {
        ca_file: files.text("ca.pem"),
        server_name: Some("localhost".into()),
        alpn: vec!["another".into()],
        ..TlsConfig::default()
    };
    let mut connector = remote_connector(&with_tls(port, tls)).expect("usable files");
    let error = connector.connect().await.err().expect("it is refused");
    let words = "it speaks none of the protocols in alpn";
    assert_eq!(error.to_string(), format!("TLS failed: 127.0.0.1:{port}: {words}"));
}

#[tokio::test]
async fn a_server_with_another_name_is_refused() {
    let files = Files::make();
    let brokers = models(ProtocolVersion::V5);
    let port = listen(brokers.remote, files.acceptor()).await;
    let tls = TlsConfig { ca_file: files.text("ca.pem"), ..TlsConfig::default() };
    let mut connector = remote_connector(&with_tls(port, tls)).expect("usable files");
    let error = connector.connect().await.err().expect("127.0.0.1 is not localhost");
    let words = "its certificate is not for 127.0.0.1";
    assert_eq!(error.to_string(), format!("TLS failed: 127.0.0.1:{port}: {words}"));
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let files = Files::make();
    files.write("empty.pem", "");
    for (ca_file, key_file) in [("none.pem", None), ("empty.pem", None), ("ca.pem", Some("ca.pem"))]
    {
        let tls = TlsConfig {
            ca_file: files.text(ca_file),
            cert_file: key_file.map(|_| files.text("gateway.pem")),
            key_file: key_file.map(|key_file| files.text(key_file)),
            server_name: None,
            alpn: Vec::new(),
        };
        let error = remote_connector(&with_tls(1, tls)).err().expect("no use");
        let named = files.text(key_file.unwrap_or(ca_file));
        assert!(error.to_string().contains(&named), "{error}");
    }
}

#[tokio::test]
async fn a_closed_port_is_a_failure_of_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let config = BridgeConfig { address: address.to_string(), ..config(1) };
    let mut connector = remote_connector(&config).expect("no files");
    let error = connector.connect().await.err().expect("nobody listens");
    assert!(error.to_string().starts_with(&format!("TCP failed: {address}: ")), "{error}");
    assert!(TcpStream::connect(address).await.is_err(), "the port is closed indeed");
}
