//! `-D PACKET PROPERTY VALUE`: the properties of MQTT 5.0 that a user may set, by their names in the
//! specification with `-` between the words.

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use outpost_protocol::{Buffer, BufferFull, Property};

use Target::{Connect, Disconnect, Publish, Subscribe, Unsubscribe, Will};

/// The packet that a property is for; the will is a packet of its own here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Target {
    Connect,
    Publish,
    Will,
    Subscribe,
    Unsubscribe,
    Disconnect,
}

impl Target {
    fn new(name: &str) -> Option<Self> {
        [Connect, Publish, Will, Subscribe, Unsubscribe, Disconnect]
            .into_iter()
            .find(|target| target.name().eq_ignore_ascii_case(name))
    }

    const fn name(self) -> &'static str {
        match self {
            Connect => "CONNECT",
            Publish => "PUBLISH",
            Will => "WILL",
            Subscribe => "SUBSCRIBE",
            Unsubscribe => "UNSUBSCRIBE",
            Disconnect => "DISCONNECT",
        }
    }
}

/// A value as it is checked and kept.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Byte(u8),
    Two(u16),
    Four(u32),
    Text(String),
    Pair(String, String),
}

/// What a user may set: its name, where it may stand, and what values it has.
struct Known {
    name: &'static str,
    targets: &'static [Target],
    kind: Kind,
    make: for<'a> fn(&'a Value) -> Option<Property<'a>>,
}

#[derive(Clone, Copy)]
enum Kind {
    /// 0 or 1.
    Flag,
    Two {
        min: u16,
    },
    Four {
        min: u32,
    },
    VarInt,
    Text,
    /// No wildcards.
    Topic,
    Pair,
}

/// One row: the property is made from the kind of value that its row checks for.
macro_rules! known {
    ($name:literal, $targets:expr, $kind:expr, $value:ident => $property:ident($($arg:ident),*; $($made:expr),*)) => {
        Known {
            name: $name,
            targets: $targets,
            kind: $kind,
            make: |value| match value {
                Value::$value($($arg),*) => Some(Property::$property($($made),*)),
                _ => None,
            },
        }
    };
}

const MESSAGE: &[Target] = &[Publish, Will];

const KNOWN: [Known; 17] = [
    known!("authentication-data", &[Connect], Kind::Text, Text => AuthenticationData(v; v.as_bytes())),
    known!("authentication-method", &[Connect], Kind::Text, Text => AuthenticationMethod(v; v)),
    known!("content-type", MESSAGE, Kind::Text, Text => ContentType(v; v)),
    known!("correlation-data", MESSAGE, Kind::Text, Text => CorrelationData(v; v.as_bytes())),
    known!("maximum-packet-size", &[Connect], Kind::Four { min: 1 }, Four => MaximumPacketSize(v; *v)),
    known!("message-expiry-interval", MESSAGE, Kind::Four { min: 0 }, Four => MessageExpiryInterval(v; *v)),
    known!("payload-format-indicator", MESSAGE, Kind::Flag, Byte => PayloadFormatIndicator(v; *v)),
    known!("receive-maximum", &[Connect], Kind::Two { min: 1 }, Two => ReceiveMaximum(v; *v)),
    known!("request-problem-information", &[Connect], Kind::Flag, Byte => RequestProblemInformation(v; *v)),
    known!("request-response-information", &[Connect], Kind::Flag, Byte => RequestResponseInformation(v; *v)),
    known!("response-topic", MESSAGE, Kind::Topic, Text => ResponseTopic(v; v)),
    known!("session-expiry-interval", &[Connect, Disconnect], Kind::Four { min: 0 }, Four => SessionExpiryInterval(v; *v)),
    known!("subscription-identifier", &[Subscribe], Kind::VarInt, Four => SubscriptionIdentifier(v; *v)),
    known!("topic-alias", &[Publish], Kind::Two { min: 1 }, Two => TopicAlias(v; *v)),
    known!("topic-alias-maximum", &[Connect], Kind::Two { min: 0 }, Two => TopicAliasMaximum(v; *v)),
    known!(
        "user-property",
        &[Connect, Publish, Will, Subscribe, Unsubscribe, Disconnect],
        Kind::Pair,
        Pair => UserProperty(name, value; name, value)
    ),
    known!("will-delay-interval", &[Will], Kind::Four { min: 0 }, Four => WillDelayInterval(v; *v)),
];

/// One `-D`.
#[derive(Clone)]
pub(in crate::cli) struct Given {
    pub(in crate::cli) target: Target,
    known: &'static Known,
    value: Value,
}

