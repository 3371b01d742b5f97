//! The scalars of the file: whole numbers, and sizes that may carry a unit. They know no ranges;
//! those belong to the keys.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};

/// The units of a size, largest first.
const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// A whole number of any size, so that a number out of range is told by its range and not by the
/// type that would hold it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Int(pub(super) i128);

impl<'de> Deserialize<'de> for Int {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IntVisitor).map(Self)
    }
}

struct IntVisitor;

impl Visitor<'_> for IntVisitor {
    type Value = i128;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number")
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<i128, E> {
        Ok(value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<i128, E> {
        Ok(value.into())
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<i128, E> {
        Ok(value)
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<i128, E> {
        Ok(i128::try_from(value).unwrap_or(i128::MAX))
    }
}

/// A number of bytes: a whole number, or a string such as `"8 MiB"`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes(pub(super) i128);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BytesVisitor).map(Self)
    }
}

const BYTES_EXPECTED: &str = "a number of bytes, such as 8388608 or \"8 MiB\" (B, KiB, MiB, GiB)";

struct BytesVisitor;

impl Visitor<'_> for BytesVisitor {
    type Value = i128;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(BYTES_EXPECTED)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<i128, E> {
        Ok(value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<i128, E> {
        Ok(value.into())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<i128, E> {
        parse_bytes(text)
            .map(i128::from)
            .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// A size with the largest unit that divides it: `8 MiB`, `1000 B`.
pub(super) struct ShowBytes(pub(super) u64);

impl fmt::Display for ShowBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |factor: &u64| self.0 != 0 && self.0.is_multiple_of(*factor);
        let (unit, factor) = UNITS.iter().find(|(_, factor)| fits(factor)).unwrap_or(&UNITS[3]);
        write!(f, "{} {unit}", self.0 / factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_with_units() {
        assert_eq!(parse_bytes("8 MiB"), Some(8 << 20));
        assert_eq!(parse_bytes("8MiB"), Some(8 << 20));
        assert_eq!(parse_bytes("1 GiB"), Some(1 << 30));
        assert_eq!(parse_bytes("512 KiB"), Some(512 << 10));
        assert_eq!(parse_bytes("7 B"), Some(7));
    }

    #[test]
    fn what_is_no_size() {
        for text in ["", "8", "MiB", "8 MB", "8 mib", "-1 B", "1.5 MiB", "8 MiB x", "1e3 B"] {
            assert_eq!(parse_bytes(text), None, "{text:?}");
        }
        assert_eq!(parse_bytes("18446744073709551615 GiB"), None, "overflow");
        assert_eq!(parse_bytes("99999999999999999999 B"), None, "overflow");
    }

    #[test]
    fn sizes_are_shown_with_the_largest_whole_unit() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1000, "1000 B"),
            (1024, "1 KiB"),
            (8 << 20, "8 MiB"),
            (1 << 40, "1024 GiB"),
        ] {
            assert_eq!(ShowBytes(bytes).to_string(), shown);
        }
    }
}
