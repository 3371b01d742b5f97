//! The data types of the wire (1.5): integers, strings, binary data, variable byte integers.
//!
//! Public here: what writes them. What reads them stays inside the crate, as only whole packets
//! are checked.

use crate::MAX_REMAINING_LENGTH;
use crate::encode::Buffer;
use crate::error::BufferFull;

/// The longest string or binary field: its length prefix has two bytes (1.5.4, 1.5.6).
pub const FIELD_BYTES_MAX: usize = 65_535;

/// How many bytes `value` has as a variable byte integer: 1 to 4. `value` is at most
/// [`MAX_REMAINING_LENGTH`].
#[inline]
pub const fn var_int_len(value: u32) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// The bytes of a variable byte integer, and how many they are: the fewest that do
/// [MQTT-1.5.5-1].
#[inline]
pub(crate) const fn var_int_bytes(value: u32) -> ([u8; 4], usize) {
    let len = var_int_len(value);
    let mut bytes = [0; 4];
    let mut i = 0;
    while i < len {
        let more = if i + 1 < len { 0x80 } else { 0 };
        bytes[i] = (value >> (7 * i)) as u8 & 0x7F | more;
        i += 1;
    }
    (bytes, len)
}

/// Writes a variable byte integer.
///
/// # Errors
/// [`BufferFull`] where `value` is above [`MAX_REMAINING_LENGTH`], or `out` is full.
pub fn put_var_int<B: Buffer>(value: u32, out: &mut B) -> Result<(), BufferFull> {
    if value > MAX_REMAINING_LENGTH {
        return Err(BufferFull);
    }
    let (bytes, len) = var_int_bytes(value);
    out.put(&bytes[..len])
}

/// Writes one byte.
///
/// # Errors
/// [`BufferFull`] where `out` is full.
pub fn put_u8<B: Buffer>(value: u8, out: &mut B) -> Result<(), BufferFull> {
    out.put(&[value])
}

/// Writes a two byte integer.
///
/// # Errors
/// [`BufferFull`] where `out` is full.
pub fn put_u16<B: Buffer>(value: u16, out: &mut B) -> Result<(), BufferFull> {
    out.put(&value.to_be_bytes())
}

/// Writes a four byte integer.
///
/// # Errors
/// [`BufferFull`] where `out` is full.
pub fn put_u32<B: Buffer>(value: u32, out: &mut B) -> Result<(), BufferFull> {
    out.put(&value.to_be_bytes())
}

/// Writes a UTF-8 encoded string with its length in front.
///
/// # Errors
/// [`BufferFull`] where it is longer than [`FIELD_BYTES_MAX`], or `out` is full.
#[inline]
pub fn put_string<B: Buffer>(text: &str, out: &mut B) -> Result<(), BufferFull> {
    put_binary(text.as_bytes(), out)
}

/// Writes binary data with its length in front.
///
/// # Errors
/// [`BufferFull`] where it is longer than [`FIELD_BYTES_MAX`], or `out` is full.
#[inline]
pub fn put_binary<B: Buffer>(bytes: &[u8], out: &mut B) -> Result<(), BufferFull> {
    let len = u16::try_from(bytes.len()).map_err(|_| BufferFull)?;
    out.put(&len.to_be_bytes())?;
    out.put(bytes)
}

/// Reads a variable byte integer from the start of `input`.
pub(crate) enum VarInt {
    /// Its value, and how many bytes it has.
    Value(u32, usize),
    /// The input ends before it does.
    Incomplete,
    /// It has more than four bytes, or more bytes than it needs [MQTT-1.5.5-1].
    Malformed,
}

#[inline]
pub(crate) fn var_int(input: &[u8]) -> VarInt {
    match input {
        [byte, ..] if *byte < 0x80 => VarInt::Value(u32::from(*byte), 1),
        _ => long_var_int(input),
    }
}

fn long_var_int(input: &[u8]) -> VarInt {
    let mut value = 0;
    for (i, byte) in input.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * i);
        if byte & 0x80 == 0 {
            let is_minimal = *byte != 0 || i == 0;
            return if is_minimal { VarInt::Value(value, i + 1) } else { VarInt::Malformed };
        }
    }
    if input.len() < 4 { VarInt::Incomplete } else { VarInt::Malformed }
}

