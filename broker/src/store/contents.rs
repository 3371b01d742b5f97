//! What a store's file holds, read without redb and without a change to it: for salvage and for the
//! tools. Damage is told row by row; nothing grows with the store.

use std::fmt;
use std::path::Path;

use redb::{StorageBackend, TableHandle};

use super::SCHEMA_VERSION;
use super::error::StoreError;
use super::index::INDEX;
use super::index_rows::{self, Part};
use super::pages::{Found, Pages, Tables};
use super::record::{Record, Table};
use super::rows::{Interner, RowFault};

/// So many topics and filters are remembered at most, to be kept once in memory.
const TOPICS_MAX: usize = 65_536;

/// The last commit of a store, or what can be had of it.
#[derive(Debug)]
pub(super) struct Contents<'f> {
    pages: Pages<'f>,
    tables: Tables,
    /// Pages whose checksum is wrong.
    pub(super) damaged_pages: u64,
    /// Likewise pages of redb's own.
    pub(super) damaged_bookkeeping: u64,
    pub(super) meta: Meta,
}

/// What can be read of `meta`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meta {
    pub(super) schema: Option<u64>,
    pub(super) seq_mark: u64,
    pub(super) session_mark: u32,
}

/// A row that cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadRow {
    /// The name of the table.
    pub table: &'static str,
    /// The key in words.
    pub key: String,
    /// What is wrong.
    pub fault: RowFault,
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table {}, row {}: {}", self.table, self.key, self.fault)
    }
}

impl<'f> Contents<'f> {
    /// Finds the tables and reads every page once.
    ///
    /// # Errors
    /// The file cannot be read at all, or was written by a later version of Outpost.
    pub(super) fn new(file: &'f dyn StorageBackend, path: &Path) -> Result<Self, StoreError> {
        let pages = Pages::new(file).map_err(|error| StoreError::of_io(path, "read", error))?;
        let found = pages.tables(&Table::ALL.map(Table::name));
        let Found { tables, damaged: damaged_pages, bookkeeping_damaged: damaged_bookkeeping } =
            found;
        let meta = meta(&pages, &tables);
        if let Some(found) = meta.schema.filter(|schema| *schema > SCHEMA_VERSION) {
            let path = path.to_path_buf();
            return Err(StoreError::SchemaVersion { path, found, known: SCHEMA_VERSION });
        }
        Ok(Self { pages, tables, damaged_pages, damaged_bookkeeping, meta })
    }

    /// How many rows a table has, readable or not. None: there is no such table.
    pub(super) fn rows(&self, table: Table) -> Option<u64> {
        let Some(tree) = self.tables.get(table.name()) else {
            // It came with schema 3.
            let is_older = self.meta.schema.is_some_and(|schema| schema < 3);
            return (table == Table::Origins && is_older).then_some(0);
        };
        Some(tree.as_ref().map_or(0, |tree| tree.rows))
    }

    /// Hands every part of the index of messages to `take`, by its first number.
    pub(super) fn each_index_part(&self, take: &mut dyn FnMut(u64, Result<Part<'_>, RowFault>)) {
        let Some(Some(tree)) = self.tables.get(INDEX.name()) else { return };
        self.pages.rows(tree, &mut |key, part| {
            let first = key.try_into().map_or(0, u64::from_le_bytes);
            take(first, index_rows::decode_part(first, part));
        });
    }

    /// Hands every row that can be reached to `take`, in the order of the keys.
    pub(super) fn each(&self, table: Table, take: &mut dyn FnMut(Result<Record, BadRow>)) {
        let Some(Some(tree)) = self.tables.get(table.name()) else { return };
        let mut interner = Interner::default();
        self.pages.rows(tree, &mut |key, row| {
            interner.forget_above(TOPICS_MAX);
            let record = Record::decode(table, key, row, &mut interner);
            take(record.map_err(|fault| BadRow {
                table: table.name(),
                key: table.key_in_words(key),
                fault,
            }));
        });
    }
}

fn meta(pages: &Pages<'_>, tables: &Tables) -> Meta {
    let mut meta = Meta::default();
    let Some(Some(tree)) = tables.get("meta") else { return meta };
    pages.rows(tree, &mut |key, value| {
        let Ok(value) = value.try_into().map(u64::from_le_bytes) else { return };
        match key {
            b"schema" => meta.schema = Some(value),
            b"seq_mark" => meta.seq_mark = value,
            b"session_mark" => meta.session_mark = u32::try_from(value).unwrap_or(u32::MAX),
            _ => {}
        }
    });
    meta
}
