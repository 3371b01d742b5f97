//! TLS with certificates made on the spot, user names and passwords.

use std::fmt::Write as _;
use std::net::SocketAddr;

use outpost_tests::{Broker, Certificates, Command, Kind, binary, free_port, unique};
use serde_json::{Value, json};

const PASSWORD: &str = "correct horse";

/// A broker with a port for each kind of client.
struct Doors {
    certificates: Certificates,
    broker: Broker,
    /// TLS; a user name and a password are asked for.
    with_password: u16,
    /// TLS; a client certificate is asked for, and its CN is the user name.
    with_certificate: u16,
}

impl Doors {
    fn open() -> Self {
        let certificates = Certificates::new();
        for name in ["broker", "sensor-1"] {
            certificates.issue(name);
        }
        let path = |file| certificates.path(file);
        let password_file = path("passwords");
        let program = binary();
        let mut passwd = Command::start(
            program.to_str().expect("UTF-8"),
            &["passwd", "-c", &password_file, "sensor-1"],
        );
        passwd.write(format!("{PASSWORD}\n").as_bytes());
        let ended = passwd.end();
        assert_eq!((ended.text(), ended.errors.as_str()), ("", ""));

        let [with_password, with_certificate] = [free_port(), free_port()];
        let mut config = format!("[auth]\npassword_file = {password_file:?}\n");
        for (port, client_keys) in [
            (with_password, String::new()),
            (
                with_certificate,
                format!(
                    "client_ca_file = {:?}\nrequire_client_cert = true\ncn_as_user_name = true\n",
                    path("ca.pem")
                ),
            ),
        ] {
            let (cert, key) = (path("broker.pem"), path("broker.key"));
            write!(
                config,
                "[[listener]]\naddress = \"127.0.0.1:{port}\"\nallow_anonymous = false\n\
                 [listener.tls]\ncert_file = {cert:?}\nkey_file = {key:?}\n{client_keys}"
            )
            .expect("a string takes all");
        }
        let broker = Broker::with_config(&config);
        Self { certificates, broker, with_password, with_certificate }
    }

    fn files(&self) -> Value {
        json!({"ca": self.certificates.path("ca.pem")})
    }

    fn files_with_certificate(&self) -> Value {
        json!({
            "ca": self.certificates.path("ca.pem"),
            "cert": self.certificates.path("sensor-1.pem"),
            "key": self.certificates.path("sensor-1.key"),
        })
    }
}

/// Comes in by both doors, and is turned away where something is wrong.
fn comes_in(kind: Kind) {
    let doors = Doors::open();
    let password = json!({
        "user_name": "sensor-1", "password": PASSWORD, "tls": doors.files(),
    });
    let certificate = json!({"tls": doors.files_with_certificate()});
    let topic = unique("tls");
    let mut watcher = kind.connect(&doors.broker);
    watcher.subscribe(&topic, 2);
    for (port, options) in
        [(doors.with_password, &password), (doors.with_certificate, &certificate)]
    {
        let at = SocketAddr::from(([127, 0, 0, 1], port));
        let mut client = kind.connect_to(at, &unique("tls"), options);
        client.publish(&topic, "secret", 2);
        assert_eq!(watcher.message().payload, "secret");
        client.disconnect();
    }
    doors.broker.wait_for_log("user=\"sensor-1\"");

    let mut wrong = password.clone();
    wrong["password"] = json!("battery staple");
    let id = unique("liar");
    let (_driver, answer) = kind.try_connect(doors.with_password, &id, &wrong);
    assert_eq!(answer["event"], "refused", "{answer}");
    doors.broker.wait_for_log(&format!("client refused client={id} address=127.0.0.1:"));
    // Without its certificate, a client sees a handshake that fails.
    let (_driver, answer) = kind.try_connect(doors.with_certificate, &unique("tls"), &password);
    assert_ne!(answer["event"], "connected", "{answer}");
    doors.broker.wait_for_log("TLS failed");
    let log = doors.broker.log();
    assert!(!log.contains(PASSWORD) && !log.contains("battery"), "no password in the log");
}

#[test]
fn paho_v311() {
    comes_in(crate::PAHO_V311);
}

#[test]
fn paho_v5() {
    comes_in(crate::PAHO_V5);
}

#[test]
fn aiomqtt_v5() {
    comes_in(crate::AIOMQTT_V5);
}

#[test]
fn mqttjs_v311() {
    comes_in(crate::MQTTJS_V311);
}

#[test]
fn mqttjs_v5() {
    comes_in(crate::MQTTJS_V5);
}

#[test]
fn mosquitto() {
    let doors = Doors::open();
    let (ca, cert, key) = (
        doors.certificates.path("ca.pem"),
        doors.certificates.path("sensor-1.pem"),
        doors.certificates.path("sensor-1.key"),
    );
    let topic = unique("tls");
    let mut watcher = crate::PAHO_V5.connect(&doors.broker);
    watcher.subscribe(&topic, 2);
    for version in ["mqttv311", "mqttv5"] {
        let publish = |port: u16, arguments: &[&str]| {
            let port = port.to_string();
            let common = ["-V", version, "-h", "localhost", "-p", &port, "--cafile", &ca];
            let message = ["-t", &topic, "-q", "2", "-m", "secret"];
            Command::start("mosquitto_pub", &[&common[..], &message, arguments].concat()).end()
        };
        let user = ["-u", "sensor-1", "-P"];
        let ended = publish(doors.with_password, &[&user[..], &[PASSWORD]].concat());
        assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""));
        assert_eq!(watcher.message().payload, "secret");
        let ended = publish(doors.with_certificate, &["--cert", &cert, "--key", &key]);
        assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""));
        assert_eq!(watcher.message().payload, "secret");

        let ended = publish(doors.with_password, &[&user[..], &["wrong"]].concat());
        assert_ne!(ended.code, Some(0));
        let why = ended.errors.to_lowercase();
        assert!(why.contains("not authori") || why.contains("bad user name"), "{why}");
        assert_ne!(publish(doors.with_certificate, &[]).code, Some(0), "without a certificate");
    }
}
