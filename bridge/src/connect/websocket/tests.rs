//! The handshake with servers good and bad, and bytes over frames of every kind.

use std::collections::BTreeMap;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::*;
use crate::compression::Compressed;
use crate::config::Secret;

const PACKET_BYTES_MAX: u32 = 4096;

fn websocket(path: &str, headers: &[(&str, &str)]) -> WebSocket {
    let headers: BTreeMap<_, _> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect();
    let config = WebSocketConfig { path: path.to_owned(), headers };
    WebSocket::new("central.example:443", &config, true, PACKET_BYTES_MAX)
}

/// What comes of the handshake where the server answers so, and what it was asked.
async fn answered(
    websocket: &WebSocket,
    answer: impl FnOnce(&str) -> Vec<u8>,
) -> (Result<BoxedStream, LinkError>, String) {
    let (ours, mut theirs) = duplex(256 * 1024);
    let server = async {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            theirs.read_buf(&mut request).await.expect("open");
        }
        let request = String::from_utf8(request).expect("text");
        theirs.write_all(&answer(&request)).await.expect("there is room");
        theirs.shutdown().await.expect("open");
        request
    };
    tokio::join!(websocket.open(Box::new(ours), "central.example:443"), server)
}

/// The right answer to a request.
fn accepted(request: &str) -> String {
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
    let accept = derive_accept_key(key.expect("a key").as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
    )
}

/// [MQTT-6.0.0-3]
#[tokio::test]
async fn the_request() {
    let websocket = websocket("/a/mqtt?sig=x%2F", &[("Authorization", "Bearer t0ken")]);
    assert!(!format!("{:?}", websocket.request).contains("t0ken"), "it stays out of logs");
    let (result, request) = answered(&websocket, |request| accepted(request).into_bytes()).await;
    assert!(result.is_ok());
    let mut lines = request.lines();
    assert_eq!(lines.next(), Some("GET /a/mqtt?sig=x%2F HTTP/1.1"));
    let lines: Vec<_> = lines.collect();
    for line in [
        "Host: central.example",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: mqtt",
        "authorization: Bearer t0ken",
    ] {
        assert!(lines.contains(&line), "{line} in {request}");
    }
    let other_port = WebSocket::new("[::1]:8080", &WebSocketConfig::default(), false, 1024);
    assert_eq!(other_port.request.headers()["host"], "[::1]:8080");
    assert_eq!(other_port.request.uri().path(), "/mqtt");
}

#[tokio::test]
async fn answers_that_are_no_handshake_are_told_in_words() {
    let change = |from: &'static str, to: &'static str| {
        move |request: &str| accepted(request).replace(from, to).into_bytes()
    };
    let plain = |text: &'static str| move |_: &str| text.as_bytes().to_vec();
    type Answer = Box<dyn FnOnce(&str) -> Vec<u8>>;
    let cases: [(Answer, &str); 12] = [
        (
            Box::new(plain("HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno")),
            "it answered 404 Not Found to GET /mqtt; is path right?",
        ),
        (Box::new(plain("HTTP/1.1 401 Who?\r\n\r\n")), "it answered 401 Unauthorized to GET /mqtt"),
        (Box::new(plain("HTTP/1.1 200 OK\r\n\r\n")), "it answered 200 OK to GET /mqtt"),
        (
            // [MQTT-6.0.0-4]
            Box::new(change("Sec-WebSocket-Protocol: mqtt\r\n", "")),
            "it does not speak MQTT there: it did not choose the subprotocol mqtt",
        ),
        (
            Box::new(change("Protocol: mqtt", "Protocol: chat")),
            "it does not speak MQTT there: it did not choose the subprotocol mqtt",
        ),
        (
            Box::new(change("Accept: ", "Accept: x")),
            "it does not speak WebSocket: WebSocket protocol error: Key mismatch in \
             \"Sec-WebSocket-Accept\" header",
        ),
        (
            Box::new(change("Upgrade: websocket\r\n", "")),
            "it does not speak WebSocket: WebSocket protocol error: No \"Upgrade: websocket\" header",
        ),
        (Box::new(plain("SSH-2.0-OpenSSH_9\r\n\r\n")), "what it answered is no HTTP/1.1"),
        (Box::new(plain("HTTP/1.0 101 Old\r\n\r\n")), "what it answered is no HTTP/1.1"),
        (Box::new(plain("HTTP/1.1 101 Swi")), CLOSED_EARLY),
        (Box::new(plain("")), CLOSED_EARLY),
        (
            Box::new(|_: &str| [b"HTTP/1.1 101 S\r\nA: ".as_slice(), &[b'a'; 99_999]].concat()),
            "the head of its answer is too long",
        ),
    ];
    let websocket = websocket("/mqtt?signature=s3cret", &[]);
    for (answer, what) in cases {
        let error = answered(&websocket, answer).await.0.err().expect(what);
        assert_eq!(error.kind(), "websocket");
        assert_eq!(error.to_string(), format!("WebSocket failed: central.example:443: {what}"));
    }
}

