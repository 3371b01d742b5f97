//! Mistakes that the simulation plants into the core, to prove that it would find them. Without the
//! feature `seeded-bugs` there is no way to plant one, and the compiler takes every trace of them out.

use super::Broker;

/// A known mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// PUBACK and PUBREC do not wait for the commit.
    AckBeforeCommit,
    /// A restart forgets where the messages of a subscription go.
    ForgottenRoute,
    /// A message gets a packet identifier that is in flight.
    PacketIdReused,
    /// PUBREL leaves before it is durable that PUBREC came.
    LostPubRel,
    /// A message is done when one of its receivers has not acknowledged it.
    EarlyElision,
    /// What a member of a shared subscription leaves behind goes to nobody.
    DroppedShare,
}

impl Broker {
    /// Plants a mistake.
    #[cfg(feature = "seeded-bugs")]
    pub fn plant(&mut self, bug: Option<Bug>) {
        self.bug = bug;
    }

    #[cfg(feature = "seeded-bugs")]
    pub(super) fn has_bug(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    #[cfg(not(feature = "seeded-bugs"))]
    pub(super) const fn has_bug(&self, _bug: Bug) -> bool {
        false
    }
}
