//! A store that turned out to be damaged while it was in use. redb looks at few checksums when it
//! opens a file, so the next start would not notice, and would end at the same page. Hence a note
//! in the data directory, upon which the next start looks at every page.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::StoreError;
use super::tools::{StoreFile, verify};

/// The name of the note; it holds the reason, for people.
const NOTE_NAME: &str = "outpost.redb.suspect";

fn note(data_dir: &Path) -> PathBuf {
    data_dir.join(NOTE_NAME)
}

/// Has the next start look at every page of the store.
///
/// # Errors
/// What the system says: then the next start looks at none.
pub fn suspect(data_dir: &Path, why: &StoreError) -> io::Result<()> {
    fs::write(note(data_dir), format!("{why}\n"))?;
    fs::File::open(data_dir)?.sync_all()
}

/// Looks at every page of a store that is under suspicion. One that is sound is so no longer.
///
/// # Errors
/// [`StoreError::Corrupt`]: it is damaged. Else the file cannot be read.
pub fn check_suspect(data_dir: &Path) -> Result<(), StoreError> {
    if !note(data_dir).exists() {
        return Ok(());
    }
    let file = StoreFile::open(data_dir)?;
    tracing::warn!(store = %file.path().display(), "an earlier run found damage: checking every page");
    let verified = verify(&file)?;
    if verified.damage == 0 {
        return clear(data_dir);
    }
    let what = format!("{} of its pages and rows cannot be read", verified.damage);
    Err(StoreError::Corrupt { path: file.path().to_path_buf(), what })
}

/// The store is another one now, or was found to be sound.
pub(super) fn clear(data_dir: &Path) -> Result<(), StoreError> {
    let path = note(data_dir);
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::Access { path, action: "remove", source })
        }
        _ => Ok(()),
    }
}
