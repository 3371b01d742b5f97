//! TLS, with certificates made for the test.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use outpost_tests::free_port;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::prelude::*;

/// A broker with TLS on one port, whose certificate is for localhost, and the files of a client.
struct Fixture {
    _broker: Broker,
    address: SocketAddr,
    dir: PathBuf,
}

impl Fixture {
    /// `more`: further keys of the listener's TLS.
    fn new(more: &str) -> Self {
        let dir = std::env::temp_dir().join(unique("tls"));
        fs::create_dir_all(&dir).unwrap();
        let write = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_certificate = ca.self_signed(&ca_key).unwrap();
        write("ca.crt", &ca_certificate.pem());
        let issuer = Issuer::new(ca, ca_key);
        for name in ["localhost", "elsewhere.example"] {
            let key = KeyPair::generate().unwrap();
            let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap();
            let certificate = certificate.signed_by(&key, &issuer).unwrap();
            write(&format!("{name}.pem"), &certificate.pem());
            write(&format!("{name}.key"), &key.serialize_pem());
        }
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let file = |name: &str| dir.join(name).display().to_string();
        let broker = Broker::with_config(&format!(
            "[[listener]]\naddress = \"{address}\"\nallow_anonymous = true\n\
             [listener.tls]\ncert_file = {:?}\nkey_file = {:?}\n{}",
            file("localhost.pem"),
            file("localhost.key"),
            more.replace("{ca}", &file("ca.crt")),
        ));
        Self { _broker: broker, address, dir }
    }

    fn file(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// A publisher at `localhost`, on the port of TLS.
    fn publish(&self, host: &str, options: &[&str]) -> Ended {
        let port = self.address.port().to_string();
        let common = ["pub", "-h", host, "-p", &port, "-t", "t", "-m", "x", "-q", "1"];
        Command::outpost(&[&common, options].concat()).end()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // A folder for temporary files that cannot be emptied is nobody's failure.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn messages_over_tls() {
    if Broker::is_external() {
        return;
    }
    let fixture = Fixture::new("");
    let (ca, port) = (fixture.file("ca.crt"), fixture.address.port().to_string());
    let arguments = [
        "sub",
        "-d",
        "-h",
        "localhost",
        "-p",
        &port,
        "--cafile",
        &ca,
        "-t",
        "t",
        "-C",
        "3",
        "-q",
        "1",
    ];
    let sub = Command::outpost(&arguments);
    sub.wait_for_error("received SUBACK", 1);
    let directory = fixture.dir.display().to_string();
    for options in [
        &["--cafile", &ca][..],
        &["--capath", &directory, "--tls-version", "tlsv1.2"],
        &["--cafile", &ca, "--tls-version", "tlsv1.3"],
    ] {
        assert_eq!(fixture.publish("localhost", options).text(), "", "{options:?}");
    }
    assert_eq!(sub.end().text(), "x\nx\nx\n");
}

#[test]
fn the_authorities_of_the_machine() {
    if Broker::is_external() {
        return;
    }
    let fixture = Fixture::new("");
    let trusted = format!("SSL_CERT_FILE={}", fixture.file("ca.crt"));
    let outpost = outpost_tests::binary().display().to_string();
    let port = fixture.address.port().to_string();
    let url = format!("mqtts://localhost:{port}/t");
    for options in
        [&["-L", &url][..], &["-h", "localhost", "-p", &port, "-t", "t", "--tls-use-os-certs"]]
    {
        let line = [&[&trusted, &outpost, "pub", "-m", "x", "-q", "1"], options].concat();
        assert_eq!(Command::start("env", &line).end().text(), "", "{options:?}");
    }
}

#[test]
fn a_certificate_for_another_host() {
    if Broker::is_external() {
        return;
    }
    let fixture = Fixture::new("");
    let ca = fixture.file("ca.crt");
    let ended = fixture.publish("127.0.0.1", &["--cafile", &ca]);
    let expected = format!("outpost pub: cannot speak TLS with {}: ", fixture.address);
    assert!(ended.errors.starts_with(&expected), "{ended:?}");
    assert_eq!((ended.errors.lines().count(), ended.code), (1, Some(8)));
    assert_eq!(fixture.publish("127.0.0.1", &["--cafile", &ca, "--insecure"]).text(), "");
}

/// `--insecure` is about the name only.
#[test]
fn an_authority_that_is_not_trusted() {
    if Broker::is_external() {
        return;
    }
    let fixture = Fixture::new("");
    let other = Fixture::new("");
    let ended = fixture.publish("localhost", &["--cafile", &other.file("ca.crt"), "--insecure"]);
    assert!(ended.errors.starts_with("outpost pub: cannot speak TLS with "), "{ended:?}");
    assert_eq!(ended.code, Some(8));
}

#[test]
fn a_certificate_of_the_client() {
    if Broker::is_external() {
        return;
    }
    let fixture = Fixture::new("client_ca_file = \"{ca}\"\nrequire_client_cert = true\n");
    let ca = fixture.file("ca.crt");
    let (cert, key) =
        (fixture.file("elsewhere.example.pem"), fixture.file("elsewhere.example.key"));
    let with = fixture.publish("localhost", &["--cafile", &ca, "--cert", &cert, "--key", &key]);
    assert_eq!(with.text(), "");
    let without = fixture.publish("localhost", &["--cafile", &ca]);
    assert!(matches!(without.code, Some(7 | 8)), "{without:?}");
    assert_eq!(without.errors.lines().count(), 1);
    let (cert, key) = (fixture.file("localhost.pem"), fixture.file("elsewhere.example.key"));
    let mixed = fixture.publish("localhost", &["--cafile", &ca, "--cert", &cert, "--key", &key]);
    assert!(mixed.errors.starts_with(&format!("outpost pub: {key}: does not fit")), "{mixed:?}");
}
