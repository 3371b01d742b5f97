//! The messages in flight: every PUBLISH of QoS 1 and 2, from the request until its end.
//!
//! The encoded packets lie one behind the other in a ring of bytes that the caller owns, in the
//! order in which they were published. They are written straight from there, as often as needed: on
//! a new connection once more, with the DUP flag set in place [MQTT-3.3.1-1]. A PUBREC turns the
//! PUBLISH into its PUBREL, in place as well, so that what lies in the ring is always exactly what
//! a new connection has to send, in its order [MQTT-4.4.0-1], [MQTT-4.6.0-1].
//!
//! Space is given back from the front, so one message that is not acknowledged holds the space of
//! those behind it.

use crate::{
    Ack, Buffer, BufferFull, PacketId, ProtocolVersion, PubRel, Publish, QoS, ReasonCode,
    SendState, SendStep,
};

use super::event::{Outcome, Published};
use super::records::Records;
use super::{RequestError, Terms};

const DUP: u8 = 0x08;
const RETAIN: u8 = 0x01;
/// PUBREL in its short form, which all versions share.
const PUBREL_LEN: usize = 4;

#[derive(Debug)]
pub(super) struct Retained<R, const N: usize> {
    ring: Ring<R>,
    records: Records<Record, N>,
    /// The first `carried` records have been written to this connection as a whole.
    carried: usize,
    /// How many bytes of the next record have been written to it.
    written: usize,
    /// How many records are ended and wait to be told to the caller.
    ended: usize,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    packet_id: PacketId,
    state: SendState,
    token: u32,
    start: usize,
    len: usize,
    /// Whether some of it may have reached the server before.
    attempted: bool,
    /// Whether its PUBLISH has used up some of this connection's send quota.
    counted: bool,
    /// The end of a message that the server did not end by an acknowledgement.
    end: Option<Outcome>,
}

impl Record {
    fn is_publish(&self) -> bool {
        self.state != SendState::AwaitPubComp
    }

    fn published(&self, outcome: Outcome) -> Published {
        Published { packet_id: self.packet_id, token: self.token, outcome }
    }
}

/// What an acknowledgement led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AckStep {
    /// `counted`: its part of the send quota is free again.
    Done {
        published: Published,
        counted: bool,
    },
    SendPubRel,
    /// It is about a packet that this connection has not carried (yet): one of an earlier
    /// connection that is going to be sent again, and acknowledged again.
    Early,
    Unknown,
}

impl<R: AsRef<[u8]> + AsMut<[u8]>, const N: usize> Retained<R, N> {
    pub(super) const fn new(bytes: R) -> Self {
        Self { ring: Ring(bytes), records: Records::new(), carried: 0, written: 0, ended: 0 }
    }

    pub(super) fn into_bytes(self) -> R {
        self.ring.0
    }

    pub(super) const fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn contains(&self, packet_id: PacketId) -> bool {
        self.position(packet_id).is_some()
    }

    /// Whether a packet has been written in part, so that no other may come in between.
    pub(super) const fn is_within_packet(&self) -> bool {
        self.written > 0
    }

    pub(super) fn push(
        &mut self,
        publish: &Publish<'_>,
        version: ProtocolVersion,
        token: u32,
    ) -> Result<(), RequestError> {
        let (Some(packet_id), Some(state)) = (publish.packet_id, SendState::first(publish.qos))
        else {
            return Err(RequestError::QoSNotSupported);
        };
        let len = publish.encoded_len(version).map_err(|BufferFull| RequestError::TooLarge)?;
        if len > self.ring.capacity() {
            return Err(RequestError::TooLarge);
        }
        let (start, room) = self.free();
        if self.records.is_full() || len > room {
            return Err(RequestError::Full);
        }
        publish
            .encode(version, &mut self.ring.writer(start, len))
            .map_err(|BufferFull| RequestError::TooLarge)?;
        let record = Record {
            packet_id,
            state,
            token,
            start,
            len,
            attempted: false,
            counted: false,
            end: None,
        };
        self.records.push(record);
        Ok(())
    }