#[tokio::test(start_paused = true)]
async fn silence_is_not_waited_for() {
    let (ours, _theirs) = duplex(1024);
    let websocket = websocket("/mqtt", &[]);
    let error = websocket.open(Box::new(ours), "h:443").await.err().expect("nothing comes");
    assert_eq!(error.to_string(), "WebSocket failed: h:443: no answer within 10 s");
    assert_eq!(error.kind(), "timeout");
}

/// Both ends behind the handshake; `bytes` are on their way at most.
async fn ends(bytes: usize) -> (Frames<DuplexStream>, WebSocketStream<DuplexStream>) {
    let (ours, theirs) = duplex(bytes);
    let bounds = websocket("/mqtt", &[]).bounds;
    let ours = WebSocketStream::from_raw_socket(ours, Role::Client, Some(bounds)).await;
    (Frames::new(ours), WebSocketStream::from_raw_socket(theirs, Role::Server, None).await)
}

/// [MQTT-6.0.0-2]
#[tokio::test]
async fn bytes_come_whatever_frames_they_are_in() {
    let (mut ours, mut theirs) = ends(100).await;
    let large = "x".repeat(100_000);
    let server = async {
        let begin = |text: &'static str| {
            Message::Frame(Frame::message(text, OpCode::Data(Data::Binary), false))
        };
        let go_on = |text: &'static str, is_last| {
            Message::Frame(Frame::message(text, OpCode::Data(Data::Continue), is_last))
        };
        for message in [
            Message::Binary("ab".into()),
            Message::Binary(Bytes::new()),
            Message::Ping("are you there".into()),
            begin("c"),
            Message::Ping("still".into()),
            go_on("d", false),
            go_on("", false),
            go_on("e", true),
            Message::Pong("nobody asked".into()),
            Message::Binary(large.clone().into()),
        ] {
            theirs.send(message).await.expect("open");
        }
        let mut pongs = Vec::new();
        while let Some(Ok(Message::Pong(pong))) = theirs.next().await {
            pongs.push(pong);
            if pongs.len() == 2 {
                break;
            }
        }
        theirs.close(None).await.expect("open");
        (theirs, pongs)
    };
    let client = async {
        let mut text = String::new();
        ours.read_to_string(&mut text).await.expect("it ends in order");
        text
    };
    let ((_, pongs), text) = tokio::join!(server, client);
    assert_eq!(text, format!("abcde{large}"));
    assert_eq!(pongs, ["are you there", "still"]);
}

#[tokio::test]
async fn bytes_go_in_binary_frames_and_a_close_frame_ends_them() {
    let (mut ours, mut theirs) = ends(1000).await;
    let bytes: Vec<u8> = (0..200_000u32).map(|number| number as u8).collect();
    let client = async {
        ours.write_all(&bytes).await.expect("open");
        ours.flush().await.expect("open");
        ours.shutdown().await.expect("open");
    };
    let server = async {
        let (mut came, mut frames) = (Vec::new(), 0);
        loop {
            match theirs.next().await.expect("a close frame first").expect("open") {
                Message::Binary(bytes) => {
                    assert!((1..=FRAME_BYTES).contains(&bytes.len()));
                    came.extend_from_slice(&bytes);
                    frames += 1;
                }
                Message::Close(_) => return (came, frames),
                other => panic!("{other}"),
            }
        }
    };
    let ((), (came, frames)) = tokio::join!(client, server);
    assert!(came == bytes);
    assert_eq!(frames, bytes.len().div_ceil(FRAME_BYTES));
}

