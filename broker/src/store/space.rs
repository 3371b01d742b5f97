//! Want of space: a full disk, a quota, a file system that is mounted read-only. It passes, so a
//! commit that meets it waits in the middle, at the very write that failed, and goes on from there:
//! redb never learns of it. What cannot be waited out (a failed sync above all, after which nobody
//! knows what is on the disk) fails the commit at once.

use std::fmt;
use std::io;

/// Who waits with the store for space.
pub trait SpaceWaiter: fmt::Debug + Send + Sync + 'static {
    /// A write failed for want of space; `attempt` counts from 0 for each write. Blocks for a while.
    /// True: the write is tried again; false: there is no time left, the commit fails.
    fn wait_for_space(&self, why: &io::Error, attempt: u32) -> bool;
}

/// Whether an error may pass by itself, and the write can be tried again.
pub(super) fn is_want_of_space(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::FileTooLarge
    )
}
