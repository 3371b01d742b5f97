//! MQTT over WebSocket (RFC 6455): the handshake as a client, and a byte stream whose bytes go in binary
//! frames. What it goes over may be TLS.
//!
//! # Limits
//! - A frame that we send holds up to [`FRAME_BYTES`]; one that does not leave at once is all that waits
//!   here, beside answers to pings, [`WAITING_BYTES_MAX`] in all.
//! - A message that comes, of one frame or several, may hold as much as the largest packet and
//!   [`MORE_BYTES`]: brokers put several packets in one.
//! - The head of the answer to the handshake may have 64 KiB (tungstenite's bound).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::client::{Request, generate_key};
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, StatusCode, Uri};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig as Bounds};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::{BoxedStream, tls, transport, within};
use crate::config::WebSocketConfig;
use crate::link_error::{LinkError, Phase};

/// Bytes of MQTT in one frame that we send.
const FRAME_BYTES: usize = 16 * 1024;

/// Bytes of frames that may wait for the stream below.
const WAITING_BYTES_MAX: usize = 64 * 1024;

/// One `read` of the stream below takes up to so many bytes.
const READ_BYTES: usize = 16 * 1024;

/// What else a message may hold beside a packet of the largest size, in bytes.
const MORE_BYTES: usize = 1024 * 1024;

/// [MQTT-6.0.0-3]
const SUBPROTOCOL: &str = "mqtt";

const CLOSED_EARLY: &str = "it closed the connection without an answer";

/// The handshake with one address.
pub(super) struct WebSocket {
    request: Request,
    bounds: Bounds,
}

impl WebSocket {
    /// `address` and `config` are valid. `over_tls` decides which port goes without saying.
    pub(super) fn new(
        address: &str,
        config: &WebSocketConfig,
        over_tls: bool,
        packet_bytes_max: u32,
    ) -> Self {
        let (scheme, usual_port) = if over_tls { ("wss", ":443") } else { ("ws", ":80") };
        let host = address.strip_suffix(usual_port).unwrap_or(address);
        let mut request = Request::new(());
        // What was checked with the configuration parses, but for hosts that no name server knows.
        *request.uri_mut() = Uri::try_from(format!("{scheme}://{address}{}", config.path))
            .or_else(|_| Uri::try_from(format!("{scheme}://host{}", config.path)))
            .expect("a path that was checked");
        let fixed = [
            ("host", host),
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", SUBPROTOCOL),
        ];
        let more = config.headers.iter().map(|(name, value)| (name.as_str(), value.reveal()));
        for (name, value) in fixed.into_iter().chain(more) {
            let name = HeaderName::try_from(name).expect("a name that was checked");
            let mut value = HeaderValue::try_from(value).expect("a value that was checked");
            value.set_sensitive(true);
            request.headers_mut().append(name, value);
        }
        let message_bytes_max = packet_bytes_max as usize + MORE_BYTES;
        let bounds = Bounds::default()
            .read_buffer_size(READ_BYTES)
            // Each frame goes to the stream below at once.
            .write_buffer_size(0)
            .max_write_buffer_size(WAITING_BYTES_MAX)
            .max_message_size(Some(message_bytes_max))
            .max_frame_size(Some(message_bytes_max));
        Self { request, bounds }
    }

    pub(super) async fn open(
        &self,
        stream: BoxedStream,
        address: &str,
    ) -> Result<BoxedStream, LinkError> {
        let mut request = self.request.clone();
        let key = HeaderValue::try_from(generate_key()).expect("it is base64");
        request.headers_mut().insert("sec-websocket-key", key);
        let handshake = client_async_with_config(request, stream, Some(self.bounds));
        match within(Phase::WebSocket, address, handshake).await? {
            Ok((socket, _)) => Ok(Box::new(Frames::new(socket))),
            Err(error) => {
                let what = format!("{address}: {}", self.words(&error));
                Err(transport(Phase::WebSocket, what))
            }
        }
    }