/// Takes fields off the front of a packet's body. None: the body ends too early.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What is left.
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(crate) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(bytes)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*bytes)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// None also where it is not minimal or longer than four bytes [MQTT-1.5.5-1].
    #[inline]
    pub(crate) fn var_int(&mut self) -> Option<u32> {
        let VarInt::Value(value, len) = var_int(self.rest) else { return None };
        self.rest = &self.rest[len..];
        Some(value)
    }

    #[inline]
    pub(crate) fn binary(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.bytes(usize::from(len))
    }

    /// None also where it is not a string that may be on the wire, see [`text`].
    #[inline]
    pub(crate) fn string(&mut self) -> Option<&'a str> {
        text(self.binary()?)
    }
}

/// The text of a UTF-8 encoded string: well-formed [MQTT-1.5.4-1], without U+0000 [MQTT-1.5.4-2].
///
/// Control characters (U+0001 to U+001F, U+007F to U+009F) and non-characters are refused as well:
/// both versions say that they SHOULD NOT be there and that a receiver MAY treat them as malformed
/// (1.5.4; 3.1.1: 1.5.3), Mosquitto does, and it keeps them out of logs. U+FEFF is text like any
/// other and stays [MQTT-1.5.4-3].
#[inline]
pub(crate) fn text(bytes: &[u8]) -> Option<&str> {
    let text = core::str::from_utf8(bytes).ok()?;
    if is_plain_ascii(bytes) || text.chars().all(may_be_sent) { Some(text) } else { None }
}

/// Whether all bytes are printable ASCII: text that needs no closer look.
#[inline]
pub(crate) fn is_plain_ascii(bytes: &[u8]) -> bool {
    all_words(bytes, unprintable)
}

/// Whether all bytes are printable ASCII and none is `+` or `#`: together with not being empty, a
/// topic name that needs no closer look.
#[inline]
pub(crate) fn is_plain_topic(bytes: &[u8]) -> bool {
    all_words(bytes, |word| {
        unprintable(word) | zero_byte(word ^ every(b'+')) | zero_byte(word ^ every(b'#'))
    })
}

/// Whether `found` is 0 for all bytes, taken eight at a time. The last eight may overlap those
/// before them; fewer than eight are filled up with spaces.
#[inline]
fn all_words(bytes: &[u8], found: impl Fn(u64) -> u64) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut hits = 0;
    for word in words {
        hits |= found(u64::from_ne_bytes(*word));
    }
    if !rest.is_empty() {
        let last = bytes.last_chunk().copied().unwrap_or_else(|| {
            let mut word = [b' '; 8];
            word.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            word
        });
        hits |= found(u64::from_ne_bytes(last));
    }
    hits == 0
}

