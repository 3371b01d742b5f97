//! Holds `tests/conformance.tsv` against the lists of all normative statements and against the
//! sources: every statement is there once, and every test that is named exists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A line of the table.
struct Entry<'a> {
    version: &'a str,
    id: &'a str,
    bound: &'a str,
    gist: &'a str,
    shown: &'a str,
}

fn tests_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn entries(table: &str) -> Vec<Entry<'_>> {
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            let [version, id, bound, gist, shown] = columns[..] else {
                panic!("not five columns: {line}")
            };
            Entry { version, id, bound, gist, shown }
        })
        .collect()
}

/// Each id of the specifications once, in their order, and no other.
#[test]
fn every_statement_is_listed_once() {
    let folder = tests_folder();
    let table = read(&folder.join("conformance.tsv"));
    let entries = entries(&table);
    for (version, count) in [("5.0", 251), ("3.1.1", 141)] {
        let list = read(&folder.join(format!("statements-{version}.txt")));
        let expected: Vec<&str> = list.lines().collect();
        assert_eq!(expected.len(), count);
        assert_eq!(expected.iter().collect::<BTreeSet<_>>().len(), count);
        let listed = entries.iter().filter(|entry| entry.version == version);
        assert_eq!(listed.map(|entry| entry.id).collect::<Vec<_>>(), expected, "{version}");
    }
    assert_eq!(entries.len(), 251 + 141);
}

/// Each has its columns filled, and tests or a reason.
#[test]
fn every_statement_has_tests_or_a_reason() {
    let table = read(&tests_folder().join("conformance.tsv"));
    for entry in entries(&table) {
        let id = entry.id;
        assert!(["client", "server", "both"].contains(&entry.bound), "{id}: {}", entry.bound);
        assert!(!entry.gist.is_empty(), "{id} says nothing");
        match entry.shown.strip_prefix("none: ") {
            Some(reason) => assert!(reason.len() > 10, "{id}: '{reason}' is no reason"),
            None => assert!(entry.shown.split(' ').all(is_name), "{id}: '{}'", entry.shown),
        }
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with("conformance::") || name.starts_with("protocol::")
}

/// Each test that is named, reasons included, is a test.
#[test]
fn every_named_test_exists() {
    let table = read(&tests_folder().join("conformance.tsv"));
    let mut sources = BTreeMap::new();
    let mut missing = BTreeSet::new();
    for entry in entries(&table) {
        let names = entry.shown.split([' ', '(', ')']).filter(|word| word.contains("::"));
        for name in names {
            let (module, function) = name.rsplit_once("::").expect("it has a module");
            let source = sources.entry(module.to_owned()).or_insert_with(|| source_of(module));
            if !source.as_deref().is_some_and(|source| has_test(source, function)) {
                missing.insert(format!("{}: {name}", entry.id));
            }
        }
    }
    assert!(
        missing.is_empty(),
        "no such tests:\n{}",
        missing.into_iter().collect::<Vec<_>>().join("\n")
    );
}

/// The text of a module, named from its crate.
fn source_of(module: &str) -> Option<String> {
    let tests = tests_folder();
    let (folders, path) = match module.split_once("::") {
        Some(("protocol", path)) => {
            let protocol = tests.join("../protocol");
            (vec![protocol.join("src"), protocol.join("tests")], path)
        }
        Some(("conformance", path)) => (vec![tests.join("tests/conformance")], path),
        Some(_) => return None,
        None => (vec![tests.join("tests/conformance")], module),
    };
    let path = path.replace("::", "/");
    // Short tests stand in the file that they test.
    let inline = path.strip_suffix("/tests").unwrap_or(&path);
    let candidates = folders.iter().flat_map(|folder| {
        let file = |path: &str| folder.join(format!("{path}.rs"));
        [file(&path), folder.join(&path).join("mod.rs"), file(inline)]
    });
    candidates.into_iter().find_map(|file| fs::read_to_string(file).ok())
}

/// Whether `source` has a test of that name: `#[test]`, perhaps more attributes, `fn name(`.
fn has_test(source: &str, name: &str) -> bool {
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        if line == "#[test]" {
            is_test = true;
        } else if let Some(rest) = line.strip_prefix("fn ") {
            if is_test && rest.split('(').next() == Some(name) {
                return true;
            }
            is_test = false;
        }
    }
    false
}

/// The check above finds what it should, and nothing else.
#[test]
fn tests_are_told_from_other_functions() {
    let source = "#[test]\nfn one() {}\nfn helper() {}\n#[test]\n#[ignore]\n    fn two() {}\n";
    assert!(has_test(source, "one"));
    assert!(has_test(source, "two"));
    assert!(!has_test(source, "helper"));
    assert!(!has_test(source, "on"));
    assert!(source_of("conformance::no_such_module").is_none());
}
