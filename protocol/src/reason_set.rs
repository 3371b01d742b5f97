//! Which reason codes a packet may carry, and the lists of them in SUBACK and UNSUBACK.

use core::fmt;

use crate::reason_code::ReasonCode;

/// A set of reason codes: those that one kind of packet may carry.
#[derive(Clone, Copy)]
pub(crate) struct ReasonSet {
    /// Bit n: code n.
    below_0x20: u32,
    /// Bit n: code 0x80 + n.
    from_0x80: u64,
}

impl ReasonSet {
    pub(crate) const fn of(codes: &[u8]) -> Self {
        let mut set = Self { below_0x20: 0, from_0x80: 0 };
        let mut i = 0;
        while i < codes.len() {
            match codes[i] {
                code @ 0..0x20 => set.below_0x20 |= 1 << code,
                code => set.from_0x80 |= 1 << (code - 0x80),
            }
            i += 1;
        }
        set
    }

    #[inline]
    pub(crate) const fn contains(self, code: u8) -> bool {
        match code {
            0..0x20 => self.below_0x20 & 1 << code != 0,
            0x80..0xC0 => self.from_0x80 & 1 << (code - 0x80) != 0,
            _ => false,
        }
    }

    /// The code, where it is in the set.
    #[inline]
    pub(crate) fn get(self, code: u8) -> Option<ReasonCode> {
        if self.contains(code) { ReasonCode::try_from(code).ok() } else { None }
    }
}

/// The reason codes of a SUBACK or UNSUBACK, one for each topic filter, in their order
/// [MQTT-3.9.3-1] [MQTT-3.11.3-1]. Equal where the codes are.
#[derive(Clone, Copy)]
pub enum ReasonCodes<'a> {
    /// To be encoded.
    List(&'a [ReasonCode]),
    /// As they came.
    Wire(WireReasonCodes<'a>),
}

/// Checked reason codes in wire form. Only decoding makes them.
#[derive(Clone, Copy)]
pub struct WireReasonCodes<'a>(&'a [u8]);

impl<'a> WireReasonCodes<'a> {
    /// None where one of the codes is not in `set`.
    pub(crate) fn new(bytes: &'a [u8], set: ReasonSet) -> Option<Self> {
        bytes.iter().all(|code| set.contains(*code)).then_some(Self(bytes))
    }
}

impl<'a> ReasonCodes<'a> {
    /// The codes, in order.
    pub fn iter(&self) -> ReasonCodesIter<'a> {
        ReasonCodesIter(*self)
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        match self {
            Self::List(list) => list.len(),
            Self::Wire(wire) => wire.0.len(),
        }
    }

    /// Whether there are none: in an UNSUBACK of 3.1 and 3.1.1, which has no codes.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl PartialEq for ReasonCodes<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for ReasonCodes<'_> {}

impl fmt::Debug for ReasonCodes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Goes through [`ReasonCodes`].
pub struct ReasonCodesIter<'a>(ReasonCodes<'a>);

impl Iterator for ReasonCodesIter<'_> {
    type Item = ReasonCode;

    fn next(&mut self) -> Option<ReasonCode> {
        match &mut self.0 {
            ReasonCodes::List(list) => {
                let (first, rest) = list.split_first()?;
                *list = rest;
                Some(*first)
            }
            ReasonCodes::Wire(wire) => {
                let (first, rest) = wire.0.split_first()?;
                wire.0 = rest;
                ReasonCode::try_from(*first).ok()
            }
        }
    }
}
