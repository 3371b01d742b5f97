//! CONNECT and authentication: from an accepted stream to a connection that the core knows.
//!
//! Nothing of it happens under the core's lock, and the slow part of it (hashing a password) on no
//! thread that serves connections.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Poll, ready};

use outpost_bridge::compression::Compressed;
use outpost_protocol::{
    Auth, Connect, DecodeError, Packet, Properties, Property, ProtocolVersion, ReasonCode, decode,
};
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use super::connection::Connection;
use super::shared::Shared;
use super::stream::Stream;
use crate::auth::method::{AuthMethods, AuthState, AuthStep};
use crate::auth::{Authenticator, Credentials, Identity, ListenerAuth};
use crate::core::output::{ByteBuffer, Encoder};
use crate::core::{Peer, refusal, refusal_of};

/// The first byte of a CONNECT: its type, and flags that are reserved.
const CONNECT: u8 = 0x10;

/// What every listener needs to let clients in.
pub(crate) struct Door {
    pub(crate) shared: Arc<Shared>,
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) methods: AuthMethods,
    /// As many permits as passwords can be hashed at once.
    pub(crate) hashing: Arc<Semaphore>,
    /// The largest packet taken, in bytes.
    pub(crate) packet_bytes_max: u32,
    /// The largest one taken from a client that is not connected yet.
    pub(crate) connect_bytes_max: u32,
}

/// Who stands at the door.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) address: Box<str>,
    pub(crate) policy: ListenerAuth,
    /// The common name of a verified client certificate.
    pub(crate) certificate_cn: Option<Box<str>>,
    /// A part of this program: it is who it says.
    pub(crate) is_internal: bool,
}

/// Bytes of a refused client identifier or user name that the log shows.
const LOGGED_BYTES_MAX: usize = 64;

