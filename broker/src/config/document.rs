//! From TOML to [`FileConfig`], with all that is wrong and not just the first of it: serde stops at
//! an error, so the offending key is taken out, its error noted, and the section read again.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::error::{Report, nearest};
use super::file::{FileConfig, FileTable};

/// The sections of a file.
const SECTIONS: [&str; 9] =
    ["listener", "auth", "store", "limits", "queue", "sys", "log", "bridge", "local"];

/// Those of a file for bridges alone, which has `[local]`.
const SECTIONS_ALONE: [&str; 3] = ["log", "bridge", "local"];

/// More wrong keys than this in one section are not told one by one.
const ERRORS_PER_SECTION_MAX: usize = 100;

/// Reads what can be read of `text` and reports the rest.
pub(super) fn read<'a>(text: &'a str, report: &mut Report<'_>) -> FileConfig<'a> {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        report.syntax(error.span().unwrap_or_default(), error.message());
    }
    let mut file = FileConfig::default();
    if !errors.is_empty() {
        // What is left of a broken file would give errors that mend themselves with the first.
        return file;
    }
    let document = document.into_inner();
    let is_alone = document.contains_key("local");
    for (name, value) in document {
        let span = name.span();
        let of_broker =
            SECTIONS.contains(&&**name.get_ref()) && !SECTIONS_ALONE.contains(&&**name.get_ref());
        if is_alone && of_broker {
            let problem =
                "has no place beside [local]: such a file is for bridges without a broker";
            report.key(name.get_ref(), span, problem);
            continue;
        }
        read_section(&mut file, name.get_ref(), span, value, report);
    }
    file
}

fn read_section<'a>(
    file: &mut FileConfig<'a>,
    name: &str,
    span: Range<usize>,
    value: Spanned<DeValue<'a>>,
    report: &mut Report<'_>,
) {
    match name {
        "listener" => {
            let tables = array_of_tables(name, value, report);
            file.listeners = tables.into_iter().filter_map(|t| table(name, t, report)).collect();
        }
        "queue" => {
            let tables = array_of_tables(name, value, report);
            file.queues = tables.into_iter().filter_map(|t| table(name, t, report)).collect();
        }
        "bridge" => {
            let tables = array_of_tables(name, value, report);
            file.bridges = tables.into_iter().filter_map(|t| kept(name, t, report)).collect();
        }
        "local" => file.local = kept(name, value, report),
        "auth" => file.auth = section(name, value, report),
        "store" => file.store = section(name, value, report),
        "limits" => file.limits = section(name, value, report),
        "sys" => file.sys = section(name, value, report),
        "log" => file.log = section(name, value, report),
        unknown => report.key(unknown, span, unknown_key(unknown, &SECTIONS)),
    }
}

fn section<T: DeserializeOwned + Default>(
    name: &str,
    value: Spanned<DeValue<'_>>,
    report: &mut Report<'_>,
) -> T {
    table(name, value, report).map(Spanned::into_inner).unwrap_or_default()
}

/// A table that is kept, for checks that name keys.
fn kept<'a, T: DeserializeOwned>(
    section: &str,
    value: Spanned<DeValue<'a>>,
    report: &mut Report<'_>,
) -> Option<FileTable<'a, T>> {
    let config = table(section, value.clone(), report)?.into_inner();
    Some(FileTable { table: value, config })
}

fn array_of_tables<'a>(
    name: &str,
    value: Spanned<DeValue<'a>>,
    report: &mut Report<'_>,
) -> Vec<Spanned<DeValue<'a>>> {
    let span = value.span();
    match value.into_inner() {
        DeValue::Array(tables) => tables.into_iter().collect(),
        _ => {
            report.key(name, span, format!("must be one or more tables, each under [[{name}]]"));
            Vec::new()
        }
    }
}

