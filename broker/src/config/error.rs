//! What is wrong with a configuration, in one line each: file, line, key, value, and what would be
//! right. The operator reads these lines, hence no Rust type names and no error codes in them.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A value is shown up to so many characters.
const VALUE_CHARS_MAX: usize = 60;

/// One thing that is wrong, shown as `gateway.toml:12: limits.receive_maximum = 0: must be 1 to 65535`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, as it was named to us.
    pub file: PathBuf,
    /// The line, from 1; none where the file as a whole is meant.
    pub line: Option<usize>,
    /// The key with its section, such as `limits.receive_maximum`.
    pub key: Option<String>,
    /// The value as the file has it, shortened; never a password.
    pub value: Option<String>,
    /// What is wrong, or what would be right.
    pub problem: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        match (&self.key, &self.value) {
            (Some(key), Some(value)) => write!(f, " {key} = {value}:")?,
            (Some(key), None) => write!(f, " {key}:")?,
            (None, _) => {}
        }
        write!(f, " {}", self.problem)
    }
}

impl std::error::Error for ConfigError {}

/// Everything that is wrong with a configuration: at least one error, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub(super) Vec<ConfigError>);

impl ConfigErrors {
    /// The errors, in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigError> {
        self.0.iter()
    }

    /// The lines of a file that are wrong, with what is wrong with each; none: all is well.
    pub(crate) fn of_lines(
        file: &Path,
        problems: impl IntoIterator<Item = (usize, String)>,
    ) -> Result<(), Self> {
        let error = |(line, problem)| ConfigError {
            file: file.to_owned(),
            line: Some(line),
            key: None,
            value: None,
            problem,
        };
        let errors: Vec<_> = problems.into_iter().map(error).collect();
        if errors.is_empty() { Ok(()) } else { Err(Self(errors)) }
    }

    /// The file cannot be read at all.
    pub(super) fn unreadable(file: &Path, error: &io::Error) -> Self {
        Self::of_file(file, format!("cannot be read: {}", io_reason(error)))
    }

    /// A file as a whole is wrong.
    pub(crate) fn of_file(file: &Path, problem: impl Into<String>) -> Self {
        Self(vec![ConfigError {
            file: file.to_owned(),
            line: None,
            key: None,
            value: None,
            problem: problem.into(),
        }])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.0.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Gathers what is wrong with one file while it is read.
pub(super) struct Report<'a> {
    file: &'a Path,
    text: &'a str,
    errors: Vec<ConfigError>,
}

impl<'a> Report<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str) -> Self {
        Self { file, text, errors: Vec::new() }
    }

    /// The value that stands at `span` is not right.
    pub(super) fn value(&mut self, key: &str, span: Range<usize>, problem: impl Into<String>) {
        let value = self.shown(key, &span);
        self.push(&span, Some(key), value, problem.into());
    }

    /// Something is wrong with the key or the section at `span`; no value belongs to it.
    pub(super) fn key(&mut self, key: &str, span: Range<usize>, problem: impl Into<String>) {
        self.push(&span, Some(key), None, problem.into());
    }

    /// The file is not TOML at `span`.
    pub(super) fn syntax(&mut self, span: Range<usize>, message: &str) {
        self.push(&span, None, None, format!("not valid TOML: {message}"));
    }

    /// Whether something is wrong with this key at `span` or after it.
    pub(super) fn has(&self, key: &str, span: &Range<usize>) -> bool {
        let line = self.line(span);
        let is_of = |error: &&ConfigError| error.key.as_deref() == Some(key);
        self.errors.iter().filter(is_of).any(|error| error.line >= Some(line))
    }

    /// How many errors there are by now.
    pub(super) fn len(&self) -> usize {
        self.errors.len()
    }

    /// The line of a place in the file, from 1.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    /// All of it, or nothing.
    pub(super) fn finish(self) -> Result<(), ConfigErrors> {
        if self.errors.is_empty() {
            return Ok(());
        }
        let mut errors = self.errors;
        errors.sort_by_key(|error| error.line);
        Err(ConfigErrors(errors))
    }

    fn push(
        &mut self,
        span: &Range<usize>,
        key: Option<&str>,
        value: Option<String>,
        problem: String,
    ) {
        self.errors.push(ConfigError {
            file: self.file.to_owned(),
            line: Some(self.line(span)),
            key: key.map(str::to_owned),
            value,
            problem,
        });
    }

    /// The value in the words of the file. Secrets stay in the file: errors end up in logs.
    fn shown(&self, key: &str, span: &Range<usize>) -> Option<String> {
        if is_secret(key) {
            return Some("(hidden)".to_owned());
        }
        let first_line = self.text.get(span.clone())?.lines().next()?;
        if first_line.chars().count() <= VALUE_CHARS_MAX {
            return Some(first_line.to_owned());
        }
        Some(first_line.chars().take(VALUE_CHARS_MAX).chain("...".chars()).collect())
    }
}

/// A proxy that is written as elsewhere, `http://user:password@host`, is a value of the wrong kind with a
/// password in it, and headers hold tokens.
fn is_secret(key: &str) -> bool {
    key.ends_with(".password") || key.starts_with("bridge.proxy") || key.contains(".headers.")
}

/// What the system says of a failed call, without the number that std appends.
pub(crate) fn io_reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// The known key that the unknown one was probably meant to be: at most a third of it is to be
/// changed.
pub(super) fn nearest<'k>(unknown: &str, known: &[&'k str]) -> Option<&'k str> {
    let within = (unknown.len().max(3) / 3).max(1);
    known
        .iter()
        .map(|key| (edit_distance(unknown, key), *key))
        .filter(|(distance, _)| *distance <= within)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, key)| key)
}

/// Levenshtein's distance, in bytes: keys are ASCII.
fn edit_distance(a: &str, b: &str) -> usize {
    let b = b.as_bytes();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edit_distance_counts_changes() {
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("same", "same"), 0);
    }

    #[test]
    fn nearest_takes_a_slip_and_leaves_a_stranger() {
        let known = ["receive_maximum", "inflight_max"];
        assert_eq!(nearest("recieve_maximum", &known), Some("receive_maximum"));
        assert_eq!(nearest("inflight", &known), None);
        assert_eq!(nearest("max_inflight_messages", &known), None);
    }

    #[test]
    fn an_unreadable_file_says_why_without_a_number() {
        let error = io::Error::from_raw_os_error(2);
        let errors = ConfigErrors::unreadable(Path::new("no.toml"), &error);
        assert_eq!(errors.to_string(), "no.toml: cannot be read: No such file or directory");
    }

    #[test]
    fn a_long_value_is_shortened_and_a_password_hidden() {
        let text = format!("x = \"{}\"\n", "y".repeat(100));
        let mut report = Report::new(Path::new("a.toml"), &text);
        report.value("s.x", 4..text.len() - 1, "must be short");
        report.value("bridge.password", 4..text.len() - 1, "must be a string");
        let errors = report.finish().unwrap_err().to_string();
        assert!(errors.contains("...: must be short"), "{errors}");
        assert!(errors.contains("bridge.password = (hidden): must be a string"), "{errors}");
        assert!(errors.lines().all(|line| line.len() < 120), "{errors}");
    }
}
