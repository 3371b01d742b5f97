//! `-F`: the format of a line, as mosquitto_sub has it.

use std::io::{self, Write};
use std::str::FromStr;

use jiff::Zoned;
use jiff::fmt::strtime;

use super::json;
use super::message::Message;

/// A width that somebody may want on a terminal.
const WIDTH_MAX: usize = 10_000;

/// A format string, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Format(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Vec<u8>),
    Field(Field, Layout),
    /// For strftime.
    Time(String),
    Nanoseconds,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    TopicAlias,
    ContentType,
    CorrelationData,
    MessageExpiryInterval,
    PayloadFormatIndicator,
    IsoTime,
    Json,
    JsonPayload,
    Length,
    PacketId,
    UserProperties,
    Payload,
    QoS,
    ResponseTopic,
    Retain,
    SubscriptionIdentifier,
    Topic,
    UnixTime,
    LowerHex,
    UpperHex,
}

impl Field {
    fn new(letter: char) -> Option<Self> {
        Some(match letter {
            'A' => Self::TopicAlias,
            'C' => Self::ContentType,
            'D' => Self::CorrelationData,
            'E' => Self::MessageExpiryInterval,
            'F' => Self::PayloadFormatIndicator,
            'I' => Self::IsoTime,
            'j' => Self::Json,
            'J' => Self::JsonPayload,
            'l' => Self::Length,
            'm' => Self::PacketId,
            'P' => Self::UserProperties,
            'p' => Self::Payload,
            'q' => Self::QoS,
            'R' => Self::ResponseTopic,
            'r' => Self::Retain,
            'S' => Self::SubscriptionIdentifier,
            't' => Self::Topic,
            'U' => Self::UnixTime,
            'x' => Self::LowerHex,
            'X' => Self::UpperHex,
            _ => return None,
        })
    }

    /// What a 0 flag fills with zeros.
    fn is_padded_with_zeros(self) -> bool {
        matches!(
            self,
            Self::TopicAlias
                | Self::MessageExpiryInterval
                | Self::PayloadFormatIndicator
                | Self::Length
                | Self::PacketId
                | Self::SubscriptionIdentifier
                | Self::LowerHex
                | Self::UpperHex
        )
    }
}

/// Flags, least and greatest width, in characters (payloads: in bytes).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Layout {
    left: bool,
    zeros: bool,
    width: usize,
    width_max: Option<usize>,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let part = match c {
                '%' => parse_field(&mut chars)?,
                '@' => parse_time(chars.next())?,
                '\\' => parse_escape(chars.next())?,
                c => literal(c),
            };
            match (parts.last_mut(), part) {
                (Some(Part::Literal(before)), Part::Literal(more)) => before.extend(more),
                (_, part) => parts.push(part),
            }
        }
        Ok(Self(parts))
    }
}

fn literal(c: char) -> Part {
    Part::Literal(c.to_string().into_bytes())
}

/// After the `%`: flags, width, maximum width, letter.
fn parse_field(chars: &mut std::str::Chars<'_>) -> Result<Part, String> {
    let mut layout = Layout::default();
    let mut next = chars.next();
    while let Some(flag @ ('-' | '0')) = next {
        layout.left |= flag == '-';
        layout.zeros |= flag == '0';
        next = chars.next();
    }
    layout.width = parse_width(&mut next, chars)?.unwrap_or(0);
    if next == Some('.') {
        next = chars.next();
        layout.width_max = Some(parse_width(&mut next, chars)?.unwrap_or(0));
    }
    match next {
        Some('%') => Ok(literal('%')),
        Some(letter) => match Field::new(letter) {
            Some(field) => Ok(Part::Field(field, layout)),
            None => Err(format!("there is no %{letter}")),
        },
        None => Err("ends within a %-sequence".into()),
    }
}