/// One table of the file as a `T`. What is wrong in it is reported and left out; where a `T` cannot
/// do without it, there is none.
fn table<T: DeserializeOwned>(
    section: &str,
    mut value: Spanned<DeValue<'_>>,
    report: &mut Report<'_>,
) -> Option<Spanned<T>> {
    let errors_before = report.len();
    loop {
        let error = match T::deserialize(ValueDeserializer::from(value.clone())) {
            Ok(read) => return Some(Spanned::new(value.span(), read)),
            Err(error) => error,
        };
        let span = error.span().unwrap_or_else(|| value.span());
        let found = report.len() - errors_before;
        let message = error.message();
        if let Some(missing) = message.strip_prefix("missing field ") {
            // A key that was taken out before is missing now; that has been told.
            if found == 0 {
                let within = remove_at(&mut value, &span);
                let key = within.map_or(section.to_owned(), |path| format!("{section}.{path}"));
                report.key(&key, span, format!("the key {} is missing", missing.trim_matches('`')));
            }
            return None;
        }
        match remove_at(&mut value, &span) {
            Some(path) if found < ERRORS_PER_SECTION_MAX => {
                wrong(&format!("{section}.{path}"), span, message, report);
            }
            Some(_) => return None,
            None => {
                report.value(section, span, format!("must be a table under [{section}]"));
                return None;
            }
        }
    }
}

/// Takes the innermost entry out whose key or value is at `span`, and tells its path within
/// `value`. Entries of arrays stay: only what is in a table has a key.
fn remove_at(value: &mut Spanned<DeValue<'_>>, span: &Range<usize>) -> Option<String> {
    let entries = match value.get_mut() {
        DeValue::Array(array) => {
            return array.iter_mut().find_map(|element| remove_at(element, span));
        }
        DeValue::Table(entries) => entries,
        _ => return None,
    };
    for (key, inner) in entries.iter_mut() {
        if let Some(path) = remove_at(inner, span) {
            return Some(format!("{}.{path}", key.get_ref()));
        }
    }
    let at = entries.iter().find(|(key, inner)| key.span() == *span || inner.span() == *span);
    let key = at.map(|(key, _)| key.clone())?;
    entries.remove(&key);
    Some(key.into_inner().into_owned())
}

fn wrong(key: &str, span: Range<usize>, message: &str, report: &mut Report<'_>) {
    if let Some(known) = message.strip_prefix("unknown field ") {
        let names = backticked(known);
        let unknown = key.rsplit('.').next().unwrap_or(key);
        report.key(key, span, unknown_key(unknown, names.get(1..).unwrap_or_default()));
    } else if message.starts_with("unknown variant ") {
        let names = backticked(message);
        let quoted: Vec<_> = names.iter().skip(1).map(|name| format!("\"{name}\"")).collect();
        report.value(key, span, format!("must be {}", alternatives(&quoted)));
    } else {
        report.value(key, span, expectation(message));
    }
}

fn unknown_key(unknown: &str, known: &[&str]) -> String {
    match nearest(unknown, known) {
        Some(near) => format!("unknown key; did you mean {near}?"),
        None => format!("unknown key; known here: {}", known.join(", ")),
    }
}

/// serde says "invalid type: string "x", expected u16".
fn expectation(message: &str) -> String {
    let Some((_, expected)) = message.rsplit_once(", expected ") else {
        return message.to_owned();
    };
    let range = |max: u64| format!("must be a whole number 0 to {max}");
    match expected {
        "u8" => range(u8::MAX.into()),
        "u16" => range(u16::MAX.into()),
        "u32" => range(u32::MAX.into()),
        "u64" => "must be a whole number 0 or more".to_owned(),
        "a boolean" => "must be true or false".to_owned(),
        "a string" => "must be a string in quotes".to_owned(),
        "a sequence" => "must be an array of tables".to_owned(),
        "string or table" => "must be a string in quotes".to_owned(),
        table if table.starts_with("struct ") => "must be a table".to_owned(),
        words => format!("must be {words}"),
    }
}

fn backticked(message: &str) -> Vec<&str> {
    message.split('`').skip(1).step_by(2).collect()
}

fn alternatives(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}
