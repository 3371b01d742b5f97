//! JSON: strings, and other people's JSON with its white space put in order.

use serde::de::IgnoredAny;

/// Appends a string with its quotes.
pub(super) fn put_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            c if c < ' ' => out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes()),
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

/// Appends bytes: as a string where they are UTF-8, else as an array of numbers.
pub(super) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    match str::from_utf8(bytes) {
        Ok(text) => put_string(text, out),
        Err(_) => {
            let numbers: Vec<_> = bytes.iter().map(u8::to_string).collect();
            out.extend_from_slice(format!("[{}]", numbers.join(",")).as_bytes());
        }
    }
}

/// Whether this is one JSON value (nested at most 128 deep) and nothing else.
pub(super) fn is_valid(json: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(json).is_ok()
}

/// Appends valid JSON without white space. Numbers and strings stay as they are written.
pub(super) fn put_compact(json: &[u8], out: &mut Vec<u8>) {
    let mut strings = Strings::default();
    out.extend(json.iter().filter(|&&byte| strings.is_inside(byte) || !is_space(byte)));
}

/// Appends compact JSON on many lines, two spaces to a level.
pub(super) fn put_pretty(compact: &[u8], out: &mut Vec<u8>) {
    let mut strings = Strings::default();
    let mut level = 0;
    let mut last = 0;
    for &byte in compact {
        if strings.is_inside(byte) {
            break_after(last, level, out);
            out.push(byte);
        } else if matches!(byte, b'}' | b']') {
            level -= 1;
            if !matches!(last, b'{' | b'[') {
                put_line(level, out);
            }
            out.push(byte);
        } else {
            break_after(last, level, out);
            out.push(byte);
            level += usize::from(matches!(byte, b'{' | b'['));
        }
        // What stands in a string opens and closes nothing.
        last = if strings.is_open() { b'"' } else { byte };
        if byte == b':' && !strings.is_open() {
            out.push(b' ');
        }
    }
}

/// A new line where the last byte asks for one.
fn break_after(last: u8, level: usize, out: &mut Vec<u8>) {
    if matches!(last, b'{' | b'[' | b',') {
        put_line(level, out);
    }
}

fn put_line(level: usize, out: &mut Vec<u8>) {
    out.push(b'\n');
    out.extend(std::iter::repeat_n(b' ', 2 * level));
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Tells bytes in strings from those between them.
#[derive(Default)]
struct Strings {
    open: bool,
    escaped: bool,
}

impl Strings {
    /// Whether the next byte belongs to a string; its quotes do.
    fn is_inside(&mut self, byte: u8) -> bool {
        let was_open = self.open;
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.open => self.escaped = true,
            b'"' => self.open = !self.open,
            _ => {}
        }
        was_open || self.open
    }

    fn is_open(&self) -> bool {
        self.open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(put: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        put(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn strings_are_escaped() {
        let escaped = text(|out| put_string("a\"\\\n\r\t\u{1}é", out));
        assert_eq!(escaped, r#""a\"\\\n\r\t\u0001é""#);
        assert_eq!(text(|out| put_bytes(b"\x00\xff", out)), "[0,255]");
        assert_eq!(text(|out| put_bytes(b"ok", out)), r#""ok""#);
    }

    #[test]
    fn validity() {
        for json in ["1", "null", " {\"a\": [1.50, \"\\u0041\"]} "] {
            assert!(is_valid(json.as_bytes()), "{json}");
        }
        for json in ["", "hello", "{\"a\":}", "1 2", "\"\u{1}\""] {
            assert!(!is_valid(json.as_bytes()), "{json}");
        }
        assert!(!is_valid("[".repeat(100_000).as_bytes()), "too deep, not a stack overflow");
    }

    #[test]
    fn white_space_goes_and_numbers_stay() {
        let json = b" {\"a b\" :\t[ 1.50 , 1e3,\"x \\\" {\" ] ,\n\"\": { } } ";
        let compact = text(|out| put_compact(json, out));
        assert_eq!(compact, r#"{"a b":[1.50,1e3,"x \" {"],"":{}}"#);
        let pretty = text(|out| put_pretty(compact.as_bytes(), out));
        let expected =
            "{\n  \"a b\": [\n    1.50,\n    1e3,\n    \"x \\\" {\"\n  ],\n  \"\": {}\n}";
        assert_eq!(pretty, expected);
    }
}
