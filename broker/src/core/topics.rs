//! Who is to get a message on a topic: the subscription trie and the cache of its answers.
//!
//! Levels are interned, and all edges of the trie stand in one map from (node, level) to node, so
//! that a filter costs a few dozen bytes and matching costs one look-up a level for each branch that
//! does match. Telemetry repeats its topics: the answer for a topic is kept until the next change of
//! any subscription.

use std::fmt;
use std::sync::Arc;

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use hashbrown::HashMap;
use outpost_protocol::QoS;
use slab::Slab;

use super::change::SubscriptionRecord;
use super::durability::{Durability, TopicClass};
use super::message::Topic;

/// Bytes of topics and matches that are kept. A full cache is emptied: it fills again at the cost of
/// one walk through the trie for each topic in use.
const CACHE_BYTES_MAX: usize = 8 << 20;

/// What an entry of the cache takes besides its topic and its matches.
const CACHE_ENTRY_BYTES: usize = 128;

/// A session's place in the core's table.
pub(super) type SessionKey = u32;

/// A shared subscription's place in the table of groups.
pub(super) type GroupKey = u32;

/// Everyone who is to get the messages of one topic.
#[derive(Debug, Default)]
pub(super) struct Matches {
    /// Sessions with ordinary subscriptions, each once.
    pub sessions: Vec<Match>,
    /// Shared subscriptions.
    pub groups: Vec<GroupKey>,
    /// What is promised of its messages.
    pub durability: Durability,
    /// How many of the sessions are those of bridges.
    pub bridges: usize,
}

/// One session's subscriptions that match, taken together: the highest QoS [MQTT-3.3.4-2] and every
/// subscription identifier [MQTT-3.3.4-3].
#[derive(Debug, Clone)]
pub(super) struct Match {
    pub session: SessionKey,
    pub qos: QoS,
    /// One of them asks for No Local.
    pub no_local: bool,
    pub retain_as_published: bool,
    /// One of them is that of a bridge.
    pub keeps_retained: bool,
    pub subscription_ids: Option<Arc<[u32]>>,
}

/// Who stands at a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subscriber {
    Session(SessionKey, SubscriptionRecord),
    Group(GroupKey),
}

impl Subscriber {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Session(a, _), Self::Session(b, _)) | (Self::Group(a), Self::Group(b)) => a == b,
            _ => false,
        }
    }
}

/// Which topics a part of this program takes of those that its subscriptions match: a bridge that
/// leaves some out shall not have them wait for it.
#[derive(Clone)]
pub struct Takes(pub Arc<dyn Fn(&str) -> bool + Send + Sync>);

impl fmt::Debug for Takes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Takes")
    }
}

/// The trie of all topic filters.
#[derive(Debug)]
pub(super) struct Topics {
    nodes: Slab<Node>,
    edges: HashMap<(u32, LevelId), u32, SeedableRandomState>,
    levels: Levels,
    generation: u64,
    cache: HashMap<Topic, Cached, SeedableRandomState>,
    cache_bytes: usize,
    classes: Vec<TopicClass>,
    /// Sessions that do not take all that matches.
    narrowed: Vec<(SessionKey, Takes)>,
}

#[derive(Debug, Default)]
struct Node {
    subscribers: Vec<Subscriber>,
    parent: u32,
    level: LevelId,
    children: u32,
    has_plus: bool,
    has_hash: bool,
}

#[derive(Debug)]
struct Cached {
    generation: u64,
    matches: Arc<Matches>,
}

type LevelId = u32;
const PLUS: LevelId = 0;
const HASH: LevelId = 1;
const ROOT: u32 = 0;

impl Topics {
    /// An empty trie. The seed keys its hash maps: clients choose the names in them.
    pub(super) fn new(seed: u64) -> Self {
        let mut nodes = Slab::new();
        nodes.insert(Node::default());
        let state = SeedableRandomState::with_seed(seed, SharedSeed::global_fixed());
        Self {
            nodes,
            edges: HashMap::with_hasher(state.clone()),
            levels: Levels::new(state.clone()),
            generation: 0,
            cache: HashMap::with_hasher(state),
            cache_bytes: 0,
            classes: Vec::new(),
            narrowed: Vec::new(),
        }
    }

    /// Tells what is promised of which topics. To be called before anything is matched.
    pub(super) fn set_classes(&mut self, classes: Vec<TopicClass>) {
        self.classes = classes;
    }