fn parse_width(
    next: &mut Option<char>,
    chars: &mut std::str::Chars<'_>,
) -> Result<Option<usize>, String> {
    let mut width = None;
    while let Some(digit) = next.and_then(|c| c.to_digit(10)) {
        let so_far = width.unwrap_or(0) * 10 + digit as usize;
        if so_far > WIDTH_MAX {
            return Err(format!("a width must be at most {WIDTH_MAX}"));
        }
        width = Some(so_far);
        *next = chars.next();
    }
    Ok(width)
}

fn parse_time(letter: Option<char>) -> Result<Part, String> {
    match letter {
        Some('@') => Ok(literal('@')),
        Some('N') => Ok(Part::Nanoseconds),
        Some(letter) => {
            let format = format!("%{letter}");
            match strtime::format(&format, &Zoned::default()) {
                Ok(_) => Ok(Part::Time(format)),
                Err(_) => Err(format!("there is no @{letter}")),
            }
        }
        None => Err("ends within an @-sequence".into()),
    }
}

fn parse_escape(letter: Option<char>) -> Result<Part, String> {
    let byte = match letter {
        Some('\\') => b'\\',
        Some('0') => 0,
        Some('a') => 0x07,
        Some('e') => 0x1b,
        Some('n') => b'\n',
        Some('r') => b'\r',
        Some('t') => b'\t',
        Some('v') => 0x0b,
        Some(letter) => return Err(format!("there is no \\{letter}")),
        None => return Err("ends within a \\-sequence".into()),
    };
    Ok(Part::Literal(vec![byte]))
}

impl Format {
    /// Writes one message. False: its payload was to be shown as JSON, but is none; the rest is
    /// written.
    pub(super) fn write(
        &self,
        message: &Message<'_>,
        now: &Zoned,
        pretty: bool,
        out: &mut dyn Write,
    ) -> io::Result<bool> {
        let mut is_json = true;
        for part in &self.0 {
            match part {
                Part::Literal(bytes) => out.write_all(bytes)?,
                Part::Time(format) => out.write_all(time(format, now).as_bytes())?,
                Part::Nanoseconds => write!(out, "{:09}", now.subsec_nanosecond())?,
                Part::Field(Field::JsonPayload, _)
                    if !message.payload.is_empty() && !json::is_valid(message.payload) =>
                {
                    is_json = false;
                }
                Part::Field(field, layout) => {
                    layout.write(*field, &field.render(message, now, pretty), out)?;
                }
            }
        }
        Ok(is_json)
    }
}

fn time(format: &str, now: &Zoned) -> String {
    strtime::format(format, now).unwrap_or_default()
}

impl Field {
    fn render(self, message: &Message<'_>, now: &Zoned, pretty: bool) -> Vec<u8> {
        let properties = &message.properties;
        let number = |number: Option<u32>| number.map(|n| n.to_string()).unwrap_or_default();
        match self {
            Self::TopicAlias => number(properties.topic_alias().map(u32::from)).into_bytes(),
            Self::ContentType => properties.content_type().unwrap_or_default().into(),
            Self::CorrelationData => properties.correlation_data().unwrap_or_default().into(),
            Self::MessageExpiryInterval => {
                number(properties.message_expiry_interval_s()).into_bytes()
            }
            Self::PayloadFormatIndicator => {
                number(properties.payload_format_indicator().map(u32::from)).into_bytes()
            }
            Self::IsoTime => time("%Y-%m-%dT%H:%M:%S%z", now).into_bytes(),
            Self::Json => message.json(now, false, pretty),
            Self::JsonPayload => message.json(now, true, pretty),
            Self::Length => message.payload.len().to_string().into_bytes(),
            Self::PacketId => message.packet_id.to_string().into_bytes(),
            Self::UserProperties => {
                let pairs =
                    message.user_properties().map(|(name, value)| format!("{name}:{value}"));
                pairs.collect::<Vec<_>>().join(" ").into_bytes()
            }
            Self::Payload => message.payload.to_vec(),
            Self::QoS => u8::from(message.qos).to_string().into_bytes(),
            Self::ResponseTopic => properties.response_topic().unwrap_or_default().into(),
            Self::Retain => u8::from(message.retain).to_string().into_bytes(),
            Self::SubscriptionIdentifier => {
                number(properties.subscription_identifier()).into_bytes()
            }
            Self::Topic => message.topic.into(),
            Self::UnixTime => {
                let second = now.timestamp().as_second();
                format!("{second}.{:09}", now.timestamp().subsec_nanosecond()).into_bytes()
            }
            Self::LowerHex => hex(message.payload, b"0123456789abcdef"),
            Self::UpperHex => hex(message.payload, b"0123456789ABCDEF"),
        }
    }
}

