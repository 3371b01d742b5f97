//! The schema: written into a new database, checked in an old one.

use std::path::Path;

use outpost_bridge::peering::NodeId;
use redb::{Database, Durability, ReadableDatabase, TableHandle};

use super::backend::Gate;
use super::error::StoreError;
use super::index::INDEX;
use super::redb_store::{
    MESSAGES, META, Marks, NODE_KEY, ORIGINS, RETAINED, SCHEMA_KEY, SCHEMA_VERSION, SEQ_MARK_KEY,
    SESSION_MARK_KEY, SESSIONS, SUBSCRIPTIONS, corrupt_row, open_gate, redb_error,
};
use super::rows::RowFault;
use super::shared_db::SharedDatabase;

/// The first there was: without the index.
const OLDEST_SCHEMA_VERSION: u64 = 1;

/// What stands in `meta`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meta {
    /// The version of the schema, [`SCHEMA_VERSION`] or one that can be upgraded to it.
    pub(super) schema: u64,
    pub(super) marks: Marks,
    /// The name of the broker.
    pub(super) node: Option<NodeId>,
}

/// Takes in `meta`, or writes the schema into a database that has no table at all.
pub(super) fn check_or_create(shared: &SharedDatabase, gate: &Gate) -> Result<Meta, StoreError> {
    let path = &shared.path;
    let db = shared.get()?;
    let read = db.begin_read().map_err(redb_error(path, "read"))?;
    let mut tables = read.list_tables().map_err(redb_error(path, "read"))?.peekable();
    if tables.peek().is_none() {
        drop(tables);
        drop(read);
        open_gate(gate, path)?;
        create(&db, path)?;
        return Ok(Meta { schema: SCHEMA_VERSION, marks: Marks::default(), node: None });
    }
    if !tables.any(|table| table.name() == META.name()) {
        let what = "it is a redb database, but not one of Outpost".to_string();
        return Err(StoreError::Corrupt { path: path.clone(), what });
    }
    let meta = read.open_table(META).map_err(redb_error(path, "read"))?;
    let value = |key| -> Result<Option<u64>, StoreError> {
        let value = meta.get(key).map_err(redb_error(path, "read"))?;
        Ok(value.map(|value| value.value()))
    };
    let fault = |key: &str, what| corrupt_row(path, META.name(), key, RowFault::Value(what));
    let found = value(SCHEMA_KEY)?.ok_or_else(|| fault(SCHEMA_KEY, "the row is missing"))?;
    if !(OLDEST_SCHEMA_VERSION..=SCHEMA_VERSION).contains(&found) {
        let path = path.clone();
        return Err(StoreError::SchemaVersion { path, found, known: SCHEMA_VERSION });
    }
    let session = value(SESSION_MARK_KEY)?.unwrap_or(0);
    let session =
        session.try_into().map_err(|_| fault(SESSION_MARK_KEY, "the number is out of range"))?;
    let seq = value(SEQ_MARK_KEY)?.unwrap_or(0);
    let node = value(NODE_KEY)?.map(NodeId);
    Ok(Meta { schema: found, marks: Marks { seq, session }, node })
}

fn create(db: &Database, path: &Path) -> Result<(), StoreError> {
    let mut write = db.begin_write().map_err(redb_error(path, "create"))?;
    write.set_durability(Durability::Immediate).map_err(redb_error(path, "create"))?;
    {
        let mut meta = write.open_table(META).map_err(redb_error(path, "create"))?;
        meta.insert(SCHEMA_KEY, SCHEMA_VERSION).map_err(redb_error(path, "create"))?;
    }
    // All tables from the start: reading finds them, and no later commit pays for making one.
    write.open_table(INDEX).map_err(redb_error(path, "create"))?;
    write.open_table(MESSAGES).map_err(redb_error(path, "create"))?;
    write.open_table(SESSIONS).map_err(redb_error(path, "create"))?;
    write.open_table(SUBSCRIPTIONS).map_err(redb_error(path, "create"))?;
    write.open_table(ORIGINS).map_err(redb_error(path, "create"))?;
    write.open_table(RETAINED).map_err(redb_error(path, "create"))?;
    write.commit().map_err(redb_error(path, "create"))
}