impl Given {
    /// From the words of one `-D`.
    fn parse(words: &[&str]) -> Result<Self, String> {
        let [packet, name, values @ ..] = words else {
            return Err("needs PACKET PROPERTY VALUE".into());
        };
        let target = Target::new(packet).ok_or_else(|| {
            format!(
                "{packet}: must be CONNECT, PUBLISH, WILL, SUBSCRIBE, UNSUBSCRIBE or DISCONNECT"
            )
        })?;
        let known = KNOWN
            .iter()
            .find(|known| known.name.eq_ignore_ascii_case(name))
            .ok_or_else(|| format!("{name}: there is no such property"))?;
        if !known.targets.contains(&target) {
            return Err(format!("{} is no property of {}", known.name, target.name()));
        }
        let value = known.kind.parse(values).map_err(|error| format!("{}: {error}", known.name))?;
        Ok(Self { target, known, value })
    }

    pub(in crate::cli) fn as_property(&self) -> Property<'_> {
        (self.known.make)(&self.value).expect("the value is of the kind that its row checks for")
    }

    /// Whether it may stand more than once in a packet.
    fn is_repeatable(&self) -> bool {
        matches!(self.known.kind, Kind::Pair)
    }
}

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?}", self.target, self.as_property())
    }
}

impl Kind {
    fn parse(self, values: &[&str]) -> Result<Value, String> {
        let one = || match values {
            [value] => Ok(*value),
            _ => Err("has one value".to_owned()),
        };
        match self {
            Self::Flag => number(one()?, 0, 1).map(Value::Byte),
            Self::Two { min } => number(one()?, min.into(), u16::MAX.into()).map(Value::Two),
            Self::Four { min } => number(one()?, min, u32::MAX).map(Value::Four),
            // As large as a variable byte integer can be (1.5.5).
            Self::VarInt => number(one()?, 1, 268_435_455).map(Value::Four),
            Self::Text => text(one()?).map(Value::Text),
            Self::Topic => match one()? {
                topic if topic.contains(['+', '#']) => Err("must have no wildcard".into()),
                topic => text(topic).map(Value::Text),
            },
            Self::Pair => match values {
                [name, value] => Ok(Value::Pair(text(name)?, text(value)?)),
                _ => Err("has a name and a value".into()),
            },
        }
    }
}

fn number<N: TryFrom<u32>>(text: &str, min: u32, max: u32) -> Result<N, String> {
    text.parse::<u32>()
        .ok()
        .filter(|number| (min..=max).contains(number))
        .and_then(|number| N::try_from(number).ok())
        .ok_or_else(|| format!("{text:?} is not {min} to {max}"))
}

fn text(text: &str) -> Result<String, String> {
    if text.len() > usize::from(u16::MAX) {
        return Err("must have at most 65535 bytes".into());
    }
    Ok(text.to_owned())
}

/// All `-D` of a command line, in their order.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct PropertyOptions(Vec<Given>);

impl PropertyOptions {
    pub(in crate::cli) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those of one packet.
    pub(in crate::cli) fn of(&self, target: Target) -> impl Iterator<Item = &Given> {
        self.0.iter().filter(move |given| given.target == target)
    }

    /// Those of one packet in wire form.
    pub(in crate::cli) fn encoded(&self, target: Target) -> Vec<u8> {
        let mut bytes = Growing(Vec::new());
        for given in self.of(target) {
            let written = given.as_property().encode(&mut bytes);
            assert!(written.is_ok(), "every value was checked to fit");
        }
        bytes.0
    }

    fn push(&mut self, given: Given) -> Result<(), String> {
        let is_twice = |other: &&Given| std::ptr::eq(other.known, given.known);
        if !given.is_repeatable() && self.of(given.target).any(|other| is_twice(&other)) {
            return Err(format!("{} {} is there twice", given.target.name(), given.known.name));
        }
        self.0.push(given);
        Ok(())
    }
}

/// A buffer that takes everything.
struct Growing(Vec<u8>);

impl Buffer for Growing {
    fn put(&mut self, bytes: &[u8]) -> Result<(), BufferFull> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

const ID: &str = "property";

// Written out, since derived options cannot keep the words of one `-D` together.
impl Args for PropertyOptions {
    fn augment_args(command: Command) -> Command {
        command.arg(
            Arg::new(ID)
                .short('D')
                .long("property")
                .action(ArgAction::Append)
                .num_args(3..=4)
                .allow_negative_numbers(true)
                .value_names(["PACKET", "PROPERTY", "VALUE"])
                .help("Set a property of MQTT 5.0; repeatable")
                .long_help(
                    "Set a property of MQTT 5.0; repeatable. PACKET is CONNECT, PUBLISH, WILL, \
                     SUBSCRIBE, UNSUBSCRIBE or DISCONNECT. PROPERTY is its name in the \
                     specification with - between the words, such as message-expiry-interval. A \
                     user-property has two values, a name and a value.",
                ),
        )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for PropertyOptions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut options = Self::default();
        for words in matches.get_occurrences::<String>(ID).into_iter().flatten() {
            let words: Vec<_> = words.map(String::as_str).collect();
            Given::parse(&words).and_then(|given| options.push(given)).map_err(|error| {
                clap::Error::raw(ErrorKind::ValueValidation, format!("-D: {error}"))
            })?;
        }
        Ok(options)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use outpost_protocol::Properties;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        properties: PropertyOptions,
        #[arg(short = 't')]
        topic: Option<String>,
    }