/// Why there is no connection.
enum Refused {
    /// The stream ended.
    Lost,
    /// Nothing that came is worth an answer.
    Silently(&'static str),
    /// Nobody knows who it was; these bytes are the answer.
    With(Vec<u8>, ReasonCode, &'static str),
    /// The same for a client that said who it is.
    Known(Who, Vec<u8>, ReasonCode, &'static str),
}

/// Who a client says it is, for the log.
struct Who {
    client_id: Box<str>,
    user_name: Option<Box<str>>,
}

impl Who {
    fn of(connect: &Connect<'_>) -> Self {
        let shown = |text: &str| text[..text.floor_char_boundary(LOGGED_BYTES_MAX)].into();
        Self { client_id: shown(connect.client_id), user_name: connect.user_name.map(shown) }
    }
}

impl From<io::Error> for Refused {
    fn from(_: io::Error) -> Self {
        Self::Lost
    }
}

/// Takes CONNECT and makes a connection of the stream. `Err`: the stream, to be closed in order.
pub(crate) async fn shake_hands(
    door: &Arc<Door>,
    caller: Caller,
    mut stream: Stream,
) -> Result<Connection, Stream> {
    let refused = match read_connect(door, &caller, &mut stream).await {
        Ok((bytes, len, authenticated)) => {
            return Ok(open(door, caller, stream, bytes, len, authenticated));
        }
        Err(refused) => refused,
    };
    let address = &caller.address;
    match refused {
        Refused::Lost => debug!(%address, "the connection was lost before CONNECT"),
        Refused::Silently(why) => {
            if door.shared.may_log() {
                warn!(%address, why, "connection refused");
            }
        }
        Refused::With(answer, reason, why) => {
            if door.shared.may_log() {
                warn!(%address, %reason, why, "client refused");
            }
            say(&mut stream, &answer).await;
        }
        Refused::Known(Who { client_id, user_name }, answer, reason, why) => {
            if door.shared.may_log() {
                let user = user_name.as_deref();
                warn!(client = %client_id, %address, user, %reason, why, "client refused");
            }
            say(&mut stream, &answer).await;
        }
    }
    Err(stream)
}

/// The answer is a courtesy: who does not take it is gone.
async fn say(stream: &mut Stream, answer: &[u8]) {
    let _ = write_all(stream, answer).await;
}

/// Who the client is, and what its authentication method has to say in CONNACK.
struct Authenticated {
    identity: Identity,
    method: Option<(String, Option<Vec<u8>>)>,
}

async fn read_connect(
    door: &Arc<Door>,
    caller: &Caller,
    stream: &mut Stream,
) -> Result<(Vec<u8>, usize, Authenticated), Refused> {
    let mut bytes = Vec::new();
    let is_connect = |first| first == CONNECT;
    let len = match read_packet(stream, &mut bytes, door.connect_bytes_max, is_connect).await? {
        Ok(len) => len,
        Err(error) => return Err(refuse_malformed(&bytes, error)),
    };
    let connect = match decode(&bytes, ProtocolVersion::V5, door.connect_bytes_max) {
        Ok(Some((Packet::Connect(connect), _))) => connect,
        // [MQTT-3.1.0-1]
        Ok(_) => return Err(Refused::Silently("the first packet is not CONNECT")),
        Err(error) => return Err(refuse_malformed(&bytes, error)),
    };
    let refuse = |reason, why| {
        let why: &'static str = why;
        Refused::Known(Who::of(&connect), refusal(&connect, reason, why), reason, why)
    };
    let authenticated = match connect.properties.authentication_method() {
        Some(method) => run_method(door, &connect, method, stream).await?,
        None if caller.is_internal => Authenticated { identity: Identity::default(), method: None },
        None => {
            let identity = authenticate(door, caller, &connect).await;
            let identity = identity.map_err(|reason| match reason {
                ReasonCode::NotAuthorized => refuse(reason, "anonymous clients are not allowed"),
                _ => refuse(reason, "bad user name or password"),
            })?;
            Authenticated { identity, method: None }
        }
    };
    Ok((bytes, len, authenticated))
}

/// Gives the connection to the core. `bytes` begin with CONNECT, which was decoded before.
fn open(
    door: &Arc<Door>,
    caller: Caller,
    stream: Stream,
    mut bytes: Vec<u8>,
    len: usize,
    authenticated: Authenticated,
) -> Connection {
    let Ok(Some((Packet::Connect(connect), _))) =
        decode(&bytes, ProtocolVersion::V5, door.connect_bytes_max)
    else {
        unreachable!("the same bytes were a CONNECT before");
    };
    let peer = Peer {
        address: caller.address,
        user_name: authenticated.identity.user_name,
        is_internal: caller.is_internal,
    };
    let mut properties = Vec::new();
    if let Some((method, data)) = &authenticated.method {
        properties.push(Property::AuthenticationMethod(method));
        properties.extend(data.as_deref().map(Property::AuthenticationData));
    }
    let version = connect.version;
    let (id, options) = door.shared.enter(None, |core| {
        let id = core.broker.handle_connect(core.now, peer, &connect, &properties);
        let options = core.broker.encoder_options(id);
        (id, options.expect("the connection was made just now"))
    });
    bytes.drain(..len);
    if bytes.is_empty() {
        bytes = Vec::new();
    }
    let encoder = Encoder::new(options);
    let shared = door.shared.clone();
    let stream = if options.bridge.is_some_and(|(_, features)| features.zstd) {
        Stream::Compressed(Box::new(Compressed::for_server(stream, std::mem::take(&mut bytes))))
    } else {
        stream
    };
    Connection::new(stream, shared, id, encoder, version, door.packet_bytes_max, bytes)
}

async fn authenticate(
    door: &Arc<Door>,
    caller: &Caller,
    connect: &Connect<'_>,
) -> Result<Identity, ReasonCode> {
    let credentials = Credentials {
        user_name: connect.user_name,
        password: connect.password,
        certificate_cn: caller.certificate_cn.as_deref(),
        client_id: connect.client_id,
    };
    if !door.authenticator.needs_hashing(&caller.policy, &credentials) {
        return door.authenticator.authenticate(&caller.policy, &credentials);
    }
    // Waiting here and not on a thread: a connection whose time is over waits no more, and a flood
    // of passwords leaves no pile of hashes behind that the broker's end would have to wait for.
    let permit = door.hashing.clone().acquire_owned().await;
    let permit = permit.expect("the semaphore is never closed");
    let door = door.clone();
    let caller = caller.clone();
    let user_name = connect.user_name.map(str::to_owned);
    let password = connect.password.map(<[u8]>::to_vec);
    let client_id = connect.client_id.to_owned();
    let hashing = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let credentials = Credentials {
            user_name: user_name.as_deref(),
            password: password.as_deref(),
            certificate_cn: caller.certificate_cn.as_deref(),
            client_id: &client_id,
        };
        door.authenticator.authenticate(&caller.policy, &credentials)
    });
    hashing.await.unwrap_or(Err(ReasonCode::UnspecifiedError))
}

/// Enhanced authentication (MQTT 5.0, section 4.12): AUTH packets until the method is satisfied.
async fn run_method(
    door: &Arc<Door>,
    connect: &Connect<'_>,
    name: &str,
    stream: &mut Stream,
) -> Result<Authenticated, Refused> {
    let refuse = |reason, why| {
        let why: &'static str = why;
        Refused::Known(Who::of(connect), refusal(connect, reason, why), reason, why)
    };
    let Some(method) = door.methods.find(name) else {
        // [MQTT-4.12.0-1]
        let why = "this authentication method is not configured";
        return Err(refuse(ReasonCode::BadAuthenticationMethod, why));
    };
    let mut step = method.start(connect.properties.authentication_data());
    loop {
        match step {
            AuthStep::Success(identity, data) => {
                let method = Some((name.to_owned(), data));
                return Ok(Authenticated { identity, method });
            }
            AuthStep::Failure(reason) => {
                return Err(refuse(reason, "the authentication method refused the client"));
            }
            AuthStep::Continue(data, state) => {
                let answer = exchange_auth(door, name, data, stream).await?;
                step = next_step(door, name, state, &answer)
                    .map_err(|(reason, why)| refuse(reason, why))?;
            }
        }
    }
}

/// Sends AUTH and waits for the next packet, whole.
async fn exchange_auth(
    door: &Door,
    name: &str,
    data: Option<Vec<u8>>,
    stream: &mut Stream,
) -> Result<Vec<u8>, Refused> {
    let mut list = vec![Property::AuthenticationMethod(name)];
    list.extend(data.as_deref().map(Property::AuthenticationData));
    let auth =
        Auth { reason: ReasonCode::ContinueAuthentication, properties: Properties::list(&list) };
    let mut bytes = ByteBuffer::default();
    if auth.encode(ProtocolVersion::V5, &mut bytes).is_err() {
        return Err(Refused::Silently("the authentication method said too much"));
    }
    write_all(stream, &bytes.0).await?;
    let mut answer = Vec::new();
    match read_packet(stream, &mut answer, door.connect_bytes_max, |_| true).await? {
        Ok(len) if len == answer.len() => Ok(answer),
        Ok(_) => Err(Refused::Silently("packets before the authentication was complete")),
        Err(error) => Err(Refused::Silently(error.what)),
    }
}

fn next_step(
    door: &Door,
    name: &str,
    state: AuthState,
    answer: &[u8],
) -> Result<AuthStep, (ReasonCode, &'static str)> {
    let packet = decode(answer, ProtocolVersion::V5, door.connect_bytes_max);
    let Ok(Some((Packet::Auth(auth), _))) = packet else {
        return Err((ReasonCode::ProtocolError, "another packet where AUTH was expected"));
    };
    // [MQTT-4.12.0-5]
    if auth.reason != ReasonCode::ContinueAuthentication
        || auth.properties.authentication_method() != Some(name)
    {
        return Err((ReasonCode::ProtocolError, "AUTH with another method or reason"));
    }
    let method = door.methods.find(name).expect("methods are never taken away");
    Ok(method.next(state, auth.properties.authentication_data()))
}

/// Reads until `bytes` begin with a whole packet; its length. Nothing is gathered of a packet whose
/// first byte `is_expected` refuses.
async fn read_packet(
    stream: &mut Stream,
    bytes: &mut Vec<u8>,
    bytes_max: u32,
    is_expected: impl Fn(u8) -> bool,
) -> io::Result<Result<usize, DecodeError>> {
    let mut chunk = [0; 512];
    loop {
        if bytes.first().is_some_and(|first| !is_expected(*first)) {
            let what = "another packet was expected";
            return Ok(Err(DecodeError { reason: ReasonCode::ProtocolError, what }));
        }
        match decode(bytes, ProtocolVersion::V5, bytes_max) {
            Ok(Some((_, len))) => return Ok(Ok(len)),
            Ok(None) => {}
            Err(error) => return Ok(Err(error)),
        }
        let read = poll_fn(|cx| stream.poll_read(cx, &mut chunk)).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&chunk[..read]);
    }
}

