//! What was published where, and who has got it.

use std::collections::{BTreeMap, BTreeSet};

use outpost_protocol::QoS;

use super::plan::Plan;
use super::publisher::Published;
use super::subscriber::GROUPS;
use crate::packet::GotPublish;

/// The model of what all sites owe their subscribers.
#[derive(Debug)]
pub(super) struct Oracle {
    messages: Vec<Message>,
    /// By subscriber and message: how often it came.
    taken: Vec<BTreeMap<usize, u32>>,
    /// By subscriber, topic and QoS: the highest message that came first there.
    newest: BTreeMap<(usize, &'static str, QoS), usize>,
    /// By subscriber and group of topics: whether the bridges have to know that it wants them.
    known: Vec<[bool; GROUPS.len()]>,
    has_interest: bool,
    /// Publishers and subscribers between which new messages may overtake those from before a link.
    hurried: BTreeSet<(usize, usize)>,
    /// Links so far by which new messages overtake.
    begun: u64,
    overtaken: u64,
}

#[derive(Debug)]
struct Message {
    publisher: usize,
    published: Published,
    attempts: u32,
    is_acknowledged: bool,
    /// The subscribers that are to get it.
    owed: BTreeSet<usize>,
    /// Links by which new messages overtake that were there before it.
    begun: u64,
}

fn group_of(topic: &str) -> usize {
    let found = GROUPS.iter().position(|filter| filter.starts_with(&topic[..1]));
    found.expect("all topics are of a group")
}

impl Oracle {
    pub(super) fn new(plan: &Plan) -> Self {
        let sites = plan.sites;
        Self {
            messages: Vec::new(),
            taken: vec![BTreeMap::new(); sites],
            newest: BTreeMap::new(),
            known: vec![[false; GROUPS.len()]; sites],
            has_interest: plan.ways.interest,
            hurried: hurried(plan),
            begun: 0,
            overtaken: 0,
        }
    }

    /// A new message. Its number.
    pub(super) fn add(&mut self, publisher: usize, published: Published) -> usize {
        let group = group_of(published.topic);
        let owed = (0..self.known.len()).filter(|who| self.known[*who][group]).collect();
        let (attempts, is_acknowledged, begun) = (0, false, self.begun);
        let message = Message { publisher, published, attempts, is_acknowledged, owed, begun };
        self.messages.push(message);
        self.messages.len() - 1
    }

    /// The bridges know that a subscriber is there for a group of topics, and so does its site.
    pub(super) fn known(&mut self, who: usize, group: usize) {
        self.known[who][group] = true;
    }

    pub(super) fn is_all_known(&self) -> bool {
        self.known.iter().flatten().all(|is_known| *is_known)
    }

    /// A subscriber leaves a group of topics: what has not come need not come.
    pub(super) fn leaves(&mut self, who: usize, group: usize) {
        self.known[who][group] = false;
        let is_of_group = |message: &&mut Message| group_of(message.published.topic) == group;
        for message in self.messages.iter_mut().filter(is_of_group) {
            message.owed.remove(&who);
        }
    }

    /// A link begins: what was there before is old.
    pub(super) fn link_begins(&mut self, is_live: bool) {
        self.begun += u64::from(is_live);
    }

    pub(super) fn overtaken(&self) -> u64 {
        self.overtaken
    }

    pub(super) fn published(&self, message: usize) -> Published {
        self.messages[message].published
    }

    /// Its publisher sends it, once more perhaps.
    pub(super) fn attempted(&mut self, message: usize) {
        self.messages[message].attempts += 1;
    }

    /// PUBACK or PUBREC has left its site: from now on it is promised to all.
    pub(super) fn acknowledged(&mut self, message: usize) {
        self.messages[message].is_acknowledged = true;
    }

    fn has_taken(&self, who: usize, message: usize) -> bool {
        self.taken[who].contains_key(&message)
    }

    /// A subscriber takes a message that is not a repetition by its own site.
    pub(super) fn taken(&mut self, who: usize, index: usize, got: &GotPublish) {
        let message = &self.messages[index];
        let Published { topic, qos, .. } = message.published;
        assert_eq!(got.topic, topic, "{index} came with another topic");
        assert_eq!(got.qos, qos, "{index} came with another QoS");
        let times = self.taken[who].entry(index).or_default();
        *times += 1;
        // With interest, what is retained comes anew where somebody subscribes anew, and over a bridge
        // whose process was.
        let is_anew = self.has_interest && message.published.retain;
        let times_max = match qos {
            _ if is_anew => u32::MAX,
            QoS::ExactlyOnce => 1,
            _ => message.attempts,
        };
        assert!(
            *times <= times_max,
            "{index} of publisher {} reached site {who} {times} times at {qos:?}, and was sent {} times",
            message.publisher,
            message.attempts
        );
        if *times == 1 {
            let newest = *self.newest.entry((who, topic, qos)).or_insert(index);
            // Who was not there for all that its publisher sent of it may get the last of it first.
            if newest > index && qos > QoS::AtMostOnce && message.owed.contains(&who) {
                self.overtaken += 1;
                assert!(
                    self.may_be_late(who, index),
                    "{index} reached site {who} after {newest} of the same topic, {qos:?}"
                );
            }
            self.newest.insert((who, topic, qos), newest.max(index));
        }
    }

    /// Whether a message may come after one that was published later: it was there before a link by which
    /// new ones overtake, and is not retained.
    fn may_be_late(&self, who: usize, index: usize) -> bool {
        let message = &self.messages[index];
        let is_hurried = self.hurried.contains(&(message.publisher, who));
        is_hurried && !message.published.retain && message.begun < self.begun
    }

    /// What was promised and has not come: site and message.
    pub(super) fn missing(&self) -> Vec<(usize, usize)> {
        let mut missing = Vec::new();
        for (index, message) in self.messages.iter().enumerate() {
            if message.is_acknowledged {
                let lacks = |who: &&usize| !self.has_taken(**who, index);
                missing.extend(message.owed.iter().filter(lacks).map(|who| (*who, index)));
            }
        }
        missing
    }

    pub(super) fn is_complete(&self) -> bool {
        self.missing().is_empty()
    }

    pub(super) fn check_end(&self) {
        assert_eq!(self.missing(), [], "these never came: site and message");
        assert!(
            self.messages.iter().any(|message| message.is_acknowledged),
            "nothing was promised"
        );
    }
}

/// Publishers and subscribers on whose way may be a link, outward, by which new messages overtake old ones.
fn hurried(plan: &Plan) -> BTreeSet<(usize, usize)> {
    let mut found = BTreeSet::new();
    if plan.ways.live_percent == 0 {
        return found;
    }
    for (at, (from, to)) in plan.bridges.iter().enumerate() {
        for publisher in reached(plan, *from, at) {
            found.extend(reached(plan, *to, at).into_iter().map(|who| (publisher, who)));
        }
    }
    found
}

/// The sites that are reached from one without this bridge.
fn reached(plan: &Plan, site: usize, without: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::from([site]);
    loop {
        let mut others = plan.bridges.iter().enumerate().filter(|(at, _)| *at != without);
        let leads_on =
            |(_, (a, b)): &(usize, &(usize, usize))| found.contains(a) != found.contains(b);
        let Some((_, (a, b))) = others.find(leads_on) else { return found };
        found.extend([*a, *b]);
    }
}