#[inline]
const fn every(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Not 0 where one of eight bytes is 0.
#[inline]
const fn zero_byte(word: u64) -> u64 {
    word.wrapping_sub(every(1)) & !word & every(0x80)
}

/// Not 0 where one of eight bytes is below 0x20 or above 0x7E.
#[inline]
const fn unprintable(word: u64) -> u64 {
    let below_0x20 = word.wrapping_sub(every(0x20)) & !word;
    let is_0x7f = word.wrapping_add(every(1));
    (below_0x20 | is_0x7f | word) & every(0x80)
}

fn may_be_sent(c: char) -> bool {
    let is_non_character = matches!(c, '\u{FDD0}'..='\u{FDEF}') || c as u32 & 0xFFFE == 0xFFFE;
    !c.is_control() && !is_non_character
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing::Bytes;

    fn written(value: u32) -> std::vec::Vec<u8> {
        let mut out = Bytes::default();
        put_var_int(value, &mut out).expect("it is not too large");
        out.0
    }

    /// The bounds of table 1-1 [MQTT-1.5.5-1].
    #[test]
    fn variable_byte_integers_are_minimal() {
        let table: [(u32, &[u8]); 8] = [
            (0, &[0]),
            (127, &[0x7F]),
            (128, &[0x80, 0x01]),
            (16_383, &[0xFF, 0x7F]),
            (16_384, &[0x80, 0x80, 0x01]),
            (2_097_151, &[0xFF, 0xFF, 0x7F]),
            (2_097_152, &[0x80, 0x80, 0x80, 0x01]),
            (268_435_455, &[0xFF, 0xFF, 0xFF, 0x7F]),
        ];
        for (value, bytes) in table {
            assert_eq!(written(value), bytes);
            assert_eq!(var_int_len(value), bytes.len());
            assert_eq!(Reader::new(bytes).var_int(), Some(value));
        }
        assert_eq!(put_var_int(268_435_456, &mut Bytes::default()), Err(BufferFull));
    }

    /// [MQTT-1.5.5-1]
    #[test]
    fn longer_forms_are_malformed_and_beginnings_incomplete() {
        for bytes in [&[0x80, 0][..], &[0xFF, 0x80, 0], &[0x80, 0x80, 0x80, 0x80, 1]] {
            assert!(matches!(var_int(bytes), VarInt::Malformed), "{bytes:02x?}");
        }
        for bytes in [&[][..], &[0x80], &[0x80, 0x80], &[0xFF, 0xFF, 0xFF]] {
            assert!(matches!(var_int(bytes), VarInt::Incomplete), "{bytes:02x?}");
        }
    }

    /// [MQTT-1.5.4-1] [MQTT-1.5.4-2]
    #[test]
    fn ill_formed_text_and_null_are_refused() {
        let surrogate = b"to\xED\xA0\x80";
        let overlong = b"to\xC0\xAFpic";
        let cut_off = b"to\xE2\x82";
        for bytes in [&surrogate[..], overlong, cut_off, b"to\0pic", b"\0"] {
            assert_eq!(text(bytes), None, "{bytes:02x?}");
        }
    }

    /// 1.5.4: what SHOULD NOT be there and MAY be treated as malformed.
    #[test]
    fn control_and_non_characters_are_refused() {
        for c in ['\u{1}', '\n', '\u{1F}', '\u{7F}', '\u{80}', '\u{9F}', '\u{FDD0}', '\u{FFFF}'] {
            let bytes = std::format!("long enough for whole words {c} of eight bytes");
            assert_eq!(text(bytes.as_bytes()), None, "{c:?}");
            assert_eq!(text(std::format!("{c}").as_bytes()), None, "{c:?}");
        }
        for c in [' ', '~', '\u{A0}', '\u{FDCF}', '\u{FFFD}', '\u{10000}'] {
            assert!(text(std::format!("{c}").as_bytes()).is_some(), "{c:?}");
        }
    }

    /// [MQTT-1.5.4-3]
    #[test]
    fn a_byte_order_mark_stays() {
        assert_eq!(text(b"\xEF\xBB\xBFa"), Some("\u{FEFF}a"));
    }

    /// The search by words of eight agrees with the plain one, for each byte at each place.
    #[test]
    fn plain_text_is_told_by_words() {
        for len in 1..20 {
            for at in 0..len {
                for byte in 0..=255 {
                    let mut bytes = std::vec![b'a'; len];
                    bytes[at] = byte;
                    let is_plain = (0x20..0x7F).contains(&byte);
                    assert_eq!(is_plain_ascii(&bytes), is_plain, "{byte:02x} at {at} of {len}");
                    let is_topic = is_plain && byte != b'+' && byte != b'#';
                    assert_eq!(is_plain_topic(&bytes), is_topic, "{byte:02x} at {at} of {len}");
                }
            }
        }
    }

    #[test]
    fn fields_longer_than_their_prefix_are_not_written() {
        let bytes = std::vec![b'a'; FIELD_BYTES_MAX + 1];
        let mut out = Bytes::default();
        assert_eq!(put_binary(&bytes, &mut out), Err(BufferFull));
        assert!(out.0.is_empty());
        assert_eq!(put_binary(&bytes[1..], &mut out), Ok(()));
        assert_eq!(out.0.len(), 2 + FIELD_BYTES_MAX);
    }
}