async fn write_all(stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
    let mut written = 0;
    poll_fn(|cx| {
        while written < bytes.len() {
            match ready!(stream.poll_write(cx, &bytes[written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => written += n,
            }
        }
        ready!(stream.poll_flush(cx))?;
        Poll::Ready(Ok(()))
    })
    .await
}

/// What to say to a CONNECT that is none: 5.0 has reason codes, 3.x one for an unknown version.
fn refuse_malformed(bytes: &[u8], error: DecodeError) -> Refused {
    let level = claimed_level(bytes);
    if bytes.first().is_none_or(|first| *first != CONNECT) {
        return Refused::Silently("the first packet is not CONNECT");
    }
    let version = match (error.reason, level) {
        (ReasonCode::UnsupportedProtocolVersion, Some(level)) if level < 5 => ProtocolVersion::V311,
        (ReasonCode::UnsupportedProtocolVersion, Some(_)) => ProtocolVersion::V5,
        (_, Some(5)) => ProtocolVersion::V5,
        _ => return Refused::Silently(error.what),
    };
    let bytes = refusal_of(version, error.reason, Some(error.what));
    Refused::With(bytes, error.reason, error.what)
}

/// The protocol level, where the bytes look like a CONNECT at all.
fn claimed_level(bytes: &[u8]) -> Option<u8> {
    let header = 1 + bytes.iter().skip(1).take(4).position(|b| b & 0x80 == 0)? + 1;
    let body = bytes.get(header..)?;
    let name_len = usize::from(u16::from_be_bytes([*body.first()?, *body.get(1)?]));
    body.get(2 + name_len).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_level_of_what_claims_to_be_connect() {
        assert_eq!(claimed_level(b"\x10\x0c\x00\x04MQTT\x06\x02\x00\x3c\x00\x00"), Some(6));
        assert_eq!(claimed_level(b"\x10\x0c\x00\x06MQIsdp\x03"), Some(3));
        assert_eq!(claimed_level(b"\x10\x0c\x00"), None);
        assert_eq!(claimed_level(b""), None);
    }
}
