//! Topic aliases (3.3.2.3.4) in tables of fixed size, one for each direction.
//!
//! They are for who drives [`crate::client::Client`], which checks aliases and leaves the topics
//! behind them to its caller: it keeps no topics. The broker does not use them: what it allows is
//! configured, and its topics are shared with the messages.
//!
//! `N` aliases of topics of up to `LEN` bytes are kept, so that a table takes about `N * (LEN + 3)`
//! bytes. Mappings end with the network connection [MQTT-3.3.2-7]: `clear` both then.

use crate::reason_code::ReasonCode;
use crate::wire::FIELD_BYTES_MAX;

/// A topic name of up to `LEN` bytes, kept.
#[derive(Clone, Copy, Debug)]
struct Slot<const LEN: usize> {
    bytes: [u8; LEN],
    len: u16,
    state: SlotState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SlotState {
    Empty,
    Set,
    /// A topic that is longer than `LEN`: it was set, but cannot be told.
    TooLong,
}

impl<const LEN: usize> Slot<LEN> {
    const EMPTY: Self = Self { bytes: [0; LEN], len: 0, state: SlotState::Empty };

    fn set(&mut self, topic: &str) {
        match (self.bytes.get_mut(..topic.len()), u16::try_from(topic.len())) {
            (Some(bytes), Ok(len)) => {
                bytes.copy_from_slice(topic.as_bytes());
                self.len = len;
                self.state = SlotState::Set;
            }
            _ => self.state = SlotState::TooLong,
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// The aliases that the other side set. Announce `N` as Topic Alias Maximum.
#[derive(Clone, Debug)]
pub struct IncomingTopicAliases<const N: usize, const LEN: usize> {
    slots: [Slot<LEN>; N],
}

impl<const N: usize, const LEN: usize> IncomingTopicAliases<N, LEN> {
    /// None set.
    pub const fn new() -> Self {
        Self { slots: [Slot::EMPTY; N] }
    }

    /// What to announce: every alias from 1 up to it is taken [MQTT-3.3.2-10] [MQTT-3.3.2-12].
    pub const fn maximum(&self) -> u16 {
        if N > 0xFFFF { 0xFFFF } else { N as u16 }
    }

    /// The topic of a PUBLISH that came with this topic (empty: none) and this alias. With both,
    /// the alias stands for the topic from now on.
    ///
    /// # Errors
    /// [`ReasonCode::TopicAliasInvalid`] for 0 and above the maximum; [`ReasonCode::ProtocolError`]
    /// where neither a topic nor an alias that was set is there;
    /// [`ReasonCode::ImplementationSpecificError`] where the alias stands for a topic of more than
    /// `LEN` bytes. With a `LEN` of the Maximum Packet Size the last cannot be.
    pub fn resolve<'a>(
        &'a mut self,
        topic: &'a str,
        alias: Option<u16>,
    ) -> Result<&'a str, ReasonCode> {
        let Some(alias) = alias else {
            return if topic.is_empty() { Err(ReasonCode::ProtocolError) } else { Ok(topic) };
        };
        // [MQTT-3.3.2-8] [MQTT-3.3.2-9] [MQTT-3.3.2-11]
        let slot = usize::from(alias)
            .checked_sub(1)
            .and_then(|at| self.slots.get_mut(at))
            .ok_or(ReasonCode::TopicAliasInvalid)?;
        if !topic.is_empty() {
            slot.set(topic);
            return Ok(topic);
        }
        match slot.state {
            SlotState::Empty => Err(ReasonCode::ProtocolError),
            SlotState::TooLong => Err(ReasonCode::ImplementationSpecificError),
            SlotState::Set => {
                core::str::from_utf8(slot.bytes()).map_err(|_| ReasonCode::UnspecifiedError)
            }
        }
    }

    /// Forgets all: the network connection has ended [MQTT-3.3.2-7].
    pub fn clear(&mut self) {
        self.slots = [Slot::EMPTY; N];
    }
}

impl<const N: usize, const LEN: usize> Default for IncomingTopicAliases<N, LEN> {
    fn default() -> Self {
        Self::new()
    }
}

/// How to send a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutgoingAlias {
    /// With its name and no alias.
    None,
    /// With its name and this alias, which stands for it from now on.
    New(u16),
    /// With an empty name and this alias.
    Known(u16),
}

/// The aliases that this side set. A topic that is new takes the place of the one that was set
/// longest ago.
#[derive(Clone, Debug)]
pub struct OutgoingTopicAliases<const N: usize, const LEN: usize> {
    slots: [Slot<LEN>; N],
    /// How many may be used: the smaller of `N` and what the other side allows.
    maximum: usize,
    next: usize,
}

impl<const N: usize, const LEN: usize> OutgoingTopicAliases<N, LEN> {
    /// None set, and none may be, until [`Self::start`].
    pub const fn new() -> Self {
        Self { slots: [Slot::EMPTY; N], maximum: 0, next: 0 }
    }