    /// Enters a subscriber under a filter (without `$share/name/`), or replaces its options.
    pub(super) fn insert(&mut self, filter: &str, subscriber: Subscriber) {
        self.generation += 1;
        let mut node = ROOT;
        for level in filter.split('/') {
            node = self.child_or_new(node, level);
        }
        let subscribers = &mut self.nodes[node as usize].subscribers;
        match subscribers.iter_mut().find(|s| s.is_same(&subscriber)) {
            Some(old) => *old = subscriber,
            None => subscribers.push(subscriber),
        }
    }

    /// Takes a subscriber out again. One that is not there is no fault.
    pub(super) fn remove(&mut self, filter: &str, subscriber: Subscriber) {
        self.generation += 1;
        let mut node = ROOT;
        for level in filter.split('/') {
            let Some(next) = self.levels.find(level).and_then(|l| self.edges.get(&(node, l)))
            else {
                return;
            };
            node = *next;
        }
        self.nodes[node as usize].subscribers.retain(|s| !s.is_same(&subscriber));
        self.prune(node);
    }

    /// From now on a session takes only some of what its subscriptions match; none: all of it.
    pub(super) fn narrow(&mut self, session: SessionKey, takes: Option<Takes>) {
        let is_narrowed = |(narrowed, _): &(SessionKey, Takes)| *narrowed == session;
        if takes.is_none() && !self.narrowed.iter().any(is_narrowed) {
            return;
        }
        self.narrowed.retain(|narrowed| !is_narrowed(narrowed));
        self.narrowed.extend(takes.map(|takes| (session, takes)));
        self.generation += 1;
    }

    /// Which change of subscriptions was the last.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether a session takes a topic that its subscriptions match.
    pub(super) fn takes(&self, session: SessionKey, topic: &str) -> bool {
        let mut narrowed = self.narrowed.iter().filter(|(narrowed, _)| *narrowed == session);
        narrowed.all(|(_, takes)| (takes.0)(topic))
    }

    /// All filters that somebody else than this session has subscribed to, but those of `$SYS`; none:
    /// there are more than `max`.
    pub(super) fn filters_but_of(&self, session: SessionKey, max: usize) -> Option<Vec<String>> {
        let is_other =
            |s: &Subscriber| !matches!(s, Subscriber::Session(key, _) if *key == session);
        let mut filters = Vec::new();
        for (node, _) in self.nodes.iter().filter(|(_, n)| n.subscribers.iter().any(is_other)) {
            let filter = self.filter_of(node as u32);
            if filter.starts_with("$SYS/") {
                continue;
            }
            if filters.len() == max {
                return None;
            }
            filters.push(filter);
        }
        filters.sort_unstable();
        Some(filters)
    }

    fn filter_of(&self, mut node: u32) -> String {
        let mut levels = Vec::new();
        while node != ROOT {
            let n = &self.nodes[node as usize];
            levels.push(&*self.levels.names[n.level as usize].0);
            node = n.parent;
        }
        levels.reverse();
        levels.join("/")
    }

    /// The topic as it is shared among messages, and everyone who is to get it.
    pub(super) fn matches(&mut self, topic: &str) -> (Topic, Arc<Matches>) {
        if let Some((name, cached)) = self.cache.get_key_value(topic)
            && cached.generation == self.generation
        {
            return (name.clone(), cached.matches.clone());
        }
        let durability = Durability::of(topic, &self.classes);
        let mut matches = Matches { durability, ..self.walk(topic) };
        for (session, takes) in &self.narrowed {
            let is_left_out = |found: &Match| found.session == *session && !(takes.0)(topic);
            matches.sessions.retain(|found| !is_left_out(found));
        }
        matches.bridges = matches.sessions.iter().filter(|found| found.keeps_retained).count();
        let matches = Arc::new(matches);
        let name = self.forget(topic).unwrap_or_else(|| Topic::from(topic));
        let bytes = cached_bytes(&name, &matches);
        if self.cache_bytes + bytes > CACHE_BYTES_MAX {
            self.cache.clear();
            self.cache_bytes = 0;
        }
        if bytes <= CACHE_BYTES_MAX {
            self.cache_bytes += bytes;
            let cached = Cached { generation: self.generation, matches: matches.clone() };
            self.cache.insert(name.clone(), cached);
        }
        (name, matches)
    }

    /// Takes an answer out of the cache, for its topic.
    fn forget(&mut self, topic: &str) -> Option<Topic> {
        let (name, old) = self.cache.remove_entry(topic)?;
        self.cache_bytes -= cached_bytes(&name, &old.matches);
        Some(name)
    }