    /// Why the handshake failed.
    fn words(&self, error: &Error) -> String {
        match error {
            Error::Http(answer) => {
                let status = answer.status();
                // A query may be a signature.
                let path = self.request.uri().path();
                let hint = if status == StatusCode::NOT_FOUND { "; is path right?" } else { "" };
                format!("it answered {status} to GET {path}{hint}")
            }
            // [MQTT-6.0.0-4]
            Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(_)) => {
                "it does not speak MQTT there: it did not choose the subprotocol mqtt".to_owned()
            }
            Error::Protocol(ProtocolError::HandshakeIncomplete) => CLOSED_EARLY.to_owned(),
            Error::Protocol(ProtocolError::HttparseError(_) | ProtocolError::WrongHttpVersion) => {
                "what it answered is no HTTP/1.1".to_owned()
            }
            Error::Protocol(
                ProtocolError::MissingUpgradeWebSocketHeader
                | ProtocolError::MissingConnectionUpgradeHeader
                | ProtocolError::SecWebSocketAcceptKeyMismatch,
            ) => format!("it does not speak WebSocket: {error}"),
            Error::Capacity(_) | Error::AttackAttempt => {
                "the head of its answer is too long".to_owned()
            }
            Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                CLOSED_EARLY.to_owned()
            }
            Error::Io(error) => tls::words(error),
            other => other.to_string(),
        }
    }
}

/// A byte stream over the binary frames of a WebSocket. Frames and packets need not have the same
/// borders [MQTT-6.0.0-2].
pub(crate) struct Frames<S> {
    socket: WebSocketStream<S>,
    /// What came and has not been read.
    unread: Bytes,
}

impl<S> Frames<S> {
    pub(crate) fn new(socket: WebSocketStream<S>) -> Self {
        Self { socket, unread: Bytes::new() }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Frames<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.unread.is_empty() {
            match ready!(Pin::new(&mut this.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => this.unread = bytes,
                // Answers to pings leave with the next look at the stream.
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                // [MQTT-6.0.0-1]
                Some(Ok(Message::Text(_) | Message::Frame(_))) | Some(Err(Error::Utf8(_))) => {
                    return Poll::Ready(Err(io::Error::other(
                        "a text frame came, and MQTT goes in binary frames",
                    )));
                }
                Some(Ok(Message::Close(frame))) => {
                    // An answer is due; the link has ended whether it can leave or not.
                    let _ = Pin::new(&mut this.socket).poll_flush(cx);
                    return Poll::Ready(closed(frame));
                }
                Some(Err(error)) if is_end(&error) => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = this.unread.len().min(buffer.remaining());
        buffer.put_slice(&this.unread.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Frames<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let mut socket = Pin::new(&mut self.get_mut().socket);
        ready!(socket.as_mut().poll_ready(cx)).map_err(io_error)?;
        let bytes = &bytes[..bytes.len().min(FRAME_BYTES)];
        let frame = Message::Binary(Bytes::copy_from_slice(bytes));
        socket.start_send(frame).map_err(io_error)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx).map_err(io_error)
    }

    /// A close frame, and the end of the stream below. The answer is not waited for: nothing that
    /// matters can come behind DISCONNECT.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = &mut self.get_mut().socket;
        // Where it cannot be said, the end of the stream says it.
        let _ = ready!(Pin::new(&mut *socket).poll_close(cx));
        Pin::new(socket.get_mut()).poll_shutdown(cx)
    }
}

/// A close frame: the end in order, or why.
fn closed(frame: Option<CloseFrame>) -> io::Result<()> {
    match frame {
        None => Ok(()),
        Some(CloseFrame { code: CloseCode::Normal | CloseCode::Status, .. }) => Ok(()),
        Some(CloseFrame { code, reason }) => {
            // The reason is the far end's text.
            let reason = reason.as_str();
            let why = format!("it closed the WebSocket with code {} {reason:?}", u16::from(code));
            Err(io::Error::other(why))
        }
    }
}

/// The stream below has ended, with a goodbye or without.
fn is_end(error: &Error) -> bool {
    matches!(
        error,
        Error::ConnectionClosed
            | Error::AlreadyClosed
            | Error::Protocol(
                ProtocolError::ResetWithoutClosingHandshake | ProtocolError::SendAfterClosing
            )
    )
}

fn io_error(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        error if is_end(&error) => io::ErrorKind::UnexpectedEof.into(),
        error => io::Error::other(format!("it broke the rules of WebSocket: {error}")),
    }
}

#[cfg(test)]
mod tests;
