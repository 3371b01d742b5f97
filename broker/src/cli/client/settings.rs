//! What the options mean once all of them are known.

use std::process;
use std::sync::Arc;

use outpost_protocol::client::ConnectOptions;
use outpost_protocol::{Properties, Property, ProtocolVersion, QoS, TopicName, Will};
use rustls::ClientConfig;

use super::options::{ClientOptions, WillOptions};
use super::property::{PropertyOptions, Target};
use super::random_bytes;
use super::tls;

const PORT: u16 = 1883;
const TLS_PORT: u16 = 8883;

/// The largest packet that MQTT has: its longest remaining length and the fixed header.
const PACKET_BYTES_MAX: u32 = 268_435_455 + 5;
/// The longest string or binary data (1.5.4, 1.5.6).
const FIELD_BYTES_MAX: usize = 65_535;

/// How many messages of QoS 1 and 2 a 5.0 server may send before the first is acknowledged.
const RECEIVE_MAXIMUM: u16 = 1_000;

/// How a client connects, and as whom.
#[derive(Debug)]
pub(in crate::cli) struct Settings {
    /// A name or an address.
    pub(super) host: String,
    pub(super) port: u16,
    /// A name or an address of this machine.
    pub(super) bind_address: Option<String>,
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(in crate::cli) version: ProtocolVersion,
    session: Session,
    keep_alive_s: u16,
    user_name: Option<String>,
    password: Option<Vec<u8>>,
    will: Option<OwnedWill>,
    pub(in crate::cli) properties: PropertyOptions,
    /// The topic of the URL.
    pub(in crate::cli) topic: Option<String>,
    pub(in crate::cli) qos: QoS,
    /// How many messages of QoS 1 and 2 may be on their way to the server at once.
    pub(in crate::cli) max_in_flight: usize,
    pub(in crate::cli) debug: bool,
    pub(in crate::cli) quiet: bool,
}

/// Whose session, and how long it lasts.
#[derive(Debug)]
struct Session {
    client_id: String,
    clean_start: bool,
    expiry_interval_s: u32,
}

#[derive(Debug)]
struct OwnedWill {
    topic: String,
    payload: Vec<u8>,
    qos: QoS,
    retain: bool,
    properties: Vec<u8>,
}

impl Settings {
    /// `needs_v5`: an option of the command that only 5.0 knows, if there is one.
    ///
    /// # Errors
    /// Options that do not go together, or files that cannot be used, in words.
    pub(in crate::cli) fn new(
        options: ClientOptions,
        needs_v5: Option<&str>,
    ) -> Result<Self, String> {
        let version = version(&options, needs_v5)?;
        let session = Session::new(&options, version)?;
        let will = OwnedWill::new(options.will, &options.properties)?;
        let mut url = options.url;
        let is_tls = url.as_ref().is_some_and(|url| url.is_tls);
        let port = options.port.or(url.as_ref().and_then(|url| url.port));
        let tls = tls::client_config(&options.tls, is_tls || port == Some(TLS_PORT))?;
        let default_port = if tls.is_some() { TLS_PORT } else { PORT };
        let user_name =
            options.username.or_else(|| url.as_mut().and_then(|url| url.user_name.take()));
        let password = match options.pw {
            Some(password) => Some(password.into_encoded_bytes()),
            None => url.as_mut().and_then(|url| url.password.take()).map(String::into_bytes),
        };
        check_credentials(version, user_name.as_deref(), password.as_deref())?;
        let (host, topic) = match url {
            Some(url) => (Some(url.host), Some(url.topic)),
            None => (options.host, None),
        };
        Ok(Self {
            host: host.unwrap_or_else(|| "localhost".to_owned()),
            port: port.unwrap_or(default_port),
            bind_address: options.bind_address,
            tls,
            version,
            session,
            keep_alive_s: options.keepalive,
            user_name,
            password,
            will,
            properties: options.properties,
            topic,
            qos: options.qos,
            max_in_flight: usize::from(options.max_inflight),
            debug: options.debug,
            quiet: options.quiet,
        })
    }

