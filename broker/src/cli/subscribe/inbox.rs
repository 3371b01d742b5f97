//! What becomes of each message: which are shown, which are counted, when it is enough.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Write};

use outpost_protocol::client::{Message as Outgoing, RequestError};
use outpost_protocol::{Publish, QoS, TopicFilter};

use super::super::client::{MqttClient, Reporter, random_bytes};
use super::message::Message;
use super::printer::Printer;

/// How many bytes the topics of retained messages that wait to be deleted may have.
const REMOVALS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What one of them takes beside its bytes, about.
const REMOVAL_BYTES: usize = 64;

/// Which messages are shown, and how many.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    pub(super) filter_out: Vec<String>,
    pub(super) no_retained: bool,
    pub(super) retained_only: bool,
    pub(super) remove_retained: bool,
    /// The share that is shown; None: all.
    pub(super) percent: Option<f64>,
    /// After how many messages to end; None: never.
    pub(super) count: Option<u64>,
}

/// What follows from a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    GoOn,
    /// This one was the last.
    Enough,
    /// This one is beyond the last, and for somebody else.
    TooMuch,
}

/// Shows messages.
pub(super) struct Inbox<W> {
    selection: Selection,
    printer: Printer,
    reporter: Reporter,
    pub(super) out: W,
    /// How many have been counted.
    count: u64,
    /// The topics that the server gave a number, on this connection (5.0).
    aliases: HashMap<u16, String>,
    /// The topics of retained messages that are to be deleted.
    removals: VecDeque<String>,
    removals_bytes: usize,
}

impl<W: Write> Inbox<W> {
    pub(super) fn new(selection: Selection, printer: Printer, reporter: Reporter, out: W) -> Self {
        Self {
            selection,
            printer,
            reporter,
            out,
            count: 0,
            aliases: HashMap::new(),
            removals: VecDeque::new(),
            removals_bytes: 0,
        }
    }

    /// Another connection begins.
    pub(super) fn restart(&mut self) {
        // [MQTT-3.3.2-7]
        self.aliases.clear();
    }

    /// Shows a message, if it is one of those to be shown.
    pub(super) fn receive(&mut self, publish: &Publish<'_>) -> io::Result<Next> {
        let topic = self.topic(publish);
        let message = Message {
            topic: &topic,
            qos: publish.qos,
            retain: publish.retain,
            packet_id: publish.packet_id.map_or(0, |id| id.value()),
            properties: publish.properties,
            payload: publish.payload,
        };
        if self.selection.retained_only && !message.retain {
            return Ok(Next::TooMuch);
        }
        if self.selection.is_filtered_out(&topic) {
            return Ok(Next::GoOn);
        }
        if self.selection.remove_retained && message.retain {
            self.remove_retained(&topic);
        }
        if self.selection.no_retained && message.retain {
            return Ok(Next::GoOn);
        }
        if self.selection.is_chosen() && !self.printer.print(&message, &mut self.out)? {
            self.reporter.warn(format!("the payload is not valid JSON on topic {topic}"));
        }
        self.count += 1;
        let is_enough = self.selection.count.is_some_and(|count| self.count >= count);
        Ok(if is_enough { Next::Enough } else { Next::GoOn })
    }

    /// The client has checked that an alias is one that the server may use.
    fn topic(&mut self, publish: &Publish<'_>) -> String {
        match publish.properties.topic_alias() {
            Some(alias) if publish.topic.is_empty() => {
                self.aliases.get(&alias).cloned().unwrap_or_default()
            }
            Some(alias) => {
                self.aliases.insert(alias, publish.topic.to_owned());
                publish.topic.to_owned()
            }
            None => publish.topic.to_owned(),
        }
    }

    fn remove_retained(&mut self, topic: &str) {
        let bytes = self.removals_bytes + topic.len() + REMOVAL_BYTES;
        if bytes <= REMOVALS_BYTES_MAX {
            self.removals_bytes = bytes;
            self.removals.push_back(topic.to_owned());
        } else {
            self.reporter.warn(format!("too much at once: {topic} stays retained"));
        }
    }

    /// Hands the deletions to the client, as far as it takes them.
    pub(super) fn send_removals(&mut self, client: &mut MqttClient) {
        while let Some(topic) = self.removals.front() {
            let empty = Outgoing { retain: true, ..Outgoing::new(topic, b"", QoS::AtLeastOnce) };
            match client.publish(&empty) {
                Ok(_) => {}
                Err(RequestError::Full | RequestError::NotConnected) => return,
                Err(error) => self.reporter.warn(format!("{topic} stays retained: {error}")),
            }
            self.removals_bytes -= topic.len() + REMOVAL_BYTES;
            self.removals.pop_front();
        }
    }

