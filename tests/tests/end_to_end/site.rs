//! A gateway and a centre of one test.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use outpost_tests::{Broker, Certificates, ForeignClient, Kind, Library, binary, free_port};
use outpost_tests::{tests_folder, unique};
use serde_json::json;

/// A sensor's user name and password at the TLS port of the gateway.
pub const SENSOR: (&str, &str) = ("sensor-1", "correct horse");

/// Both brokers and what they are made from.
pub struct Site {
    pub certificates: Certificates,
    pub gateway: Broker,
    /// Where sensors come in over TLS.
    pub gateway_tls_port: u16,
    pub central: Broker,
}

impl Site {
    /// Starts both, and returns when the bridge between them is up.
    pub fn start() -> Self {
        let site = Self::of_central(|central| central);
        site.wait_for_bridge();
        site
    }

    /// Starts a gateway that has never reached its centre: that is not there.
    pub fn start_without_centre() -> Self {
        Self::of_central(|mut central| {
            central.kill();
            central
        })
    }

    fn of_central(before_the_gateway: impl FnOnce(Broker) -> Broker) -> Self {
        let certificates = Certificates::new();
        for name in ["central", "gateway", "gateway-1"] {
            certificates.issue(name);
        }
        make_password_file(&certificates.path("passwords"));
        let [gateway, gateway_tls, central, central_tls] = [(); 4].map(|()| local(free_port()));
        let central_config = central_config(&certificates, central, central_tls);
        let gateway_config = gateway_config(&certificates, gateway, gateway_tls, central_tls);
        Self {
            central: before_the_gateway(Broker::with_config_alone(&central_config, central)),
            gateway: Broker::with_config_alone(&gateway_config, gateway),
            gateway_tls_port: gateway_tls.port(),
            certificates,
        }
    }

    /// A program at the centre whose session outlives its connections, subscribed to all
    /// telemetry with QoS 2.
    pub fn receiver(&self) -> ForeignClient {
        const PAHO: Kind = Kind::new(Library::Paho, "5");
        let options = json!({"clean": false, "expiry_s": 3600, "reconnect": true});
        let mut receiver = PAHO.connect_with(&self.central, &unique("receiver"), &options);
        receiver.subscribe("telemetry/#", 2);
        receiver
    }

    fn wait_for_bridge(&self) {
        self.gateway.wait_for_log("link up");
    }
}

/// What an installer makes of `configs/central.toml`.
fn central_config(certificates: &Certificates, plain: SocketAddr, tls: SocketAddr) -> String {
    let path = |file| certificates.path(file);
    installed(
        "central.toml",
        &[
            (
                "# [[listener]]\n\
                 # address = \"0.0.0.0:8883\"\n\
                 # [listener.tls]\n\
                 # cert_file = \"/etc/outpost/central.pem\"\n\
                 # key_file = \"/etc/outpost/central.key\"\n\
                 # client_ca_file = \"/etc/outpost/ca.pem\"\n\
                 # require_client_cert = true\n\
                 # cn_as_user_name = true\n",
                &format!(
                    "[[listener]]\n\
                     address = \"{tls}\"\n\
                     [listener.tls]\n\
                     cert_file = {:?}\n\
                     key_file = {:?}\n\
                     client_ca_file = {:?}\n\
                     require_client_cert = true\n\
                     cn_as_user_name = true\n",
                    path("central.pem"),
                    path("central.key"),
                    path("ca.pem"),
                ),
            ),
            ("127.0.0.1:1884", &plain.to_string()),
        ],
    )
}

/// What an installer makes of `configs/gateway.toml`.
fn gateway_config(
    certificates: &Certificates,
    plain: SocketAddr,
    tls: SocketAddr,
    central: SocketAddr,
) -> String {
    let path = |file| certificates.path(file);
    installed(
        "gateway.toml",
        &[
            (
                "# [[listener]]\n\
                 # address = \"0.0.0.0:8883\"\n\
                 # tls = { cert_file = \"/etc/outpost/gateway.pem\", \
                 key_file = \"/etc/outpost/gateway.key\" }\n\
                 #\n\
                 # [auth]\n\
                 # password_file = \"/etc/outpost/passwords\"",
                &format!(
                    "[[listener]]\n\
                     address = \"{tls}\"\n\
                     allow_anonymous = false\n\
                     tls = {{ cert_file = {:?}, key_file = {:?} }}\n\
                     [auth]\n\
                     password_file = {:?}",
                    path("gateway.pem"),
                    path("gateway.key"),
                    path("passwords"),
                ),
            ),
            ("\"127.0.0.1:1883\"", &format!("\"{plain}\"")),
            (
                "address = \"127.0.0.1:1884\"",
                &format!(
                    "address = \"{central}\"\n\
                     tls = {{ ca_file = {:?}, cert_file = {:?}, key_file = {:?} }}",
                    path("ca.pem"),
                    path("gateway-1.pem"),
                    path("gateway-1.key"),
                ),
            ),
        ],
    )
}

/// A file of `configs/` with some of its text replaced. Its data directory is relative to it, and
/// so it is in the broker's own directory.
fn installed(name: &str, changes: &[(&str, &str)]) -> String {
    let path = tests_folder().join("../configs").join(name);
    let mut text = fs::read_to_string(path).expect("the configuration is there");
    for (from, to) in changes {
        assert_eq!(text.matches(from).count(), 1, "in {name}: {from}");
        text = text.replace(from, to);
    }
    text
}

/// As the comment in `configs/gateway.toml` says.
fn make_password_file(path: &str) {
    let mut command = Command::new(binary());
    command.args(["passwd", "-c", path, SENSOR.0]).stdin(Stdio::piped());
    let mut passwd = command.spawn().expect("start outpost passwd");
    let mut stdin = passwd.stdin.take().expect("stdin is a pipe");
    writeln!(stdin, "{}", SENSOR.1).expect("write the password");
    drop(stdin);
    assert!(passwd.wait().expect("wait for outpost passwd").success());
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