    #[cfg(test)]
    pub(super) fn cache_bytes(&self) -> usize {
        let bytes = |(topic, cached): (&Topic, &Cached)| cached_bytes(topic, &cached.matches);
        assert_eq!(self.cache_bytes, self.cache.iter().map(bytes).sum::<usize>());
        self.cache_bytes
    }

    fn child_or_new(&mut self, parent: u32, level: &str) -> u32 {
        if let Some(child) = self.levels.find(level).and_then(|l| self.edges.get(&(parent, l))) {
            return *child;
        }
        let level = self.levels.intern(level);
        let child = self.nodes.insert(Node { parent, level, ..Node::default() });
        let child = u32::try_from(child).expect("fewer nodes than filters times levels");
        self.edges.insert((parent, level), child);
        let node = &mut self.nodes[parent as usize];
        node.children += 1;
        node.has_plus |= level == PLUS;
        node.has_hash |= level == HASH;
        child
    }

    /// Removes a node that holds nothing any more, and its parents likewise.
    fn prune(&mut self, mut node: u32) {
        while node != ROOT {
            let n = &self.nodes[node as usize];
            if n.children > 0 || !n.subscribers.is_empty() {
                return;
            }
            let (parent, level) = (n.parent, n.level);
            self.nodes.remove(node as usize);
            self.edges.remove(&(parent, level));
            self.levels.release(level);
            let p = &mut self.nodes[parent as usize];
            p.children -= 1;
            p.has_plus &= level != PLUS;
            p.has_hash &= level != HASH;
            node = parent;
        }
    }

    fn walk(&self, topic: &str) -> Matches {
        let mut found = Vec::new();
        // A wildcard at the first level does not take topics that begin with `$` [MQTT-4.7.2-1].
        let wildcards = !topic.starts_with('$');
        self.walk_level(ROOT, Some(topic), wildcards, &mut found);
        gather_all(&found)
    }

    /// Depth is bounded by the levels of the deepest filter, which the core limits.
    fn walk_level(
        &self,
        node: u32,
        rest: Option<&str>,
        wildcards: bool,
        found: &mut Vec<Subscriber>,
    ) {
        let n = &self.nodes[node as usize];
        if n.has_hash && wildcards {
            // `#` takes its parent level as well [MQTT-4.7.1-2].
            self.take(self.edges[&(node, HASH)], found);
        }
        let Some(rest) = rest else {
            self.take(node, found);
            return;
        };
        let (level, rest) = match rest.split_once('/') {
            Some((level, rest)) => (level, Some(rest)),
            None => (rest, None),
        };
        if n.has_plus && wildcards {
            self.walk_level(self.edges[&(node, PLUS)], rest, true, found);
        }
        if let Some(level) = self.levels.find_name(level)
            && let Some(child) = self.edges.get(&(node, level))
        {
            self.walk_level(*child, rest, true, found);
        }
    }

    fn take(&self, node: u32, found: &mut Vec<Subscriber>) {
        found.extend_from_slice(&self.nodes[node as usize].subscribers);
    }
}

fn cached_bytes(topic: &Topic, matches: &Matches) -> usize {
    let sessions = matches.sessions.len() * size_of::<Match>();
    let groups = matches.groups.len() * size_of::<GroupKey>();
    CACHE_ENTRY_BYTES + topic.len() + sessions + groups
}

/// Takes the subscriptions of one session together.
pub(super) fn gather(
    session: SessionKey,
    records: impl Iterator<Item = SubscriptionRecord>,
) -> Option<Match> {
    let mut records: Vec<SubscriptionRecord> = records.collect();
    records.sort_by_key(|record| record.subscription_id);
    let ids: Vec<u32> = records.iter().filter_map(|r| r.subscription_id).collect();
    Some(Match {
        session,
        qos: records.iter().map(|r| r.qos).max()?,
        no_local: records.iter().any(|r| r.no_local),
        retain_as_published: records.iter().any(|r| r.retain_as_published),
        keeps_retained: records.iter().any(|r| r.keeps_retained),
        subscription_ids: if ids.is_empty() { None } else { Some(ids.into()) },
    })
}

/// Takes the subscriptions of each session together, in the order of the sessions' places.
fn gather_all(found: &[Subscriber]) -> Matches {
    let mut matches = Matches::default();
    let mut single = Vec::with_capacity(found.len());
    for subscriber in found {
        match subscriber {
            Subscriber::Session(session, record) => single.push((*session, *record)),
            Subscriber::Group(group) => matches.groups.push(*group),
        }
    }
    single.sort_by_key(|(session, _)| *session);
    for same in single.chunk_by(|a, b| a.0 == b.0) {
        matches.sessions.extend(gather(same[0].0, same.iter().map(|(_, record)| *record)));
    }
    matches
}

