//! `outpost store export` and `import`: a store as lines of JSON, out and in again.

use std::io::{self, BufRead, Read, Write};
use std::path::Path;

use redb::backends::FileBackend;

use super::super::error::StoreError;
use super::super::file::DataDir;
use super::super::record::{Filler, Record, Table};
use super::super::{RedbStore, StoreOptions};
use super::StoreFile;
use super::lines::{self, FORMAT, Header, Line};

/// A line may have so many bytes: the largest message in base64, with room for its targets.
const LINE_BYTES_MAX: u64 = 1 << 30;

/// What was exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Lines, but for the header.
    pub records: u64,
    /// Pages and rows that could not be read.
    pub damaged: u64,
}

/// Why an export ended early.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Where it was written to.
    #[error(transparent)]
    Output(#[from] io::Error),
}

/// Why an import ended early.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Where it was read from.
    #[error(transparent)]
    Input(#[from] io::Error),
    /// A line is wrong.
    #[error("line {line}: {what}")]
    Line {
        /// Its number, from 1.
        line: u64,
        /// What is wrong.
        what: String,
    },
    /// The store that is there has something in it.
    #[error("{0}: the store is not empty; import makes a new one, and merges nothing")]
    NotEmpty(String),
}

/// Writes all of a store that can be read, a line for each record.
///
/// # Errors
/// The store cannot be read at all, or `out` not be written.
pub fn export(file: &StoreFile, out: &mut dyn Write) -> Result<Exported, ExportError> {
    let contents = file.contents()?;
    let header = Header {
        format: FORMAT,
        written_by: concat!("outpost ", env!("CARGO_PKG_VERSION")).into(),
        next_seq: contents.meta.seq_mark,
        next_session: contents.meta.session_mark,
    };
    write_line(&Line::OutpostStore(header), out)?;
    let mut exported = Exported { records: 0, damaged: contents.damaged_pages };
    for table in Table::ALL {
        let mut written = Ok(());
        contents.each(table, &mut |record| match record {
            Ok(record) if written.is_ok() => {
                written = write_line(&lines::line(&record), out);
                exported.records += 1;
            }
            Ok(_) => {}
            Err(_) => exported.damaged += 1,
        });
        written?;
    }
    out.flush()?;
    Ok(exported)
}

fn write_line(line: &Line<'_>, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

/// Makes a store from what [`export`] wrote. Either all of it is there then, or nothing has changed.
/// The number of records.
///
/// # Errors
/// There is a store with something in it, or one in use; `input` is no export; the store cannot be
/// written.
pub fn import(
    data_dir: &Path,
    options: &StoreOptions,
    input: &mut dyn BufRead,
) -> Result<u64, ImportError> {
    let dir = DataDir::open(data_dir)?;
    let path = dir.store_path();
    // Locked to the end: no broker starts on what is about to be replaced.
    let old = if path.exists() { Some(empty_store(data_dir)?) } else { None };
    let records = dir.put_store(|file| {
        let backend = FileBackend::new(file)
            .map_err(|error| StoreError::of_redb(&path, "create", error.into()))?;
        let mut store = RedbStore::with_backend(backend, &path, options)?;
        fill(&mut store, input)
    })?;
    drop(old);
    Ok(records)
}

fn empty_store(data_dir: &Path) -> Result<StoreFile, ImportError> {
    let file = StoreFile::open(data_dir)?;
    let contents = file.contents()?;
    let is_empty = contents.damaged_pages == 0
        && Table::ALL.iter().all(|table| contents.rows(*table) == Some(0));
    if is_empty { Ok(file) } else { Err(ImportError::NotEmpty(file.path().display().to_string())) }
}

fn fill(store: &mut RedbStore, input: &mut dyn BufRead) -> Result<u64, ImportError> {
    let mut lines = Lines { input, text: Vec::new(), number: 0 };
    let (next_seq, next_session) = lines.header()?;
    let mut filler = Filler::new(store, next_seq, next_session);
    let mut records = 0;
    while let Some(record) = lines.record()? {
        filler.put(record)?;
        records += 1;
    }
    filler.finish()?;
    Ok(records)
}

/// The lines of an export, one at a time.
struct Lines<'i> {
    input: &'i mut dyn BufRead,
    text: Vec<u8>,
    number: u64,
}

impl Lines<'_> {
    fn header(&mut self) -> Result<(u64, u32), ImportError> {
        let is_there = self.next()?;
        let line = if is_there { serde_json::from_slice(&self.text).ok() } else { None };
        match line {
            Some(Line::OutpostStore(header)) if header.format == FORMAT => {
                Ok((header.next_seq, header.next_session))
            }
            Some(Line::OutpostStore(header)) => {
                let format = header.format;
                Err(self.wrong(format!("format = {format}: this program knows {FORMAT}")))
            }
            _ => Err(self.wrong("not an export, which begins with an outpost_store line".into())),
        }
    }

    /// The next record; none: that was the last.
    fn record(&mut self) -> Result<Option<Record>, ImportError> {
        if !self.next()? {
            return Ok(None);
        }
        decode(&self.text).map(Some).map_err(|what| self.wrong(what))
    }

    fn next(&mut self) -> io::Result<bool> {
        self.number += 1;
        self.text.clear();
        let mut input = (&mut *self.input).take(LINE_BYTES_MAX);
        Ok(input.read_until(b'\n', &mut self.text)? > 0)
    }

    fn wrong(&self, what: String) -> ImportError {
        ImportError::Line { line: self.number, what }
    }
}

fn decode(text: &[u8]) -> Result<Record, String> {
    let line = serde_json::from_slice(text).map_err(|error| json_error(&error))?;
    let record = lines::record(line)?.ok_or("a second outpost_store line")?;
    record.check().map_err(|fault| fault.to_string())?;
    Ok(record)
}

/// What is wrong with a line, with its column: the number of the line is ours.
fn json_error(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    format!("{what} (column {})", error.column())
}