    /// Where the free part of the ring starts, and how long it is.
    fn free(&self) -> (usize, usize) {
        let capacity = self.ring.capacity();
        let (Some(first), Some(last)) = (self.records.get(0), self.records.last()) else {
            return (0, capacity);
        };
        let used = (last.start + capacity - first.start) % capacity + last.len;
        ((last.start + last.len) % capacity, capacity - used)
    }

    /// The bytes to be written next: as many packets as lie contiguous, with at most `quota`
    /// PUBLISH among them. All of them count as attempted from now on.
    pub(super) fn output(&mut self, quota: u16) -> &[u8] {
        self.skip_ended();
        let Some(first) = self.records.get(self.carried) else { return &[] };
        let capacity = self.ring.capacity();
        let start = (first.start + self.written) % capacity;
        let mut end = start;
        let mut quota = quota;
        let mut index = self.carried;
        let mut written = self.written;
        while let Some(record) = self.records.get_mut(index) {
            let is_next = record.end.is_none() && (record.start + written) % capacity == end;
            if !is_next || end >= capacity || (record.is_publish() && quota == 0) {
                break;
            }
            quota -= u16::from(record.is_publish());
            record.attempted = true;
            end += record.len - written;
            written = 0;
            index += 1;
        }
        self.ring.bytes(start, end.min(capacity))
    }

    /// The rest of a packet that has been written in part.
    pub(super) fn rest_of_packet(&self) -> &[u8] {
        let Some(record) = self.records.get(self.carried) else { return &[] };
        if self.written == 0 {
            return &[];
        }
        let capacity = self.ring.capacity();
        let start = (record.start + self.written) % capacity;
        self.ring.bytes(start, (start + record.len - self.written).min(capacity))
    }

    /// Notes that `len` bytes of what `output` gave have been written. Says how many PUBLISH have
    /// come to their end by that.
    pub(super) fn advance(&mut self, len: usize) -> u16 {
        let mut left = len;
        let mut publishes = 0;
        while left > 0 {
            self.skip_ended();
            let record = self.records.get_mut(self.carried);
            let record = record.expect("more bytes reported as written than were given");
            let missing = record.len - self.written;
            if left < missing {
                self.written += left;
                break;
            }
            record.counted = record.is_publish();
            publishes += u16::from(record.counted);
            left -= missing;
            self.written = 0;
            self.carried += 1;
        }
        publishes
    }

    fn skip_ended(&mut self) {
        while self.records.get(self.carried).is_some_and(|record| record.end.is_some()) {
            self.carried += 1;
        }
    }

    /// # Errors
    /// The reason code of a protocol error: an acknowledgement of the wrong kind.
    pub(super) fn handle_ack(
        &mut self,
        packet_id: PacketId,
        ack: Ack,
        reason: ReasonCode,
    ) -> Result<AckStep, ReasonCode> {
        let Some(index) = self.position(packet_id) else { return Ok(AckStep::Unknown) };
        let is_carried = index < self.carried;
        let Some(record) = self.records.get_mut(index) else { return Ok(AckStep::Unknown) };
        if record.end.is_some() {
            return Ok(AckStep::Unknown);
        }
        if !is_carried {
            return Ok(AckStep::Early);
        }
        match record.state.handle(ack, reason)? {
            SendStep::Done => {
                let published = record.published(Outcome::Acknowledged(reason));
                let counted = record.counted;
                self.remove(index);
                Ok(AckStep::Done { published, counted })
            }
            SendStep::SendPubRel => {
                self.turn_into_pubrel(index);
                Ok(AckStep::SendPubRel)
            }
        }
    }

    fn turn_into_pubrel(&mut self, index: usize) {
        let Some(record) = self.records.get_mut(index) else { return };
        record.len = PUBREL_LEN;
        let pubrel = PubRel::success(record.packet_id);
        let written =
            pubrel.encode(ProtocolVersion::V311, &mut self.ring.writer(record.start, PUBREL_LEN));
        assert!(written.is_ok(), "a PUBLISH is always longer than its PUBREL");
    }

