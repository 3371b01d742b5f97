//! An HTTP proxy on the way: CONNECT of RFC 9110, 9.3.6. The proxy looks the remote broker's name up and
//! connects; from its answer on the connection is a tunnel.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite::http::StatusCode;

use super::{transport, within};
use crate::config::{ProxyConfig, Secret};
use crate::link_error::{LinkError, Phase, io_words};

/// An answer whose head is longer, in bytes, is refused.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// What every answer begins with.
const HTTP_1: &[u8] = b"HTTP/1.";

/// An HTTP proxy.
#[derive(Debug)]
pub(super) struct Proxy {
    address: String,
    /// The value of Proxy-Authorization.
    credentials: Option<Secret>,
}

impl Proxy {
    pub(super) fn new(config: &ProxyConfig) -> Self {
        let credentials = config.user_name.as_ref().map(|user_name| {
            let password = config.password.as_ref().map_or("", Secret::reveal);
            // RFC 7617.
            Secret::new(format!("Basic {}", STANDARD.encode(format!("{user_name}:{password}"))))
        });
        Self { address: config.address.clone(), credentials }
    }

    /// Has the proxy at the other end of `stream` make a tunnel to `target`, `host:port`.
    ///
    /// # Errors
    /// Whatever it answers but 2xx, and no answer in time.
    pub(super) async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        target: &str,
    ) -> Result<(), LinkError> {
        let asked = within(Phase::Proxy, &self.address, self.talk(stream, target)).await?;
        asked.map_err(|what| transport(Phase::Proxy, format!("{}: {what}", self.address)))
    }

    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        target: &str,
    ) -> Result<(), String> {
        let request = self.request(target);
        stream.write_all(request.as_bytes()).await.map_err(|error| io_words(&error))?;
        let (head, rest) = read_head(stream).await?;
        let status = status(&head).ok_or(NO_HTTP)?;
        match status {
            StatusCode::PROXY_AUTHENTICATION_REQUIRED if self.credentials.is_some() => {
                Err(format!("it does not take user_name and password ({status})"))
            }
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                Err(format!("it wants a user_name and a password ({status})"))
            }
            _ if !status.is_success() => Err(format!("it answered {status} to CONNECT {target}")),
            // On every way the bridge speaks first.
            _ if rest => Err("it sent more than its answer".to_owned()),
            _ => Ok(()),
        }
    }

    fn request(&self, target: &str) -> String {
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
        if let Some(credentials) = &self.credentials {
            request += &format!("Proxy-Authorization: {}\r\n", credentials.reveal());
        }
        request + "\r\n"
    }
}

const NO_HTTP: &str = "what it answered is no HTTP";

/// The head of an answer, and whether anything came behind it.
async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> Result<(Vec<u8>, bool), String> {
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        let count = stream.read(&mut chunk).await.map_err(|error| io_words(&error))?;
        if count == 0 {
            return Err("it closed the connection without an answer".to_owned());
        }
        head.extend_from_slice(&chunk[..count]);
        // Noticed at once: who speaks another protocol may wait for us for ever.
        let begins = head.len().min(HTTP_1.len());
        if head[..begins] != HTTP_1[..begins] {
            return Err(NO_HTTP.to_owned());
        }
        if let Some(end) = head.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let rest = head.len() > end + 4;
            head.truncate(end);
            return Ok((head, rest));
        }
        if head.len() > HEAD_BYTES_MAX {
            return Err(format!("the head of its answer is longer than {HEAD_BYTES_MAX} bytes"));
        }
    }
}

