//! How a message is shown: payload, topic and payload, or a format.

use std::io::{self, Write};

use jiff::Zoned;

use super::format::Format;
use super::message::Message;

/// What to show of each message.
#[derive(Clone, Debug)]
pub(super) struct Printer {
    pub(super) style: Style,
    /// Whether a line feed comes after each message.
    pub(super) line_feed: bool,
    /// JSON on many lines.
    pub(super) pretty: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Style {
    /// Nothing at all for an empty payload.
    Payload,
    /// "topic payload", or "topic (null)" for an empty one.
    Verbose,
    Format(Format),
}

impl Printer {
    /// False: the payload was to be shown as JSON, but is none.
    pub(super) fn print(&self, message: &Message<'_>, out: &mut dyn Write) -> io::Result<bool> {
        let mut is_json = true;
        match &self.style {
            Style::Payload if message.payload.is_empty() => return Ok(true),
            Style::Verbose if message.payload.is_empty() && !self.line_feed => return Ok(true),
            Style::Payload => out.write_all(message.payload)?,
            Style::Verbose if message.payload.is_empty() => {
                write!(out, "{} (null)", message.topic)?;
            }
            Style::Verbose => {
                write!(out, "{} ", message.topic)?;
                out.write_all(message.payload)?;
            }
            Style::Format(format) => {
                is_json = format.write(message, &Zoned::now(), self.pretty, out)?;
            }
        }
        if self.line_feed {
            out.write_all(b"\n")?;
        }
        Ok(is_json)
    }
}

#[cfg(test)]
mod tests {
    use outpost_protocol::{Properties, QoS};

    use super::*;

    fn printed(style: &Style, line_feed: bool, payloads: &[&[u8]]) -> Vec<u8> {
        let printer = Printer { style: style.clone(), line_feed, pretty: false };
        let mut out = Vec::new();
        for payload in payloads {
            let message = Message {
                topic: "a/b",
                qos: QoS::AtMostOnce,
                retain: false,
                packet_id: 0,
                properties: Properties::EMPTY,
                payload,
            };
            assert!(printer.print(&message, &mut out).unwrap());
        }
        out
    }

    #[test]
    fn as_mosquitto_sub_shows_them() {
        let payloads: &[&[u8]] = &[b"one", b"", b"\xfftwo"];
        assert_eq!(printed(&Style::Payload, true, payloads), b"one\n\xfftwo\n");
        assert_eq!(printed(&Style::Payload, false, payloads), b"one\xfftwo");
        let verbose = b"a/b one\na/b (null)\na/b \xfftwo\n";
        assert_eq!(printed(&Style::Verbose, true, payloads), verbose);
        assert_eq!(printed(&Style::Verbose, false, payloads), b"a/b onea/b \xfftwo");
        let format = Style::Format("%l;".parse().unwrap());
        assert_eq!(printed(&format, true, payloads), b"3;\n0;\n4;\n");
        assert_eq!(printed(&format, false, payloads), b"3;0;4;");
    }
}