    /// The connection has ended; the next one carries nothing yet.
    pub(super) fn stop(&mut self) {
        self.carried = 0;
        self.written = 0;
    }

    /// A connection begins: all is to be sent again, as far as its server takes it.
    pub(super) fn restart(&mut self, session_present: bool, terms: &Terms) {
        self.stop();
        for index in 0..self.records.len() {
            let Some(record) = self.records.get_mut(index) else { break };
            if record.end.is_some() {
                continue;
            }
            record.counted = false;
            record.end = match record.state {
                SendState::AwaitPubComp if session_present => None,
                SendState::AwaitPubComp => Some(Outcome::SessionLost),
                SendState::AwaitPubAck | SendState::AwaitPubRec => {
                    let first = self.ring.byte_mut(record.start);
                    record.attempted &= session_present;
                    *first = if record.attempted { *first | DUP } else { *first & !DUP };
                    refusal(*first, record.len, terms)
                }
            };
            self.ended += usize::from(record.end.is_some());
        }
    }

    /// The next message that came to its end without an acknowledgement.
    pub(super) fn take_ended(&mut self) -> Option<Published> {
        if self.ended == 0 {
            return None;
        }
        let index = self.records.iter().position(|record| record.end.is_some())?;
        let record = self.remove(index)?;
        self.ended -= 1;
        record.end.map(|outcome| record.published(outcome))
    }

    fn remove(&mut self, index: usize) -> Option<Record> {
        let record = self.records.remove(index)?;
        self.carried -= usize::from(index < self.carried);
        Some(record)
    }

    fn position(&self, packet_id: PacketId) -> Option<usize> {
        self.records.iter().position(|record| record.packet_id == packet_id)
    }
}

/// Why a server with these terms would not take this PUBLISH.
fn refusal(first_byte: u8, len: usize, terms: &Terms) -> Option<Outcome> {
    let is_exactly_once = first_byte & 0x06 == (QoS::ExactlyOnce as u8) << 1;
    if len as u64 > u64::from(terms.maximum_packet_size) {
        Some(Outcome::NotSupported(ReasonCode::PacketTooLarge))
    } else if terms.maximum_qos == QoS::AtMostOnce
        || (is_exactly_once && terms.maximum_qos < QoS::ExactlyOnce)
    {
        Some(Outcome::NotSupported(ReasonCode::QoSNotSupported))
    } else if first_byte & RETAIN != 0 && !terms.retain_available {
        Some(Outcome::NotSupported(ReasonCode::RetainNotSupported))
    } else {
        None
    }
}

/// Bytes whose end is followed by their beginning.
#[derive(Debug)]
struct Ring<R>(R);

impl<R: AsRef<[u8]> + AsMut<[u8]>> Ring<R> {
    fn capacity(&self) -> usize {
        self.0.as_ref().len()
    }

    fn bytes(&self, start: usize, end: usize) -> &[u8] {
        &self.0.as_ref()[start..end]
    }

    fn byte_mut(&mut self, index: usize) -> &mut u8 {
        &mut self.0.as_mut()[index]
    }

    fn writer(&mut self, start: usize, len: usize) -> RingWriter<'_> {
        RingWriter { bytes: self.0.as_mut(), at: start, room: len }
    }
}

/// Writes up to `room` bytes into a ring.
struct RingWriter<'a> {
    bytes: &'a mut [u8],
    at: usize,
    room: usize,
}

impl Buffer for RingWriter<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), BufferFull> {
        self.room = self.room.checked_sub(bytes.len()).ok_or(BufferFull)?;
        let to_end = bytes.len().min(self.bytes.len() - self.at);
        let (head, tail) = bytes.split_at(to_end);
        self.bytes[self.at..self.at + head.len()].copy_from_slice(head);
        self.bytes[..tail.len()].copy_from_slice(tail);
        self.at = (self.at + bytes.len()) % self.bytes.len();
        Ok(())
    }
}