    /// Calls `connect` with what CONNECT says. After the first connection of a session that the
    /// server keeps, `resume` goes on with it.
    pub(super) fn with_connect_options<T>(
        &self,
        resume: bool,
        connect: impl FnOnce(&ConnectOptions<'_>) -> T,
    ) -> T {
        let mut properties: Vec<_> = self.connect_properties().collect();
        if self.properties.of(Target::Connect).all(|given| !is_receive_maximum(given.as_property()))
        {
            properties.push(Property::ReceiveMaximum(RECEIVE_MAXIMUM));
        }
        connect(&ConnectOptions {
            client_id: &self.session.client_id,
            clean_start: self.session.clean_start && !(resume && self.is_session_kept()),
            keep_alive_s: self.keep_alive_s,
            session_expiry_interval_s: self.session.expiry_interval_s,
            will: self.will.as_ref().map(OwnedWill::as_will),
            user_name: self.user_name.as_deref(),
            password: self.password.as_deref(),
            properties: &properties,
        })
    }

    /// Those of CONNECT that are not settings of their own.
    fn connect_properties(&self) -> impl Iterator<Item = Property<'_>> {
        self.properties.of(Target::Connect).map(|given| given.as_property()).filter(|property| {
            !matches!(property, Property::SessionExpiryInterval(_) | Property::MaximumPacketSize(_))
        })
    }

    /// The largest packet that the server may send, in bytes.
    pub(super) fn maximum_packet_size(&self) -> u32 {
        let given =
            self.properties.of(Target::Connect).find_map(|given| match given.as_property() {
                Property::MaximumPacketSize(size) => Some(size),
                _ => None,
            });
        given.unwrap_or(PACKET_BYTES_MAX).min(PACKET_BYTES_MAX)
    }

    /// Whether the server keeps the session between two connections.
    pub(in crate::cli) fn is_session_kept(&self) -> bool {
        !self.session.clean_start || self.session.expiry_interval_s > 0
    }

    /// More than CONNECT can have.
    pub(super) fn connect_bytes(&self) -> usize {
        let will = self
            .will
            .as_ref()
            .map_or(0, |will| will.topic.len() + will.payload.len() + will.properties.len());
        let credentials = self.user_name.as_ref().map_or(0, String::len)
            + self.password.as_ref().map_or(0, Vec::len);
        let properties = self.properties.encoded(Target::Connect).len();
        self.session.client_id.len() + will + credentials + properties + 256
    }
}

fn is_receive_maximum(property: Property<'_>) -> bool {
    matches!(property, Property::ReceiveMaximum(_))
}

/// What the user chose, or else 3.1.1 as with mosquitto, or 5.0 where an option needs it.
fn version(options: &ClientOptions, needs_v5: Option<&str>) -> Result<ProtocolVersion, String> {
    let needs_v5 = match options {
        options if !options.properties.is_empty() => Some("-D"),
        options if options.session_expiry_interval.is_some() => Some("-x"),
        _ => needs_v5,
    };
    match (options.protocol_version, needs_v5) {
        (None, None) => Ok(ProtocolVersion::V311),
        (None | Some(ProtocolVersion::V5), _) => Ok(ProtocolVersion::V5),
        (Some(version), None) => Ok(version),
        (Some(_), Some(option)) => Err(format!("{option} needs MQTT 5.0: -V 5")),
    }
}

impl Session {
    fn new(options: &ClientOptions, version: ProtocolVersion) -> Result<Self, String> {
        let clean_start = !options.disable_clean_session;
        let has_own_id = options.id.as_ref().is_some_and(|id| !id.is_empty());
        let expiry_interval_s = match (version, expiry_interval_s(options)?) {
            (ProtocolVersion::V5, Some(interval_s)) => interval_s,
            (ProtocolVersion::V5, None) if !clean_start => u32::MAX,
            _ => 0,
        };
        if !has_own_id && (expiry_interval_s == u32::MAX || !clean_start) {
            return Err("a session that stays at the server (-c, -x -1) needs a client \
                        identifier: -i"
                .into());
        }
        let client_id = match (&options.id, &options.id_prefix) {
            (Some(id), _) => id.clone(),
            (None, Some(prefix)) => format!("{prefix}{}", process::id()),
            (None, None) if version == ProtocolVersion::V5 => String::new(),
            (None, None) => random_client_id(),
        };
        check_length("the client identifier", client_id.len())?;
        check_disconnect(&options.properties, expiry_interval_s)?;
        Ok(Self { client_id, clean_start, expiry_interval_s })
    }
}

fn expiry_interval_s(options: &ClientOptions) -> Result<Option<u32>, String> {
    let mut given =
        options.properties.of(Target::Connect).filter_map(|given| match given.as_property() {
            Property::SessionExpiryInterval(interval_s) => Some(interval_s),
            _ => None,
        });
    match (options.session_expiry_interval, given.next()) {
        (Some(_), Some(_)) => Err("-x and -D CONNECT session-expiry-interval mean the same".into()),
        (one, other) => Ok(one.or(other)),
    }
}