/// The status of `HTTP/1.1 407 Some words`.
fn status(head: &[u8]) -> Option<StatusCode> {
    let line = head.strip_prefix(HTTP_1)?;
    match line {
        [b'0'..=b'9', b' ', code @ ..] => match code {
            [_, _, _] | [_, _, _, b' ' | b'\r', ..] => StatusCode::from_bytes(&code[..3]).ok(),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    fn proxy(user_name: Option<&str>, password: Option<&str>) -> Proxy {
        Proxy::new(&ProxyConfig {
            address: "proxy.example:3128".to_owned(),
            user_name: user_name.map(Into::into),
            password: password.map(Secret::new),
        })
    }

    /// What comes of an answer, and what was asked.
    async fn asked(proxy: &Proxy, answer: &[u8]) -> (Result<(), LinkError>, String) {
        let (mut ours, mut theirs) = duplex(64 * 1024);
        theirs.write_all(answer).await.expect("there is room");
        theirs.shutdown().await.expect("open");
        let result = proxy.ask(&mut ours, "central.example:8883").await;
        drop(ours);
        let mut request = String::new();
        theirs.read_to_string(&mut request).await.expect("text");
        (result, request)
    }

    #[tokio::test]
    async fn a_tunnel_with_and_without_credentials() {
        let answer = b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n";
        let (result, request) = asked(&proxy(None, None), answer).await;
        assert_eq!(result, Ok(()));
        let lines = "CONNECT central.example:8883 HTTP/1.1\r\nHost: central.example:8883\r\n";
        assert_eq!(request, format!("{lines}\r\n"));
        let secret = proxy(Some("Aladdin"), Some("open sesame"));
        assert!(!format!("{secret:?}").contains("QWxh"), "credentials stay out of logs");
        let (result, request) = asked(&secret, b"HTTP/1.0 200\r\n\r\n").await;
        assert_eq!(result, Ok(()));
        let basic = "Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n";
        assert_eq!(request, format!("{lines}{basic}"));
    }

    #[tokio::test]
    async fn every_other_answer_is_told_in_words() {
        let long = [b"HTTP/1.1 200 OK\r\nA: ".as_slice(), &[b'a'; 20_000]].concat();
        let wanted = b"HTTP/1.1 407 \r\nContent-Length: 4\r\n\r\nbody".as_slice();
        for (proxy, answer, what) in [
            (
                proxy(None, None),
                wanted,
                "it wants a user_name and a password (407 Proxy Authentication Required)",
            ),
            (
                proxy(Some("u"), None),
                wanted,
                "it does not take user_name and password (407 Proxy Authentication Required)",
            ),
            (
                proxy(None, None),
                b"HTTP/1.1 403 \x1b[31mNo\r\n\r\n",
                "it answered 403 Forbidden to CONNECT central.example:8883",
            ),
            (proxy(None, None), b"SSH-2.0-OpenSSH_9\r\n", NO_HTTP),
            (proxy(None, None), b"HTTP/1.1 2000 OK\r\n\r\n", NO_HTTP),
            (proxy(None, None), b"HTTP/1.1 999999\r\n\r\n", NO_HTTP),
            (proxy(None, None), b"HTTP/1.1\r\n\r\n", NO_HTTP),
            (
                proxy(None, None),
                b"HTTP/1.1 200 OK\r\n",
                "it closed the connection without an answer",
            ),
            (proxy(None, None), b"", "it closed the connection without an answer"),
            (proxy(None, None), b"HTTP/1.1 200 OK\r\n\r\n\x20\x02", "it sent more than its answer"),
            (proxy(None, None), &long, "the head of its answer is longer than 8192 bytes"),
        ] {
            let (result, _) = asked(&proxy, answer).await;
            let error = result.expect_err(what);
            assert_eq!(error.kind(), "proxy");
            assert_eq!(error.to_string(), format!("proxy failed: proxy.example:3128: {what}"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_not_waited_for() {
        let (mut ours, _theirs) = duplex(1024);
        let error = proxy(None, None).ask(&mut ours, "h:1").await.expect_err("nothing comes");
        let words = "proxy failed: proxy.example:3128: no answer within 10 s";
        assert_eq!(error.to_string(), words);
    }
}