    fn parse(line: &str) -> Result<Line, clap::Error> {
        Line::try_parse_from(["pub"].into_iter().chain(line.split(' ')))
    }

    #[test]
    fn every_property_of_every_packet() {
        for (line, expected) in [
            ("CONNECT authentication-data x", Property::AuthenticationData(b"x")),
            ("CONNECT authentication-method x", Property::AuthenticationMethod("x")),
            ("CONNECT maximum-packet-size 1", Property::MaximumPacketSize(1)),
            ("CONNECT receive-maximum 65535", Property::ReceiveMaximum(65_535)),
            ("CONNECT request-problem-information 0", Property::RequestProblemInformation(0)),
            ("CONNECT request-response-information 1", Property::RequestResponseInformation(1)),
            (
                "CONNECT session-expiry-interval 4294967295",
                Property::SessionExpiryInterval(u32::MAX),
            ),
            ("CONNECT topic-alias-maximum 3", Property::TopicAliasMaximum(3)),
            ("publish content-type a", Property::ContentType("a")),
            ("publish correlation-data a", Property::CorrelationData(b"a")),
            ("publish message-expiry-interval 0", Property::MessageExpiryInterval(0)),
            ("publish payload-format-indicator 1", Property::PayloadFormatIndicator(1)),
            ("publish response-topic a/b", Property::ResponseTopic("a/b")),
            ("publish topic-alias 1", Property::TopicAlias(1)),
            ("publish user-property k -5", Property::UserProperty("k", "-5")),
            ("will will-delay-interval 9", Property::WillDelayInterval(9)),
            ("will content-type a", Property::ContentType("a")),
            (
                "subscribe subscription-identifier 268435455",
                Property::SubscriptionIdentifier(268_435_455),
            ),
            ("unsubscribe user-property k v", Property::UserProperty("k", "v")),
            ("Disconnect Session-Expiry-Interval 0", Property::SessionExpiryInterval(0)),
        ] {
            let parsed = parse(&format!("-D {line} -t x")).unwrap();
            let properties: Vec<_> =
                parsed.properties.0.iter().map(|given| given.as_property()).collect();
            assert_eq!(properties, [expected], "{line}");
            assert_eq!(parsed.topic.as_deref(), Some("x"));
        }
    }

    #[test]
    fn each_packet_gets_its_own_in_their_order() {
        let line = "-D publish user-property a 1 -D will user-property b 2 \
                    -D PUBLISH user-property a 3 --property publish content-type t";
        let parsed = parse(line).unwrap().properties;
        let encoded = parsed.encoded(Target::Publish);
        let found: Vec<_> = Properties::encoded(&encoded).iter().collect();
        let expected = [
            Property::UserProperty("a", "1"),
            Property::UserProperty("a", "3"),
            Property::ContentType("t"),
        ];
        assert_eq!(found, expected);
        assert_eq!(parsed.of(Target::Will).count(), 1);
        assert!(parsed.encoded(Target::Connect).is_empty());
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (line, error) in [
            (
                "AUTH user-property k v",
                "-D: AUTH: must be CONNECT, PUBLISH, WILL, SUBSCRIBE, UNSUBSCRIBE or DISCONNECT",
            ),
            ("publish colour red", "-D: colour: there is no such property"),
            ("connect topic-alias 1", "-D: topic-alias is no property of CONNECT"),
            ("publish topic-alias 0", "-D: topic-alias: \"0\" is not 1 to 65535"),
            ("publish topic-alias 65536", "-D: topic-alias: \"65536\" is not 1 to 65535"),
            (
                "publish message-expiry-interval -1",
                "-D: message-expiry-interval: \"-1\" is not 0 to 4294967295",
            ),
            (
                "will payload-format-indicator 2",
                "-D: payload-format-indicator: \"2\" is not 0 to 1",
            ),
            ("publish response-topic a/+", "-D: response-topic: must have no wildcard"),
            ("publish user-property k", "-D: user-property: has a name and a value"),
            ("publish content-type a b", "-D: content-type: has one value"),
            (
                "publish content-type a -D PUBLISH content-type b",
                "-D: PUBLISH content-type is there twice",
            ),
        ] {
            let found = parse(&format!("-D {line}")).unwrap_err();
            assert_eq!(
                found.to_string().lines().next(),
                Some(&*format!("error: {error}")),
                "{line}"
            );
            assert_eq!(found.exit_code(), 2);
        }
    }

    #[test]
    fn the_names_are_sorted() {
        assert!(KNOWN.is_sorted_by_key(|known| known.name));
    }
}
