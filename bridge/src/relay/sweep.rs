//! The sweep: releasing the packet identifiers of exchanges that one broker has forgotten.
//!
//! Where one broker has lost its session and the other has not, the one that has not may still hold
//! identifiers of QoS 2 messages as received and not released. A new message that gets such an
//! identifier would be taken for a repetition, and be lost. So before any message goes that way, the
//! relay sends PUBREL for every identifier and swallows the answers. Nothing can be lost by it: who
//! would have released them is gone, and a broker that delivers on PUBREL delivers now.
//!
//! 65,535 packets of 4 bytes, a portion at a time. While it lasts, the end with the new session is
//! not read, so that every PUBCOMP from the swept end is an answer to the sweep.

use outpost_protocol::{Packet, PacketId, Properties, PubRel, ReasonCode};

use super::{Notice, Relay, protocol_error, put};
use crate::handshake::Peer;
use crate::link_error::LinkError;
use crate::mapping::Mapping;
use crate::output::Outputs;
use crate::side::{PerSide, Side};

/// PUBRELs without an answer: 16 KiB.
const OUTSTANDING_MAX: u32 = 4096;

/// The end that has to be swept: it kept its session, the other end did not, and QoS 2 messages may
/// go to it.
pub fn needed(mapping: &Mapping, peers: &PerSide<Peer>) -> Option<Side> {
    Side::BOTH.into_iter().find(|&side| {
        let other = side.other();
        let orphaned = peers[side].session_present && !peers[other].session_present;
        orphaned && mapping.has_exactly_once(other)
    })
}

/// A sweep under way.
#[derive(Debug)]
pub(super) struct Sweep {
    side: Side,
    /// Identifiers up to this one are sent.
    sent: u16,
    outstanding: u32,
    progress_ms: u64,
}

impl Sweep {
    pub(super) fn new(side: Side, now_ms: u64) -> Self {
        Self { side, sent: 0, outstanding: 0, progress_ms: now_ms }
    }

    pub(super) fn side(&self) -> Side {
        self.side
    }

    pub(super) fn progress_ms(&self) -> u64 {
        self.progress_ms
    }
}

impl Relay {
    /// The end that is being swept.
    pub fn sweeping(&self) -> Option<Side> {
        self.sweep.as_ref().map(Sweep::side)
    }

    pub(super) fn is_swept(&self, side: Side) -> bool {
        self.sweeping() == Some(side)
    }

    /// Sends the next portion, once half of the last one is answered.
    pub(super) fn sweep_more(&mut self, out: &mut Outputs) {
        let Some(sweep) = &mut self.sweep else { return };
        if sweep.outstanding > OUTSTANDING_MAX / 2 {
            return;
        }
        while sweep.outstanding < OUTSTANDING_MAX
            && let Some(packet_id) = sweep.sent.checked_add(1).and_then(PacketId::new)
        {
            let (reason, properties) = (ReasonCode::Success, Properties::EMPTY);
            let release = Packet::PubRel(PubRel { packet_id, reason, properties });
            put(release, &self.peers[sweep.side], &mut out[sweep.side]);
            sweep.sent = packet_id.value();
            sweep.outstanding += 1;
        }
    }

    /// PUBCOMP from the end that is being swept.
    pub(super) fn handle_swept(
        &mut self,
        from: Side,
        now_ms: u64,
        out: &mut Outputs,
    ) -> Result<(), LinkError> {
        let Some(sweep) = &mut self.sweep else { return Ok(()) };
        sweep.progress_ms = now_ms;
        sweep.outstanding = sweep
            .outstanding
            .checked_sub(1)
            .ok_or_else(|| protocol_error(from, "PUBCOMP that was not asked for"))?;
        self.sweep_more(out);
        if self.sweep.as_ref().is_some_and(|sweep| sweep.outstanding == 0) {
            self.sweep = None;
            self.notices.push(Notice::Swept(from));
        }
        Ok(())
    }
}