    /// Forgets all and begins with a network connection whose other side allows aliases up to
    /// `topic_alias_maximum` [MQTT-3.3.2-9] [MQTT-3.3.2-11]; 0 or absent: none
    /// [MQTT-3.1.2-27] [MQTT-3.2.2-18].
    pub fn start(&mut self, topic_alias_maximum: Option<u16>) {
        *self = Self::new();
        self.maximum = usize::from(topic_alias_maximum.unwrap_or(0)).min(N).min(FIELD_BYTES_MAX);
    }

    /// How to send `topic`. What it says must be sent, as the other side keeps the same table.
    pub fn alias(&mut self, topic: &str) -> OutgoingAlias {
        if self.maximum == 0 || topic.is_empty() || topic.len() > LEN {
            return OutgoingAlias::None;
        }
        let is_topic =
            |slot: &Slot<LEN>| slot.state == SlotState::Set && slot.bytes() == topic.as_bytes();
        if let Some(at) = self.slots[..self.maximum].iter().position(is_topic) {
            return OutgoingAlias::Known(alias_at(at));
        }
        let at = self.next;
        self.next = (at + 1) % self.maximum;
        self.slots[at].set(topic);
        OutgoingAlias::New(alias_at(at))
    }
}

impl<const N: usize, const LEN: usize> Default for OutgoingTopicAliases<N, LEN> {
    fn default() -> Self {
        Self::new()
    }
}

/// Aliases begin with 1 [MQTT-3.3.2-8].
fn alias_at(at: usize) -> u16 {
    u16::try_from(at + 1).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [MQTT-3.3.2-8] [MQTT-3.3.2-10] [MQTT-3.3.2-12]
    #[test]
    fn incoming_aliases_stand_for_the_last_topic_they_were_set_to() {
        let mut aliases = IncomingTopicAliases::<2, 8>::new();
        assert_eq!(aliases.maximum(), 2);
        assert_eq!(aliases.resolve("a", None), Ok("a"));
        assert_eq!(aliases.resolve("", None), Err(ReasonCode::ProtocolError));
        assert_eq!(aliases.resolve("", Some(1)), Err(ReasonCode::ProtocolError), "not yet set");
        assert_eq!(aliases.resolve("a/b", Some(1)), Ok("a/b"));
        assert_eq!(aliases.resolve("é", Some(2)), Ok("é"));
        assert_eq!(aliases.resolve("", Some(1)), Ok("a/b"));
        assert_eq!(aliases.resolve("c", Some(1)), Ok("c"));
        assert_eq!(aliases.resolve("", Some(1)), Ok("c"));
        assert_eq!(aliases.resolve("", Some(2)), Ok("é"));
        for alias in [0, 3, u16::MAX] {
            let result = aliases.resolve("a", Some(alias));
            assert_eq!(result, Err(ReasonCode::TopicAliasInvalid));
        }
    }

    #[test]
    fn an_incoming_topic_too_long_to_keep_is_taken_once() {
        let mut aliases = IncomingTopicAliases::<1, 4>::new();
        assert_eq!(aliases.resolve("a/b", Some(1)), Ok("a/b"));
        assert_eq!(aliases.resolve("too/long", Some(1)), Ok("too/long"));
        let told = aliases.resolve("", Some(1));
        assert_eq!(told, Err(ReasonCode::ImplementationSpecificError), "and never as a/b");
    }

    /// [MQTT-3.3.2-7]
    #[test]
    fn aliases_end_with_the_connection() {
        let mut incoming = IncomingTopicAliases::<1, 4>::new();
        assert_eq!(incoming.resolve("a", Some(1)), Ok("a"));
        incoming.clear();
        assert_eq!(incoming.resolve("", Some(1)), Err(ReasonCode::ProtocolError));
        let mut outgoing = OutgoingTopicAliases::<2, 4>::new();
        outgoing.start(Some(2));
        assert_eq!(outgoing.alias("a"), OutgoingAlias::New(1));
        outgoing.start(Some(2));
        assert_eq!(outgoing.alias("a"), OutgoingAlias::New(1));
    }

    /// [MQTT-3.3.2-9] [MQTT-3.3.2-11] [MQTT-3.1.2-27] [MQTT-3.2.2-18]
    #[test]
    fn outgoing_aliases_keep_to_the_other_sides_maximum() {
        let mut aliases = OutgoingTopicAliases::<3, 8>::new();
        assert_eq!(aliases.alias("a"), OutgoingAlias::None, "before the connection");
        aliases.start(None);
        assert_eq!(aliases.alias("a"), OutgoingAlias::None);
        aliases.start(Some(2));
        assert_eq!(aliases.alias("a"), OutgoingAlias::New(1));
        assert_eq!(aliases.alias("a"), OutgoingAlias::Known(1));
        assert_eq!(aliases.alias("b"), OutgoingAlias::New(2));
        assert_eq!(aliases.alias("c"), OutgoingAlias::New(1), "the oldest makes room");
        assert_eq!(aliases.alias("a"), OutgoingAlias::New(2));
        assert_eq!(aliases.alias("c"), OutgoingAlias::Known(1));
        assert_eq!(aliases.alias("too long for it"), OutgoingAlias::None);
        aliases.start(Some(u16::MAX));
        for (topic, alias) in [("a", 1), ("b", 2), ("c", 3), ("d", 1)] {
            assert_eq!(aliases.alias(topic), OutgoingAlias::New(alias));
        }
    }
}
