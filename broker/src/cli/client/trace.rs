//! What `-d` shows: one line for each packet, in the words of mosquitto's clients.

use std::io::{self, Write};

use outpost_protocol::{Packet, ProtocolVersion, Publish, decode};

use super::error::printable;

/// Writes lines to standard error, with the name of the command in front.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Reporter {
    command: &'static str,
    quiet: bool,
    debug: bool,
}

impl Reporter {
    pub(in crate::cli) fn new(command: &'static str, quiet: bool, debug: bool) -> Self {
        Self { command, quiet, debug }
    }

    /// Tells what went wrong, if the user wants to know: on one line, whatever a server said.
    pub(in crate::cli) fn warn(&self, line: impl std::fmt::Display) {
        if !self.quiet {
            // Nobody is left to tell that standard error is closed.
            let line = printable(&line.to_string());
            writeln!(io::stderr(), "outpost {}: {line}", self.command).ok();
        }
    }

    fn debug(&self, line: &str) {
        writeln!(io::stderr(), "{}", printable(line)).ok();
    }
}

/// Shows the packets of one connection.
#[derive(Debug)]
pub(super) struct Trace {
    reporter: Reporter,
    version: ProtocolVersion,
    /// What has been written of a packet that is not yet whole.
    sent: Vec<u8>,
}

impl Trace {
    /// None where nobody wants to see them.
    pub(super) fn new(reporter: &Reporter, version: ProtocolVersion) -> Option<Self> {
        reporter.debug.then(|| Self { reporter: reporter.clone(), version, sent: Vec::new() })
    }

    /// Another connection begins.
    pub(super) fn restart(&mut self) {
        self.sent.clear();
    }

    /// These bytes were written.
    pub(super) fn sent(&mut self, bytes: &[u8]) {
        self.sent.extend_from_slice(bytes);
        let mut used = 0;
        while let Ok(Some((packet, len))) = decode(&self.sent[used..], self.version, u32::MAX) {
            self.reporter.debug(&format!("sending {}", describe(&packet, self.version)));
            used += len;
        }
        self.sent.drain(..used);
    }

    /// The first packet of these bytes is about to be handled.
    pub(super) fn received(&self, input: &[u8]) {
        if let Ok(Some((packet, _))) = decode(input, self.version, u32::MAX) {
            self.reporter.debug(&format!("received {}", describe(&packet, self.version)));
        }
    }
}

fn describe(packet: &Packet<'_>, version: ProtocolVersion) -> String {
    match packet {
        Packet::Connect(packet) => format!("CONNECT ({})", packet.client_id),
        Packet::ConnAck(packet) => {
            let code = match version {
                ProtocolVersion::V5 => packet.reason.into(),
                _ => packet.reason.v311_connect_return_code(),
            };
            let session = if packet.session_present { ", session present" } else { "" };
            format!("CONNACK ({code}{session})")
        }
        Packet::Publish(packet) => describe_publish(packet),
        Packet::PubAck(p) => format!("PUBACK (m{}, rc{})", p.packet_id.value(), u8::from(p.reason)),
        Packet::PubRec(p) => format!("PUBREC (m{}, rc{})", p.packet_id.value(), u8::from(p.reason)),
        Packet::PubRel(p) => format!("PUBREL (m{}, rc{})", p.packet_id.value(), u8::from(p.reason)),
        Packet::PubComp(p) => {
            format!("PUBCOMP (m{}, rc{})", p.packet_id.value(), u8::from(p.reason))
        }
        Packet::Subscribe(packet) => {
            let filters: Vec<_> = packet
                .filters
                .iter()
                .map(|filter| format!("'{}' q{}", filter.filter, u8::from(filter.options.qos)))
                .collect();
            format!("SUBSCRIBE (m{}, {})", packet.packet_id.value(), filters.join(", "))
        }
        Packet::SubAck(packet) => {
            let reasons: Vec<_> =
                packet.reasons.iter().map(|reason| u8::from(reason).to_string()).collect();
            format!("SUBACK (m{}, {})", packet.packet_id.value(), reasons.join(", "))
        }
        Packet::Unsubscribe(packet) => {
            let filters: Vec<_> =
                packet.filters.iter().map(|filter| format!("'{filter}'")).collect();
            format!("UNSUBSCRIBE (m{}, {})", packet.packet_id.value(), filters.join(", "))
        }
        Packet::UnsubAck(packet) => format!("UNSUBACK (m{})", packet.packet_id.value()),
        Packet::PingReq => "PINGREQ".into(),
        Packet::PingResp => "PINGRESP".into(),
        Packet::Disconnect(packet) => format!("DISCONNECT (rc{})", u8::from(packet.reason)),
        Packet::Auth(packet) => format!("AUTH (rc{})", u8::from(packet.reason)),
    }
}

fn describe_publish(packet: &Publish<'_>) -> String {
    format!(
        "PUBLISH (d{}, q{}, r{}, m{}, '{}', ... ({} bytes))",
        u8::from(packet.dup),
        u8::from(packet.qos),
        u8::from(packet.retain),
        packet.packet_id.map_or(0, |id| id.value()),
        packet.topic,
        packet.payload.len()
    )
}