/// A session that ends with the connection cannot be kept after all (3.14.2.2.2).
fn check_disconnect(properties: &PropertyOptions, expiry_interval_s: u32) -> Result<(), String> {
    let keeps = properties.of(Target::Disconnect).any(|given| {
        matches!(given.as_property(), Property::SessionExpiryInterval(interval_s) if interval_s > 0)
    });
    match keeps && expiry_interval_s == 0 {
        true => Err("-D DISCONNECT session-expiry-interval needs -x".into()),
        false => Ok(()),
    }
}

/// Letters and digits, as long as 3.1 allows: "outpost-" and 75 random bits.
fn random_client_id() -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let random = random_bytes::<15>();
    let letters = random.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    "outpost-".chars().chain(letters).collect()
}

impl OwnedWill {
    fn new(options: WillOptions, properties: &PropertyOptions) -> Result<Option<Self>, String> {
        let properties = properties.encoded(Target::Will);
        let Some(topic) = options.will_topic else {
            return match properties.as_slice() {
                [] => Ok(None),
                _ => Err("-D WILL needs --will-topic".into()),
            };
        };
        TopicName::new(&topic).map_err(|error| format!("--will-topic: {error}"))?;
        let payload = options.will_payload.unwrap_or_default().into_encoded_bytes();
        check_length("the payload of the will", payload.len())?;
        let (qos, retain) = (options.will_qos.unwrap_or(QoS::AtMostOnce), options.will_retain);
        Ok(Some(Self { topic, payload, qos, retain, properties }))
    }

    fn as_will(&self) -> Will<'_> {
        Will {
            qos: self.qos,
            retain: self.retain,
            properties: Properties::encoded(&self.properties),
            topic: &self.topic,
            payload: &self.payload,
        }
    }
}

fn check_credentials(
    version: ProtocolVersion,
    user_name: Option<&str>,
    password: Option<&[u8]>,
) -> Result<(), String> {
    // [MQTT-3.1.2-22] of 3.1.1; 5.0 allows a password alone.
    if password.is_some() && user_name.is_none() && version != ProtocolVersion::V5 {
        return Err("-P needs -u, but for MQTT 5.0".into());
    }
    check_length("the user name", user_name.map_or(0, str::len))?;
    check_length("the password", password.map_or(0, <[u8]>::len))
}

