//! Packet identifiers.

use core::num::NonZeroU16;

/// A packet identifier: 1 to 65,535, never 0 [MQTT-2.2.1-3] [MQTT-2.2.1-4].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketId(NonZeroU16);

impl PacketId {
    /// The lowest one.
    pub const MIN: Self = Self(NonZeroU16::MIN);

    /// None where `value` is 0.
    #[inline]
    pub const fn new(value: u16) -> Option<Self> {
        match NonZeroU16::new(value) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// The number.
    #[inline]
    pub const fn value(self) -> u16 {
        self.0.get()
    }

    /// The one after it; 1 after 65,535.
    #[must_use]
    pub const fn next(self) -> Self {
        match self.0.checked_add(1) {
            Some(value) => Self(value),
            None => Self::MIN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [MQTT-2.2.1-3] [MQTT-2.2.1-4]
    #[test]
    fn it_is_never_0() {
        assert_eq!(PacketId::new(0), None);
        let last = PacketId::new(65_535).expect("it is not 0");
        assert_eq!(last.next(), PacketId::MIN);
        assert_eq!(PacketId::MIN.next().value(), 2);
    }
}