/// The names of levels, each kept once however many filters have it.
#[derive(Debug)]
struct Levels {
    ids: HashMap<Arc<str>, LevelId, SeedableRandomState>,
    names: Slab<(Arc<str>, u32)>,
}

impl Levels {
    fn new(state: SeedableRandomState) -> Self {
        let mut levels = Self { ids: HashMap::with_hasher(state), names: Slab::new() };
        assert_eq!(levels.intern("+"), PLUS);
        assert_eq!(levels.intern("#"), HASH);
        levels
    }

    /// The level of a filter.
    fn find(&self, level: &str) -> Option<LevelId> {
        self.ids.get(level).copied()
    }

    /// The level of a topic name, in which `+` and `#` cannot stand.
    fn find_name(&self, level: &str) -> Option<LevelId> {
        self.find(level).filter(|id| *id > HASH)
    }

    fn intern(&mut self, level: &str) -> LevelId {
        if let Some(id) = self.ids.get(level) {
            self.names[*id as usize].1 += 1;
            return *id;
        }
        let name: Arc<str> = level.into();
        let id = self.names.insert((name.clone(), 1));
        let id = u32::try_from(id).expect("fewer levels than filters times levels");
        self.ids.insert(name, id);
        id
    }

    fn release(&mut self, id: LevelId) {
        let (name, uses) = &mut self.names[id as usize];
        *uses -= 1;
        if *uses == 0 {
            let name = name.clone();
            self.names.remove(id as usize);
            self.ids.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outpost_protocol::{RetainHandling, TopicFilter};
    use proptest::prelude::*;

    fn record(qos: QoS, subscription_id: Option<u32>) -> SubscriptionRecord {
        SubscriptionRecord {
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::SendAtSubscribe,
            subscription_id,
            keeps_retained: false,
            owes_retained: false,
        }
    }

    fn sessions(topics: &mut Topics, topic: &str) -> Vec<u32> {
        topics.matches(topic).1.sessions.iter().map(|m| m.session).collect()
    }

    #[test]
    fn takes_overlapping_subscriptions_together() {
        let mut topics = Topics::new(1);
        topics.insert("a/+", Subscriber::Session(7, record(QoS::AtMostOnce, Some(3))));
        topics.insert("a/#", Subscriber::Session(7, record(QoS::ExactlyOnce, Some(2))));
        let (_, found) = topics.matches("a/b");
        assert_eq!(found.sessions.len(), 1);
        assert_eq!(found.sessions[0].qos, QoS::ExactlyOnce);
        assert_eq!(found.sessions[0].subscription_ids.as_deref(), Some(&[2, 3][..]));
    }

    #[test]
    fn a_change_reaches_topics_in_the_cache() {
        let mut topics = Topics::new(1);
        let one = Subscriber::Session(1, record(QoS::AtMostOnce, None));
        assert!(sessions(&mut topics, "a").is_empty());
        topics.insert("a", one);
        assert_eq!(sessions(&mut topics, "a"), [1]);
        topics.remove("a", one);
        assert!(sessions(&mut topics, "a").is_empty());
    }

    #[test]
    fn what_was_removed_leaves_nothing_behind() {
        let mut topics = Topics::new(1);
        for i in 0..100 {
            let filter = format!("site/{i}/+/#");
            topics.insert(&filter, Subscriber::Session(i, record(QoS::AtMostOnce, None)));
        }
        for i in 0..100 {
            let filter = format!("site/{i}/+/#");
            topics.remove(&filter, Subscriber::Session(i, record(QoS::AtMostOnce, None)));
        }
        assert_eq!(topics.nodes.len(), 1);
        assert!(topics.edges.is_empty());
        assert_eq!(topics.levels.names.len(), 2);
    }

    proptest! {
        #[test]
        fn agrees_with_the_rules_of_the_filter(
            filters in proptest::collection::vec("(\\$x|a|b|\\+|)(/(a|b|\\+|)){0,3}(/#)?|#", 1..20),
            topic in "(\\$x|a|b|)(/(a|b|)){0,4}",
        ) {
            let mut topics = Topics::new(1);
            let mut expected = Vec::new();
            for (i, filter) in filters.iter().enumerate() {
                let Ok(checked) = TopicFilter::new(filter) else { continue };
                let key = u32::try_from(i).unwrap();
                topics.insert(filter, Subscriber::Session(key, record(QoS::AtMostOnce, None)));
                if checked.matches(&topic) {
                    expected.push(key);
                }
            }
            prop_assert_eq!(sessions(&mut topics, &topic), expected);
        }
    }
}
