//! The whole bridge over WebSocket, through a proxy and with TLS, in every combination.

use std::time::Duration;

use outpost_protocol::ProtocolVersion;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;

use super::fake::FakeBroker;
use super::tls::{Files, relay_large_messages};
use super::{config, models};
use crate::config::{BridgeConfig, ProxyConfig, Secret, WebSocketConfig};
use crate::connect::websocket::Frames;
use crate::connect::{BoxedStream, remote_connector};

/// Serves `broker`, behind TLS and WebSocket as asked for; the port.
async fn listen(broker: FakeBroker, acceptor: Option<TlsAcceptor>, websocket: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let mut stream: BoxedStream = Box::new(tcp);
            if let Some(acceptor) = &acceptor {
                let tls = acceptor.accept(stream).await.expect("a client that is known");
                assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"mqtt"[..]));
                stream = Box::new(tls);
            }
            if websocket {
                let accepted = accept_hdr_async(stream, choose_mqtt).await.expect("a handshake");
                stream = Box::new(Frames::new(accepted));
            }
            broker.serve(stream);
        }
    });
    port
}

/// [MQTT-6.0.0-4]
#[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
fn choose_mqtt(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    assert_eq!(request.uri(), "/broker/mqtt");
    assert_eq!(request.headers()["sec-websocket-protocol"], "mqtt");
    assert_eq!(request.headers()["x-gateway"], "7");
    response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("mqtt"));
    Ok(response)
}

/// What [`choose_mqtt`] expects.
fn asked_for() -> WebSocketConfig {
    WebSocketConfig {
        path: "/broker/mqtt".to_owned(),
        headers: [("X-Gateway".to_owned(), Secret::new("7"))].into(),
    }
}

/// A proxy that knows one name, which no name server has, and lets one user in; its port.
async fn proxy(name: &'static str, port: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let own_port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                client.read_buf(&mut head).await.expect("open");
            }
            let head = String::from_utf8(head).expect("text");
            assert!(head.starts_with(&format!("CONNECT {name} HTTP/1.1\r\n")), "{head}");
            if !head.contains("\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n") {
                let answer = b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n";
                client.write_all(answer).await.expect("open");
                continue;
            }
            let mut server = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("open");
            tokio::spawn(async move {
                // It ends with either end.
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    own_port
}

#[tokio::test]
async fn messages_go_by_every_way() {
    let files = Files::make();
    let name = "central.invalid:443";
    for way in 0..8 {
        let [by_proxy, by_tls, by_websocket] = [way & 1, way & 2, way & 4].map(|bit| bit != 0);
        let brokers = models(ProtocolVersion::V5);
        let acceptor = by_tls.then(|| files.acceptor());
        let port = listen(brokers.remote.clone(), acceptor, by_websocket).await;
        let proxy_port = proxy(name, port).await;
        let address = if by_proxy { name.to_owned() } else { format!("127.0.0.1:{port}") };
        let config = BridgeConfig {
            address,
            proxy: by_proxy.then(|| ProxyConfig {
                address: format!("127.0.0.1:{proxy_port}"),
                user_name: Some("user".to_owned()),
                password: Some(Secret::new("pass")),
            }),
            tls: by_tls.then(|| files.config()),
            websocket: by_websocket.then(asked_for),
            ..config(2)
        };
        relay_large_messages(config, &brokers).await;
    }
}

/// A remote broker that reads nothing behind the handshakes: on every way the bridge keeps what it does
/// not take, and can still choose what goes first.
#[tokio::test]
async fn what_the_network_does_not_take_stays_here() {
    let files = Files::make();
    for (by_tls, by_websocket) in [(false, false), (true, false), (false, true), (true, true)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        SockRef::from(&listener).set_recv_buffer_size(4096).expect("an option of sockets");
        let address = listener.local_addr().expect("bound").to_string();
        let config = BridgeConfig {
            address,
            tls: by_tls.then(|| files.config()),
            websocket: by_websocket.then(asked_for),
            ..config(1)
        };
        let server = async {
            let (tcp, _) = listener.accept().await.expect("the bridge comes");
            let mut stream: BoxedStream = Box::new(tcp);
            if by_tls {
                stream = Box::new(files.acceptor().accept(stream).await.expect("a client"));
            }
            if by_websocket {
                let accepted = accept_hdr_async(stream, choose_mqtt).await.expect("a handshake");
                stream = Box::new(Frames::new(accepted));
            }
            stream
        };
        let mut connector = remote_connector(&config).expect("usable files");
        let (connected, _reads_nothing) = tokio::join!(connector.connect(), server);
        let mut stream = connected.expect("the server is known");
        let mut taken = 0;
        let within = Duration::from_millis(200);
        while let Ok(count) = timeout(within, stream.write(&[0; 4096])).await {
            taken += count.expect("open");
            // It stays unflushed where it has to wait.
            let _ = timeout(within, stream.flush()).await;
        }
        assert!(taken < 64 * 1024, "TLS {by_tls}, WebSocket {by_websocket}: {taken} bytes");
    }
}

#[tokio::test]
async fn who_refuses_is_told_apart() {
    let proxy_port = proxy("central.invalid:443", 1).await;
    let address = format!("127.0.0.1:{proxy_port}");
    let proxy = ProxyConfig { address: address.clone(), user_name: None, password: None };
    let through =
        BridgeConfig { address: "central.invalid:443".to_owned(), proxy: Some(proxy), ..config(1) };
    let mut connector = remote_connector(&through).expect("no files");
    let error = connector.connect().await.err().expect("it is not let in");
    assert_eq!(error.kind(), "proxy");
    let words = "it wants a user_name and a password (407 Proxy Authentication Required)";
    assert_eq!(error.to_string(), format!("proxy failed: {address}: {words}"));

    // A broker that speaks plain MQTT.
    let files = Files::make();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 16];
            stream.read_exact(&mut request).await.expect("open");
            stream.write_all(b"\x20\x03\x00\x84\x00").await.expect("open");
        }
    });
    let plain = BridgeConfig { address: address.clone(), ..config(1) };
    for (config, kind, phase, words) in [
        (
            BridgeConfig { websocket: Some(WebSocketConfig::default()), ..plain.clone() },
            "websocket",
            "WebSocket",
            "what it answered is no HTTP/1.1",
        ),
        (
            BridgeConfig { tls: Some(files.config()), ..plain.clone() },
            "tls",
            "TLS",
            "what it answered is no TLS",
        ),
    ] {
        let mut connector = remote_connector(&config).expect("usable files");
        let error = connector.connect().await.err().expect("it speaks something else");
        assert_eq!(error.kind(), kind);
        assert_eq!(error.to_string(), format!("{phase} failed: {address}: {words}"));
    }
}