fn hex(bytes: &[u8], digits: &[u8; 16]) -> Vec<u8> {
    let digit = |half: u8| digits[usize::from(half)];
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0x0f)]).collect()
}

impl Layout {
    fn write(self, field: Field, value: &[u8], out: &mut dyn Write) -> io::Result<()> {
        if self.width == 0 && self.width_max.is_none() {
            return out.write_all(value);
        }
        let (value, len) = self.cut(value);
        let padding = self.width.saturating_sub(len);
        let zeros = self.zeros && !self.left && field.is_padded_with_zeros();
        if !self.left {
            out.write_all(if zeros { "0" } else { " " }.repeat(padding).as_bytes())?;
        }
        out.write_all(value)?;
        if self.left {
            out.write_all(" ".repeat(padding).as_bytes())?;
        }
        Ok(())
    }

    /// As much as may be shown, and how many characters that has (bytes where it is no text).
    fn cut(self, value: &[u8]) -> (&[u8], usize) {
        let width_max = self.width_max.unwrap_or(usize::MAX);
        match str::from_utf8(value) {
            Ok(text) => {
                let end = text.char_indices().nth(width_max).map_or(text.len(), |(at, _)| at);
                (&value[..end], text[..end].chars().count())
            }
            Err(_) => {
                let end = value.len().min(width_max);
                (&value[..end], end)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use outpost_protocol::{Properties, Property, QoS};

    use super::*;

    fn now() -> Zoned {
        "2026-03-04T05:06:07.008009010+01:00[+01:00]".parse().unwrap()
    }

    const PROPERTIES: &[Property<'static>] = &[
        Property::TopicAlias(3),
        Property::ContentType("text"),
        Property::CorrelationData(b"c\xffd"),
        Property::MessageExpiryInterval(50),
        Property::PayloadFormatIndicator(1),
        Property::UserProperty("k", "v"),
        Property::UserProperty("k2", "v 2"),
        Property::ResponseTopic("r/t"),
        Property::SubscriptionIdentifier(7),
    ];

    fn message(payload: &[u8]) -> Message<'_> {
        Message {
            topic: "a/b",
            qos: QoS::AtLeastOnce,
            retain: true,
            packet_id: 12,
            properties: Properties::list(PROPERTIES),
            payload,
        }
    }

    fn formatted(format: &str, message: &Message<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        let format: Format = format.parse().unwrap();
        assert!(format.write(message, &now(), false, &mut out).unwrap());
        out
    }

    fn bare(payload: &[u8]) -> Message<'_> {
        let (qos, retain, packet_id) = (QoS::AtMostOnce, false, 0);
        let properties = Properties::EMPTY;
        Message { qos, retain, packet_id, properties, ..message(payload) }
    }

    #[test]
    fn every_sequence() {
        for (format, expected) in [
            ("plain %% text", "plain % text"),
            ("%t %p|%l %q %r %m", "a/b hello|5 1 1 12"),
            ("%x %X", "68656c6c6f 68656C6C6F"),
            ("%A,%C,%E,%F,%R,%S", "3,text,50,1,r/t,7"),
            ("%P", "k:v k2:v 2"),
            ("%I %U", "2026-03-04T05:06:07+0100 1772597167.008009010"),
            ("@Y-@m-@d @H:@M:@S.@N @@ @z", "2026-03-04 05:06:07.008009010 @ +0100"),
            ("\\\\\\0\\a\\e\\n\\r\\t\\v", "\\\0\x07\x1b\n\r\t\x0b"),
        ] {
            let found = formatted(format, &message(b"hello"));
            assert_eq!(String::from_utf8(found).unwrap(), expected, "{format}");
        }
        assert_eq!(formatted("%D|%p", &message(b"\x00\xff")), b"c\xffd|\x00\xff");
    }

    #[test]
    fn properties_that_are_not_there() {
        assert_eq!(formatted("[%A%C%D%E%F%P%R%S%m]", &bare(b"")), b"[0]");
        assert_eq!(formatted("%3C|%03E", &bare(b"")), b"   |000");
    }

    #[test]
    fn widths_and_flags() {
        for (format, expected) in [
            ("%10t|%-10t|", "       a/b|a/b       |"),
            ("%.2t|%5.1t|%-5.1t|", "a/|    a|a    |"),
            ("%05l|%5l|%-5l|%-05l|", "00005|    5|5    |5    |"),
            ("%05t|", "  a/b|"),
            ("%012x|%12X|", "0068656c6c6f|  68656C6C6F|"),
            ("%7p|%3p|%.3p|", "  hello|hello|hel|"),
        ] {
            let found = formatted(format, &message(b"hello"));
            assert_eq!(String::from_utf8(found).unwrap(), expected, "{format}");
        }
        let topic = Message { topic: "é/ü/ö", ..message(b"") };
        assert_eq!(formatted("%6.3t|", &topic), "   é/ü|".as_bytes());
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (format, error) in [
            ("%z", "there is no %z"),
            ("%5", "ends within a %-sequence"),
            ("100%", "ends within a %-sequence"),
            ("@", "ends within an @-sequence"),
            ("@é", "there is no @é"),
            ("\\x", "there is no \\x"),
            ("\\", "ends within a \\-sequence"),
            ("%99999t", "a width must be at most 10000"),
        ] {
            assert_eq!(format.parse::<Format>(), Err(error.to_owned()), "{format}");
        }
    }

    #[test]
    fn a_payload_that_is_no_json_is_told() {
        let format: Format = "%t %J.".parse().unwrap();
        let mut out = Vec::new();
        assert!(!format.write(&message(b"hello"), &now(), false, &mut out).unwrap());
        assert_eq!(out, b"a/b .");
    }

    #[test]
    fn json() {
        let found = formatted("%j", &message(b"\"x\""));
        let expected = concat!(
            r#"{"tst":"2026-03-04T05:06:07.008009+0100","topic":"a/b","qos":1,"retain":1,"#,
            r#""payloadlen":3,"mid":12,"properties":{"topic-alias":3,"content-type":"text","#,
            r#""correlation-data":[99,255,100],"message-expiry-interval":50,"#,
            r#""payload-format-indicator":1,"user-properties":{"k":"v","k2":"v 2"},"#,
            r#""response-topic":"r/t","subscription-identifier":7},"payload":"\"x\""}"#
        );
        assert_eq!(String::from_utf8(found).unwrap(), expected);
        let found = formatted("%J", &bare(b" {\"t\": 27.0} "));
        let expected = concat!(
            r#"{"tst":"2026-03-04T05:06:07.008009+0100","topic":"a/b","qos":0,"retain":0,"#,
            r#""payloadlen":13,"payload":{"t":27.0}}"#
        );
        assert_eq!(String::from_utf8(found).unwrap(), expected);
        for format in ["%j", "%J"] {
            let found = String::from_utf8(formatted(format, &bare(b""))).unwrap();
            assert!(found.ends_with(r#""payloadlen":0,"payload":null}"#), "{found}");
        }
    }
}