/// Compression knows nothing of the frames that its bytes go in.
#[tokio::test]
async fn compressed_bytes_go_both_ways() {
    let (ours, theirs) = ends(1000).await;
    let mut ours = Compressed::new(ours, Vec::new(), 3);
    let mut theirs = Compressed::new(Frames::new(theirs), Vec::new(), 3);
    let bytes: Vec<u8> = (0..200_000u32).flat_map(|n| (n % 1009 * n % 997).to_be_bytes()).collect();
    let (mut there, mut back) = (vec![0; bytes.len()], vec![0; bytes.len()]);
    let client = async {
        ours.write_all(&bytes).await.expect("open");
        ours.flush().await.expect("open");
        ours.read_exact(&mut back).await.expect("open");
    };
    let server = async {
        theirs.read_exact(&mut there).await.expect("open");
        theirs.write_all(&there).await.expect("open");
        theirs.flush().await.expect("open");
    };
    tokio::join!(client, server);
    assert!(back == bytes);
}

/// A far end that takes nothing: what it does not take is refused, and not gathered here.
#[tokio::test(start_paused = true)]
async fn no_more_is_taken_than_the_stream_takes() {
    let (mut ours, _theirs) = ends(1000).await;
    let writing = ours.write_all(&[0; 1_000_000]);
    assert!(tokio::time::timeout(std::time::Duration::from_secs(1), writing).await.is_err());
    let mut taken = 0;
    while let Ok(Ok(count)) =
        tokio::time::timeout(std::time::Duration::from_secs(1), ours.write(&[0; 1000])).await
    {
        taken += count;
    }
    assert_eq!(taken, 0);
}

/// How reading ends after these bytes of a server.
async fn end_after(bytes: &[u8]) -> io::Result<usize> {
    let (ours, mut theirs) = duplex(64 * 1024);
    let bounds = websocket("/mqtt", &[]).bounds;
    let ours = WebSocketStream::from_raw_socket(ours, Role::Client, Some(bounds)).await;
    theirs.write_all(bytes).await.expect("there is room");
    theirs.shutdown().await.expect("open");
    Frames::new(ours).read(&mut [0; 100]).await
}

#[tokio::test]
async fn ends_and_what_is_not_allowed() {
    let in_order: [&[u8]; 4] = [b"", b"\x88\x00", b"\x88\x02\x03\xe8", b"\x82\x05hal"];
    for bytes in in_order {
        assert_eq!(end_after(bytes).await.expect("an end"), 0, "{bytes:x?}");
    }
    // One more than the largest message, and 2^63 - 1.
    let one_more = [&b"\x82\x7f"[..], &(4096 + MORE_BYTES as u64 + 1).to_be_bytes()].concat();
    let huge = [&b"\x82\x7f"[..], &(u64::MAX >> 1).to_be_bytes()].concat();
    let text = "a text frame came, and MQTT goes in binary frames";
    let cases: [(&[u8], &str); 9] = [
        // [MQTT-6.0.0-1]
        (b"\x81\x02hi", text),
        (b"\x81\x01\xff", text),
        (b"\x88\x07\x03\xf0a\nb\x1bc", "it closed the WebSocket with code 1008 \"a\\nb\\u{1b}c\""),
        (b"\x88\x02\x03\xea", "it closed the WebSocket with code 1002 \"\""),
        (b"\x82\x81abcdx", "masked frame from server"),
        (b"\xc2\x01x", "Reserved bits are non-zero"),
        (b"\x80\x01x", "nothing to continue"),
        (&one_more, "Space limit exceeded"),
        (&huge, "Space limit exceeded"),
    ];
    for (bytes, what) in cases {
        let error = end_after(bytes).await.expect_err(what).to_string();
        assert!(error.contains(what), "{what}: {error}");
    }
}
