//! Where the store lives when nobody said where: `./outpost-data` where that exists, else the user's
//! data directory, else `./outpost-data`.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The directory in the working directory.
const LOCAL: &str = "outpost-data";

/// Looks at the working directory and at `XDG_DATA_HOME` and `HOME`.
pub(super) fn default_data_dir() -> PathBuf {
    choose(Path::new(LOCAL).is_dir(), env::var_os("XDG_DATA_HOME"), env::var_os("HOME"))
}

fn choose(local_exists: bool, xdg_data_home: Option<OsString>, home: Option<OsString>) -> PathBuf {
    let users = absolute(xdg_data_home)
        .or_else(|| absolute(home).map(|home| home.join(".local").join("share")))
        .map(|data| data.join("outpost"));
    match users {
        Some(users) if !local_exists => users,
        _ => PathBuf::from(LOCAL),
    }
}

/// The XDG base directory specification has relative paths ignored.
fn absolute(path: Option<OsString>) -> Option<PathBuf> {
    path.map(PathBuf::from).filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_places() {
        let xdg = || Some(OsString::from("/x"));
        let home = || Some(OsString::from("/home/u"));
        assert_eq!(choose(true, xdg(), home()), Path::new("outpost-data"));
        assert_eq!(choose(false, xdg(), home()), Path::new("/x/outpost"));
        assert_eq!(choose(false, None, home()), Path::new("/home/u/.local/share/outpost"));
        assert_eq!(choose(false, None, None), Path::new("outpost-data"));
    }

    #[test]
    fn relative_and_empty_variables_do_not_count() {
        let home = || Some(OsString::from("/home/u"));
        for ignored in ["", "data"] {
            let chosen = choose(false, Some(ignored.into()), home());
            assert_eq!(chosen, Path::new("/home/u/.local/share/outpost"));
            assert_eq!(choose(false, None, Some(ignored.into())), Path::new("outpost-data"));
        }
    }
}
