//! What the user types for any client: letters and meanings are those of mosquitto_pub and
//! mosquitto_sub.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args};
use outpost_protocol::{ProtocolVersion, QoS};

use super::link::IN_FLIGHT_MAX;
use super::property::PropertyOptions;
use super::url::Url;

/// The options of every client.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct ClientOptions {
    /// The server to connect to [default: localhost]
    #[arg(short = 'h', long, value_name = "HOST", help_heading = "Connection")]
    pub(super) host: Option<String>,
    /// Its port [default: 1883, 8883 with TLS]
    #[arg(short, long, value_parser = clap::value_parser!(u16).range(1..), help_heading = "Connection")]
    pub(super) port: Option<u16>,
    /// Server, credentials and topic in one: mqtt(s)://USER:PASSWORD@HOST:PORT/TOPIC, where user,
    /// password and port may be left out
    #[arg(short = 'L', long, conflicts_with_all = ["host", "port"], help_heading = "Connection")]
    pub(super) url: Option<Url>,
    /// The address of this machine to connect from
    #[arg(short = 'A', value_name = "ADDRESS", help_heading = "Connection")]
    pub(super) bind_address: Option<String>,
    /// The version of MQTT: 5, 311 or 31 (also mqttv5, mqttv311, mqttv31) [default: 311; 5 where an
    /// option needs it]
    #[arg(short = 'V', long, value_name = "VERSION", value_parser = parse_version, help_heading = "Connection")]
    pub(super) protocol_version: Option<ProtocolVersion>,
    /// Keep alive: the longest time without a packet, in seconds; 0: no limit
    #[arg(short, long, value_name = "SECONDS", default_value_t = 60, help_heading = "Connection")]
    pub(super) keepalive: u16,
    /// Accepted for mosquitto's sake: small messages are never held back
    #[arg(long, help_heading = "Connection")]
    pub(super) nodelay: bool,

    /// The client identifier [default: made up; 5.0: the server's choice]
    #[arg(short, long, conflicts_with = "id_prefix", help_heading = "Session")]
    pub(super) id: Option<String>,
    /// A client identifier made of this prefix and the process id
    #[arg(short = 'I', long, value_name = "PREFIX", help_heading = "Session")]
    pub(super) id_prefix: Option<String>,
    /// Go on with an earlier session, and leave it at the server when done; needs -i
    #[arg(short = 'c', long, help_heading = "Session")]
    pub(super) disable_clean_session: bool,
    /// How long the server keeps the session, in seconds; -1: for ever (5.0) [default: 0, with -c
    /// -1]
    #[arg(
        short = 'x',
        long,
        value_name = "SECONDS",
        value_parser = parse_expiry,
        allow_hyphen_values = true,
        help_heading = "Session"
    )]
    pub(super) session_expiry_interval: Option<u32>,
    /// The user name
    #[arg(short, long, help_heading = "Session")]
    pub(super) username: Option<String>,
    /// The password; others on this machine can see it
    #[arg(
        short = 'P',
        long,
        value_name = "PASSWORD",
        allow_hyphen_values = true,
        help_heading = "Session"
    )]
    pub(super) pw: Option<OsString>,

    /// The quality of service: 0, 1 or 2
    #[arg(short, long, default_value = "0", value_parser = parse_qos)]
    pub(super) qos: QoS,
    #[command(flatten)]
    pub(super) properties: PropertyOptions,
    /// How many messages may be on their way to the server at once (QoS 1 and 2), 1 to 1000
    #[arg(short = 'M', long, value_name = "COUNT", default_value_t = 100,
        value_parser = clap::value_parser!(u16).range(1..=i64::from(IN_FLIGHT_MAX)))]
    pub(super) max_inflight: u16,

    #[command(flatten)]
    pub(super) will: WillOptions,
    #[command(flatten)]
    pub(super) tls: TlsOptions,

    /// Show every packet on standard error
    #[arg(short, long)]
    pub(super) debug: bool,
    /// Show no errors
    #[arg(long)]
    pub(super) quiet: bool,
    /// Show this help
    #[arg(long, action = ArgAction::HelpLong)]
    help: Option<bool>,
}

/// What the server publishes when the client is lost.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Will")]
pub(super) struct WillOptions {
    /// Where the server publishes when this client is lost
    #[arg(long, value_name = "TOPIC")]
    pub(super) will_topic: Option<String>,
    /// What it publishes there [default: nothing]
    #[arg(long, value_name = "PAYLOAD", allow_hyphen_values = true, requires = "will_topic")]
    pub(super) will_payload: Option<OsString>,
    /// With what quality of service [default: 0]
    #[arg(long, value_name = "QOS", value_parser = parse_qos, requires = "will_topic")]
    pub(super) will_qos: Option<QoS>,
    /// Whether it is retained
    #[arg(long, requires = "will_topic")]
    pub(super) will_retain: bool,
}

/// TLS is spoken with any of --cafile, --capath, --tls-use-os-certs and --cert, with mqtts:// and
/// with port 8883.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "TLS")]
pub(super) struct TlsOptions {
    /// A file of certificates (PEM) of the authorities to trust
    #[arg(long, value_name = "FILE")]
    pub(super) cafile: Option<PathBuf>,
    /// A directory of such files, named *.crt or *.pem
    #[arg(long, value_name = "DIRECTORY")]
    pub(super) capath: Option<PathBuf>,
    /// Trust the authorities that this machine trusts
    #[arg(long)]
    pub(super) tls_use_os_certs: bool,
    /// The certificate of this client (PEM)
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(super) cert: Option<PathBuf>,
    /// Its private key (PEM, not encrypted)
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(super) key: Option<PathBuf>,
    /// Do not check that the server's certificate is for its host name. For tests only: everybody
    /// with any certificate of the authorities can pretend to be the server
    #[arg(long)]
    pub(super) insecure: bool,
    /// Only this version: tlsv1.3 or tlsv1.2 [default: either]
    #[arg(long, value_name = "VERSION", value_parser = ["tlsv1.3", "tlsv1.2"])]
    pub(super) tls_version: Option<String>,
    /// The protocol to ask for (ALPN), where a port speaks several
    #[arg(long, value_name = "PROTOCOL")]
    pub(super) tls_alpn: Option<String>,
}

fn parse_version(text: &str) -> Result<ProtocolVersion, String> {
    match text {
        "5" | "mqttv5" => Ok(ProtocolVersion::V5),
        "311" | "mqttv311" => Ok(ProtocolVersion::V311),
        "31" | "mqttv31" => Ok(ProtocolVersion::V31),
        _ => Err("must be 5, 311 or 31".into()),
    }
}

fn parse_qos(text: &str) -> Result<QoS, String> {
    let qos = text.parse::<u8>().ok().and_then(|number| QoS::try_from(number).ok());
    qos.ok_or_else(|| "must be 0, 1 or 2".into())
}

fn parse_expiry(text: &str) -> Result<u32, String> {
    match text {
        "-1" | "∞" => Ok(u32::MAX),
        _ => text.parse().map_err(|_| "must be 0 to 4294967295, or -1".into()),
    }
}
