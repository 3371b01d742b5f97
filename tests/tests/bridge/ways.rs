//! Ways to the remote broker: WebSocket to Mosquitto, plain and with TLS, through proxies of every
//! temper, and certificates that are renewed while the link is up.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use outpost_protocol::{Connect, Publish, QoS};
use outpost_tests::{
    Broker, Certificates, DEADLINE, ForeignBroker, Make, RawClient, message, unique, v5, v311,
};
use serde_json::Value;

use crate::control::{port, wait_for};

/// An HTTP proxy that does what a test says with each connection, whose request it has read.
struct Proxy {
    address: SocketAddr,
    /// The heads of the requests.
    requests: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let heads = Arc::clone(&requests);
        // It ends with the process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("accept");
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).expect("a whole request");
                    head.extend(byte);
                }
                let head = String::from_utf8(head).expect("text");
                heads.lock().unwrap_or_else(PoisonError::into_inner).push(head);
                serve(stream);
            }
        });
        Self { address, requests }
    }

    /// One that makes a tunnel to `to`, whatever name it is asked for.
    fn to(to: SocketAddr) -> Self {
        Self::start(move |mut near| {
            let far = TcpStream::connect(to).expect("the broker listens");
            near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").expect("open");
            for (mut from, mut to) in [clones(&near, &far), clones(&far, &near)] {
                thread::spawn(move || {
                    // However it ends, the other end hears of it.
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        })
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn clones(from: &TcpStream, to: &TcpStream) -> (TcpStream, TcpStream) {
    (from.try_clone().expect("clone a socket"), to.try_clone().expect("clone a socket"))
}

/// A gateway with one bridge, "up"; `keys` are of the bridge.
fn gateway(address: &str, keys: &str) -> Broker {
    gateway_with_qos(address, keys, QoS::ExactlyOnce)
}

fn gateway_with_qos(address: &str, keys: &str, qos: QoS) -> Broker {
    let qos = qos as u8;
    Broker::with_config(&format!(
        "[log]\nlevel = \"trace\"\n\
         [[bridge]]\nname = \"up\"\naddress = \"{address}\"\nclient_id = \"{}\"\n{keys}\n\
         reconnect_min_ms = 50\nreconnect_max_ms = 200\n\
         [[bridge.topic]]\nfilter = \"up/#\"\ndirection = \"out\"\nqos = {qos}\n\
         [[bridge.topic]]\nfilter = \"down/#\"\ndirection = \"in\"\nqos = {qos}\n",
        // What one gateway has left unfinished is not sent to the next.
        unique("bridge")
    ))
}

/// Small and large messages both ways, of every QoS that the remote broker has.
fn exchange(gateway: &Broker, far: SocketAddr, maximum_qos: QoS) {
    wait_for(gateway, |status| status["state"] == "connected");
    let mut near = gateway.connect(&v5("near"));
    let mut far = far_client(far, &v311("far"));
    near.subscribe("down/#", maximum_qos);
    far.subscribe("up/#", maximum_qos);
    let all = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
    for qos in all.into_iter().filter(|qos| *qos <= maximum_qos) {
        one_way(&mut near, &mut far, "up/x", qos, 3);
        one_way(&mut far, &mut near, "down/x", qos, 3);
    }
    // Mosquitto 2.0 takes five seconds to send one over WebSocket, to other clients as well.
    one_way(&mut near, &mut far, "up/x", maximum_qos, 200 * 1024);
    one_way(&mut far, &mut near, "down/x", maximum_qos, 200 * 1024);
}

fn one_way(from: &mut RawClient, to: &mut RawClient, topic: &str, qos: QoS, bytes: u32) {
    let payload: Vec<u8> = (0..bytes).map(|number| number as u8).collect();
    from.publish(&Publish { qos, ..message(topic, &payload) });
    let came = to.take();
    assert!(came.payload == payload, "{topic} {qos:?}: {} bytes", came.payload.len());
    assert_eq!((came.topic.as_str(), came.qos), (topic, qos));
}

fn far_client(address: SocketAddr, connect: &Connect<'_>) -> RawClient {
    let mut client = RawClient::open(address, connect.version);
    client.connect(connect);
    client
}

#[test]
fn by_websocket_to_mosquitto() {
    if Broker::is_external() {
        return;
    }
    let mosquitto = ForeignBroker::start_with_websocket(Make::Mosquitto, "");
    for version in ["5", "3.1.1"] {
        let keys = format!("version = \"{version}\"\nwebsocket = {{}}");
        let gateway = gateway(&mosquitto.websocket_address().to_string(), &keys);
        exchange(&gateway, mosquitto.address(), QoS::ExactlyOnce);
    }
}

#[test]
fn by_websocket_to_others() {
    if Broker::is_external() {
        return;
    }
    for (make, path) in [(Make::RabbitMq, "/ws"), (Make::Nats, "/mqtt")] {
        let remote = ForeignBroker::start_with_websocket(make, "");
        let keys = format!("version = \"3.1.1\"\nwebsocket = {{ path = \"{path}\" }}");
        let (address, qos) = (remote.websocket_address().to_string(), QoS::AtLeastOnce);
        exchange(&gateway_with_qos(&address, &keys, qos), remote.address(), qos);
    }
}

/// All that there is: a proxy with credentials, TLS with a client certificate, WebSocket with a header;
/// and none of the secrets comes into the log, although it tells everything.
#[test]
fn by_secure_websocket_through_a_proxy_to_mosquitto() {
    if Broker::is_external() {
        return;
    }
    let certificates = Certificates::new();
    certificates.issue("central");
    certificates.issue("gateway");
    let path = |file: &str| certificates.path(file);
    let secured = format!(
        "cafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true",
        path("ca.pem"),
        path("central.pem"),
        path("central.key"),
    );
    let mosquitto = ForeignBroker::start_with_websocket(Make::Mosquitto, &secured);
    let address = mosquitto.websocket_address();
    let tls = format!(
        "tls = {{ ca_file = {:?}, cert_file = {:?}, key_file = {:?}, server_name = \"localhost\" }}\n\
         user_name = \"gateway-7\"\npassword = \"s3cret-mqtt\"\n\
         websocket = {{ path = \"/mqtt\", headers = {{ X-Token = \"s3cret-header\" }} }}\n",
        path("ca.pem"),
        path("gateway.pem"),
        path("gateway.key"),
    );
    exchange(&gateway(&address.to_string(), &tls), mosquitto.address(), QoS::ExactlyOnce);

    let proxy = Proxy::to(address);
    let mut keys = tls;
    let _ = writeln!(
        keys,
        "proxy = {{ address = \"{}\", user_name = \"user\", password = \"s3cret-proxy\" }}",
        proxy.address
    );
    let gateway = gateway("central.invalid:443", &keys);
    exchange(&gateway, mosquitto.address(), QoS::ExactlyOnce);
    let head = "CONNECT central.invalid:443 HTTP/1.1\r\nHost: central.invalid:443\r\n\
                Proxy-Authorization: Basic dXNlcjpzM2NyZXQtcHJveHk=\r\n\r\n";
    assert_eq!(proxy.requests()[0], head);
    let log = gateway.log();
    assert!(log.contains("TRACE"), "it tells everything: {log}");
    for secret in ["s3cret", "dXNlcjpzM2NyZXQ"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

#[test]
fn proxies_of_every_temper() {
    if Broker::is_external() {
        return;
    }
    let huge = [b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &[b'x'; 10_000]].concat();
    let answers: [(&'static [u8], &str); 5] = [
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
            "it wants a user_name and a password (407 Proxy Authentication Required)",
        ),
        (
            b"HTTP/1.1 502 Bad\r\n\r\n<html>",
            "it answered 502 Bad Gateway to CONNECT central.invalid:1883",
        ),
        (b"\x20\x02\x00\x00", "what it answered is no HTTP"),
        (b"", "it closed the connection without an answer"),
        (huge.leak(), "the head of its answer is longer than 8192 bytes"),
    ];
    for (answer, what) in answers {
        let proxy = Proxy::start(move |mut stream| {
            // It may have hung up before all of a long answer.
            let _ = stream.write_all(answer);
            let _ = stream.shutdown(Shutdown::Write);
            let _ = io::copy(&mut stream, &mut io::sink());
        });
        let keys = format!("proxy = {{ address = \"{}\" }}", proxy.address);
        let gateway = gateway("central.invalid:1883", &keys);
        let status = wait_for(&gateway, |status| status["last_error"] != Value::Null);
        assert_eq!(status["last_error"]["kind"], "proxy", "{status:#}");
        let told = format!("proxy failed: {}: {what}", proxy.address);
        assert_eq!(status["last_error"]["what"], told, "{status:#}");
    }
}

/// 10 seconds, as every step has.
#[test]
fn a_proxy_that_never_answers() {
    if Broker::is_external() {
        return;
    }
    let kept = Mutex::new(Vec::new());
    let proxy = Proxy::start(move |stream| {
        kept.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
    });
    let gateway =
        gateway("central.invalid:1883", &format!("proxy.address = \"{}\"", proxy.address));
    gateway.wait_for_log_within("no answer within 10 s", 3 * DEADLINE);
    let status = wait_for(&gateway, |status| status["last_error"]["kind"] == "timeout");
    let told = format!("proxy failed: {}: no answer within 10 s", proxy.address);
    assert_eq!(status["last_error"]["what"], told, "{status:#}");
}

#[test]
fn certificates_are_renewed_while_the_link_is_up() {
    if Broker::is_external() {
        return;
    }
    let certificates = Certificates::new();
    certificates.issue("central");
    certificates.issue("gateway");
    let path = |file: &str| certificates.path(file);
    let address = port();
    let mut central = Broker::with_config_alone(
        &format!(
            "[[listener]]\naddress = \"{address}\"\n[listener.tls]\ncert_file = {:?}\nkey_file = {:?}\n\
             client_ca_file = {:?}\nrequire_client_cert = true\ncn_as_user_name = true\n\
             [store]\npath = \"data\"\n[log]\nlevel = \"debug\"\n",
            path("central.pem"),
            path("central.key"),
            path("ca.pem"),
        ),
        address,
    );
    let gateway = gateway(
        &address.to_string(),
        &format!(
            "tls = {{ ca_file = {:?}, cert_file = {:?}, key_file = {:?} }}",
            path("ca.pem"),
            path("gateway.pem"),
            path("gateway.key"),
        ),
    );
    let links = || gateway.log().matches("link up").count();
    let mut again = |is_up: usize| {
        central.kill();
        central.restart();
        wait_for(&gateway, |status| status["state"] == "connected" && links() > is_up);
    };
    wait_for(&gateway, |status| status["state"] == "connected");
    let renewed = fs::read(path("gateway.pem")).expect("it was issued");
    certificates.issue("gateway");
    let newest = fs::read(path("gateway.pem")).expect("it was issued");

    fs::write(path("gateway.pem"), "half a certific").expect("write the certificate");
    again(1);
    let warning = format!("{}: no certificate in it", path("gateway.pem"));
    assert!(gateway.log().contains(&warning), "{}", gateway.log());
    // The old certificate with the new key.
    fs::write(path("gateway.pem"), renewed).expect("write the certificate");
    again(2);
    let warning = format!("the old ones go on: {}: is not the private key", path("gateway.key"));
    assert!(gateway.log().contains(&warning), "{}", gateway.log());
    assert!(!gateway.log().contains("changed TLS files are used"), "{}", gateway.log());
    fs::write(path("gateway.pem"), newest).expect("write the certificate");
    again(3);
    assert!(gateway.log().contains("changed TLS files are used"), "{}", gateway.log());
    assert_eq!(gateway.log().matches("go on").count(), 2, "once for each change");
}