    pub(super) fn has_removals(&self) -> bool {
        !self.removals.is_empty()
    }
}

impl Selection {
    fn is_filtered_out(&self, topic: &str) -> bool {
        let matches =
            |filter: &String| TopicFilter::new(filter).is_ok_and(|filter| filter.matches(topic));
        self.filter_out.iter().any(matches)
    }

    /// By lot, where only a share is to be shown.
    fn is_chosen(&self) -> bool {
        let Some(percent) = self.percent else { return true };
        let lot = f64::from(u32::from_ne_bytes(random_bytes())) / f64::from(u32::MAX);
        lot * 100.0 <= percent
    }
}

#[cfg(test)]
mod tests {
    use outpost_protocol::{Properties, Property};

    use super::super::printer::Style;
    use super::*;

    const ALL: Selection = Selection {
        filter_out: Vec::new(),
        no_retained: false,
        retained_only: false,
        remove_retained: false,
        percent: None,
        count: None,
    };

    fn inbox(selection: Selection) -> Inbox<Vec<u8>> {
        let printer = Printer { style: Style::Verbose, line_feed: true, pretty: false };
        Inbox::new(selection, printer, Reporter::new("sub", true, false), Vec::new())
    }

    fn publish<'a>(topic: &'a str, retain: bool, properties: &'a [Property<'a>]) -> Publish<'a> {
        Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain,
            topic,
            packet_id: None,
            properties: Properties::list(properties),
            payload: b"x",
        }
    }

    /// What is shown of retained "a" and "b/c", then fresh "b/c", and what follows from each.
    fn shown(selection: Selection) -> (String, [Next; 3]) {
        let mut inbox = inbox(selection);
        let next = [("a", true), ("b/c", true), ("b/c", false)]
            .map(|(topic, retain)| inbox.receive(&publish(topic, retain, &[])).unwrap());
        (String::from_utf8(inbox.out).unwrap(), next)
    }

    #[test]
    fn selections() {
        use Next::{Enough, GoOn, TooMuch};
        let filter_out = vec!["b/+".to_owned()];
        for (selection, text, next) in [
            (ALL, "a x\nb/c x\nb/c x\n", [GoOn, GoOn, GoOn]),
            (Selection { filter_out, ..ALL }, "a x\n", [GoOn, GoOn, GoOn]),
            (Selection { no_retained: true, ..ALL }, "b/c x\n", [GoOn, GoOn, GoOn]),
            (Selection { retained_only: true, ..ALL }, "a x\nb/c x\n", [GoOn, GoOn, TooMuch]),
            (Selection { count: Some(3), ..ALL }, "a x\nb/c x\nb/c x\n", [GoOn, GoOn, Enough]),
            (
                Selection { count: Some(1), no_retained: true, ..ALL },
                "b/c x\n",
                [GoOn, GoOn, Enough],
            ),
        ] {
            assert_eq!(shown(selection.clone()), (text.to_owned(), next), "{selection:?}");
        }
    }

    #[test]
    fn a_share_by_lot() {
        let mut inbox = inbox(Selection { percent: Some(50.0), ..ALL });
        for _ in 0..1_000 {
            inbox.receive(&publish("a", false, &[])).unwrap();
        }
        let shown = inbox.out.iter().filter(|byte| **byte == b'\n').count();
        // The chance to be outside is less than one in 10^30.
        assert!((300..=700).contains(&shown), "{shown}");
    }

    #[test]
    fn topic_aliases_last_for_one_connection() {
        let mut inbox = inbox(ALL);
        let alias = [Property::TopicAlias(1)];
        inbox.receive(&publish("long/topic", false, &alias)).unwrap();
        inbox.receive(&publish("", false, &alias)).unwrap();
        inbox.receive(&publish("other", false, &alias)).unwrap();
        inbox.receive(&publish("", false, &alias)).unwrap();
        assert_eq!(inbox.out, b"long/topic x\nlong/topic x\nother x\nother x\n");
        inbox.restart();
        assert!(inbox.aliases.is_empty());
    }

    #[test]
    fn what_is_filtered_out_is_not_deleted_and_what_is_not_shown_is() {
        let filter_out = vec!["a".to_owned()];
        let selection = Selection { filter_out, remove_retained: true, no_retained: true, ..ALL };
        let mut inbox = inbox(selection);
        for (topic, retain) in [("a", true), ("b", true), ("c", false)] {
            inbox.receive(&publish(topic, retain, &[])).unwrap();
        }
        assert_eq!(inbox.removals, ["b"]);
        assert_eq!(inbox.out, b"c x\n");
    }
}