fn check_length(what: &str, bytes: usize) -> Result<(), String> {
    match bytes {
        0..=FIELD_BYTES_MAX => Ok(()),
        _ => Err(format!("{what} must have at most {FIELD_BYTES_MAX} bytes")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    #[command(disable_help_flag = true)]
    struct Line {
        #[command(flatten)]
        client: ClientOptions,
    }

    fn parse(line: &str) -> Result<Settings, String> {
        let words = line.split(' ').filter(|word| !word.is_empty());
        let line = Line::try_parse_from(["pub"].into_iter().chain(words));
        Settings::new(line.map_err(|error| error.to_string())?.client, None)
    }

    #[test]
    fn as_mosquitto_where_nothing_is_said() {
        let settings = parse("").unwrap();
        assert_eq!((settings.host.as_str(), settings.port), ("localhost", 1883));
        assert_eq!(settings.version, ProtocolVersion::V311);
        assert_eq!((settings.qos, settings.max_in_flight), (QoS::AtMostOnce, 100));
        assert!(settings.tls.is_none() && !settings.is_session_kept());
        settings.with_connect_options(false, |connect| {
            assert!(connect.client_id.starts_with("outpost-"), "{}", connect.client_id);
            assert_eq!(connect.client_id.len(), 23);
            assert_eq!((connect.clean_start, connect.keep_alive_s), (true, 60));
            assert_eq!((connect.user_name, connect.password), (None, None));
        });
        assert_ne!(random_client_id(), random_client_id());
    }

    #[test]
    fn everything_that_connect_says() {
        let settings = parse(
            "-h hq -p 77 -i me -k 9 -u ann -P -pw- -c -x 40 -q 2 -A 127.0.0.2 --will-topic w \
             --will-payload -5 --will-qos 1 --will-retain -D will will-delay-interval 3 \
             -D connect receive-maximum 7 -D connect maximum-packet-size 99 \
             -D connect user-property a b",
        )
        .unwrap();
        assert_eq!((settings.host.as_str(), settings.port), ("hq", 77));
        assert_eq!(settings.bind_address.as_deref(), Some("127.0.0.2"));
        assert_eq!(settings.version, ProtocolVersion::V5, "-D and -x need it");
        assert_eq!((settings.maximum_packet_size(), settings.qos), (99, QoS::ExactlyOnce));
        settings.with_connect_options(false, |connect| {
            assert_eq!((connect.client_id, connect.clean_start), ("me", false));
            assert_eq!((connect.keep_alive_s, connect.session_expiry_interval_s), (9, 40));
            assert_eq!((connect.user_name, connect.password), (Some("ann"), Some(&b"-pw-"[..])));
            let expected = [Property::ReceiveMaximum(7), Property::UserProperty("a", "b")];
            assert_eq!(connect.properties, expected);
            let will = connect.will.as_ref().unwrap();
            assert_eq!((will.topic, will.payload, will.retain), ("w", &b"-5"[..], true));
            assert_eq!(will.qos, QoS::AtLeastOnce);
            assert_eq!(will.properties.will_delay_interval_s(), Some(3));
        });
    }

    #[test]
    fn a_url_gives_server_credentials_and_topic() {
        let settings = parse("-L mqtt://ann:pw@hq:5/a/b -u bob").unwrap();
        assert_eq!((settings.host.as_str(), settings.port), ("hq", 5));
        assert_eq!(settings.topic.as_deref(), Some("a/b"));
        assert_eq!(settings.user_name.as_deref(), Some("bob"));
        assert_eq!(settings.password.as_deref(), Some(&b"pw"[..]));
        assert!(parse("-L mqtt://h/t -h other").unwrap_err().contains("cannot be used with"));
    }

    #[test]
    fn a_session_that_stays() {
        for (line, kept, expiry_interval_s, client_id) in [
            ("-c -i a", true, 0, "a"),
            ("-c -i a -V 5", true, u32::MAX, "a"),
            ("-c -i a -x 0", true, 0, "a"),
            ("-i a -x ∞", true, u32::MAX, "a"),
            ("-x 5", true, 5, ""),
            ("-D connect session-expiry-interval 6", true, 6, ""),
            ("-V 5 -i a", false, 0, "a"),
        ] {
            let settings = parse(line).unwrap();
            assert_eq!(settings.is_session_kept(), kept, "{line}");
            assert_eq!(settings.session.expiry_interval_s, expiry_interval_s, "{line}");
            assert_eq!(settings.session.client_id, client_id, "{line}");
        }
        let prefix = parse("-I gw-").unwrap();
        assert_eq!(prefix.session.client_id, format!("gw-{}", process::id()));
    }

    #[test]
    fn only_a_kept_session_is_resumed() {
        let clean_start = |line, resume| {
            parse(line).unwrap().with_connect_options(resume, |connect| connect.clean_start)
        };
        assert!(clean_start("", true) && clean_start("-x 9", false));
        assert!(!clean_start("-x 9", true) && !clean_start("-c -i a", false));
    }

    #[test]
    fn what_does_not_go_together_is_told() {
        let needs_id =
            "a session that stays at the server (-c, -x -1) needs a client identifier: -i";
        for (line, error) in [
            ("-c", needs_id),
            ("-c -I prefix", needs_id),
            ("-x -1", needs_id),
            ("-P secret", "-P needs -u, but for MQTT 5.0"),
            ("-V 311 -D publish topic-alias 1", "-D needs MQTT 5.0: -V 5"),
            ("-V 31 -x 5", "-x needs MQTT 5.0: -V 5"),
            ("-D will content-type a", "-D WILL needs --will-topic"),
            ("--will-topic a/#", "--will-topic: "),
            (
                "-x 5 -D connect session-expiry-interval 6",
                "-x and -D CONNECT session-expiry-interval mean the same",
            ),
            (
                "-D disconnect session-expiry-interval 5",
                "-D DISCONNECT session-expiry-interval needs -x",
            ),
            ("--insecure", "--insecure needs --cafile, --capath or --tls-use-os-certs"),
            ("--cafile /nonexistent", "/nonexistent: cannot be read: No such file or directory"),
            ("-q 3", "must be 0, 1 or 2"),
            ("-V 4", "must be 5, 311 or 31"),
            ("-x soon", "must be 0 to 4294967295, or -1"),
            ("-p 0", "0 is not in 1..=65535"),
            ("-i a -I b", "cannot be used with"),
            ("--will-payload x", "--will-topic"),
            ("--cert c", "--key"),
        ] {
            let found = parse(line).map(drop).unwrap_err();
            assert!(found.contains(error), "{line}: {found}");
        }
        assert!(parse("-V 5 -P secret").is_ok());
    }
}
