//! The password file: `user:$argon2id$...`, one user a line; lines that are empty or begin with `#`
//! are the operator's own and stay where they are when users change.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use super::password_hash::PasswordHash;
use crate::config::{ConfigErrors, read_text};

/// A password file may have so many bytes: some 100,000 users.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A user name in MQTT [MQTT-1.5.4].
const USER_NAME_BYTES_MAX: usize = 65_535;

/// Who may read a new file: its owner.
const MODE_NEW: u32 = 0o600;

/// Of the mode of an existing file this is kept: a group that was let read on purpose (a broker
/// that runs under another user than the operator) goes on reading.
const MODE_KEPT: u32 = 0o640;

/// The lines of a password file.
#[derive(Debug, Default)]
pub struct PasswordFile {
    lines: Vec<Line>,
}

#[derive(Debug)]
enum Line {
    /// A comment or an empty line.
    Other(String),
    User(UserName, PasswordHash),
}

impl PasswordFile {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or lines of it are wrong: all of them.
    pub fn load(file: &Path) -> Result<Self, ConfigErrors> {
        Self::parse(file, &read_text(file, FILE_BYTES_MAX)?)
    }

    /// Reads `text` as if it had come from `file`.
    ///
    /// # Errors
    /// All the lines that are wrong.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigErrors> {
        let mut lines = Vec::new();
        let mut problems = Vec::new();
        let mut seen = HashMap::new();
        for (n, text) in text.lines().enumerate() {
            match parse_line(text) {
                Ok(line) => {
                    if let Line::User(name, _) = &line
                        && let Some(first) = seen.insert(name.0.clone(), n + 1)
                    {
                        let name = &name.0;
                        problems.push((n + 1, format!("user {name:?} is on line {first} already")));
                    }
                    lines.push(line);
                }
                Err(problem) => problems.push((n + 1, problem)),
            }
        }
        ConfigErrors::of_lines(file, problems)?;
        Ok(Self { lines })
    }

    /// Gives a user this password; a new user comes last.
    pub fn set(&mut self, name: UserName, hash: PasswordHash) {
        match self.position(&name.0) {
            Some(at) => self.lines[at] = Line::User(name, hash),
            None => self.lines.push(Line::User(name, hash)),
        }
    }

    /// Takes a user out; false: there was none of that name.
    pub fn remove(&mut self, name: &str) -> bool {
        let at = self.position(name);
        if let Some(at) = at {
            self.lines.remove(at);
        }
        at.is_some()
    }

    /// Puts the file in the place of `file`, whole or not at all: it is written beside it, brought
    /// to the disk and renamed. A new file is for its owner alone (0600); an existing one keeps its
    /// owner, its group, and whether that group may read it.
    ///
    /// # Errors
    /// What the system says; the old file is as it was.
    pub fn save(&self, file: &Path) -> io::Result<()> {
        // Behind a symbolic link the file is replaced, not the link.
        let target = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
        let temporary = beside(&target);
        let written = self.write_new(&temporary, &target).and_then(|()| {
            fs::rename(&temporary, &target)?;
            sync_directory(&target)
        });
        if written.is_err() {
            // It is not there if it could not be made, or has its name if only the last step failed.
            fs::remove_file(&temporary).ok();
        }
        written
    }

    /// The users with their hashes.
    pub(super) fn into_users(self) -> impl Iterator<Item = (String, PasswordHash)> {
        self.lines.into_iter().filter_map(|line| match line {
            Line::User(name, hash) => Some((name.0, hash)),
            Line::Other(_) => None,
        })
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.lines.iter().position(|line| matches!(line, Line::User(user, _) if user.0 == name))
    }

    fn write_new(&self, temporary: &Path, target: &Path) -> io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(MODE_NEW).open(temporary)?;
        if let Ok(old) = fs::metadata(target) {
            keep_access(&file, &old)?;
        }
        file.write_all(self.to_string().as_bytes())?;
        file.sync_all()
    }
}

/// The text of the file.
impl fmt::Display for PasswordFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| match line {
            Line::Other(text) => writeln!(f, "{text}"),
            Line::User(name, hash) => writeln!(f, "{}:{hash}", name.0),
        })
    }
}

fn parse_line(text: &str) -> Result<Line, String> {
    if text.trim().is_empty() || text.starts_with('#') {
        return Ok(Line::Other(text.to_owned()));
    }
    let (name, hash) =
        text.split_once(':').ok_or("must be USER:HASH, as outpost passwd writes it")?;
    let name = UserName::new(name).map_err(|invalid| invalid.to_string())?;
    // The hash is not shown: it may be a password that somebody wrote here by hand.
    let hash = PasswordHash::parse(hash).ok_or_else(|| {
        format!("user {:?}: no argon2id hash; set the password with outpost passwd", name.0)
    })?;
    Ok(Line::User(name, hash))
}

/// A user name that can stand in a password file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserName(String);

impl UserName {
    /// Checks a name.
    ///
    /// # Errors
    /// It is empty or has more than 65535 bytes, or something in it has a meaning in the file.
    pub fn new(name: &str) -> Result<Self, InvalidUserName> {
        let length = (1..=USER_NAME_BYTES_MAX).contains(&name.len());
        let text = !name.starts_with('#') && !name.contains(|c: char| c == ':' || c.is_control());
        let valid = length && text && !name.trim().is_empty();
        valid.then(|| Self(name.to_owned())).ok_or(InvalidUserName)
    }
}

/// The name cannot stand in a password file; shown as what would be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a user name must have 1 to 65535 bytes, no colon, no control characters and no # in front"
)]
pub struct InvalidUserName;

/// A file of our own in the same directory, so that a rename can put it in place.
fn beside(target: &Path) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    target.with_file_name(name)
}

fn keep_access(file: &File, old: &fs::Metadata) -> io::Result<()> {
    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
        fchown(file, Some(old.uid()), Some(old.gid()))?;
    }
    file.set_permissions(fs::Permissions::from_mode(old.mode() & MODE_KEPT | MODE_NEW))
}

/// A rename is on the disk when its directory is.
fn sync_directory(file: &Path) -> io::Result<()> {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$\
                        CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";

    fn parse(text: &str) -> Result<PasswordFile, String> {
        PasswordFile::parse(Path::new("passwords"), text).map_err(|errors| errors.to_string())
    }

    fn name(text: &str) -> UserName {
        UserName::new(text).unwrap()
    }

    fn hash() -> PasswordHash {
        PasswordHash::parse(HASH).unwrap()
    }

    #[test]
    fn comments_and_order_survive_a_change() {
        let text = format!("# sensors\nann:{HASH}\n\n# people\nbob:{HASH}\n");
        let mut file = parse(&text).unwrap();
        assert_eq!(file.to_string(), text);
        file.set(name("cy d\u{e9}"), hash());
        assert!(file.remove("ann"));
        assert!(!file.remove("ann"), "it is gone");
        file.set(name("bob"), PasswordHash::decoy());
        let decoy = PasswordHash::decoy();
        let expected = format!("# sensors\n\n# people\nbob:{decoy}\ncy d\u{e9}:{HASH}\n");
        assert_eq!(file.to_string(), expected);
        assert_eq!(parse(&expected).unwrap().into_users().count(), 2);
    }

    #[test]
    fn every_wrong_line_is_named() {
        let text = format!("# c\nann\nbob:secret\nann:{HASH}\n:{HASH}\nann:{HASH}\r\n");
        assert_eq!(
            parse(&text).unwrap_err(),
            "passwords:2: must be USER:HASH, as outpost passwd writes it\n\
             passwords:3: user \"bob\": no argon2id hash; set the password with outpost passwd\n\
             passwords:5: a user name must have 1 to 65535 bytes, no colon, no control characters \
             and no # in front\n\
             passwords:6: user \"ann\" is on line 4 already"
        );
    }

    #[test]
    fn names_that_would_break_the_file() {
        let long = "n".repeat(65_536);
        for name in ["", " ", "a:b", "a\nb", "#a", "a\0", long.as_str()] {
            assert_eq!(UserName::new(name), Err(InvalidUserName), "{name:?}");
        }
        UserName::new(&long[1..]).unwrap();
    }

    #[test]
    fn a_new_file_is_for_its_owner_and_a_replaced_one_keeps_its_group_readers() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passwords");
        let mode = || fs::metadata(&path).unwrap().mode() & 0o777;
        let mut file = PasswordFile::default();
        file.set(name("ann"), hash());
        file.save(&path).unwrap();
        assert_eq!(mode(), 0o600);
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("ann:{HASH}\n"));
        for (before, after) in [(0o644, 0o640), (0o400, 0o600), (0o666, 0o640)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(before)).unwrap();
            file.save(&path).unwrap();
            assert_eq!(mode(), after, "{before:o}");
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_link_stays_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let (link, target) = (directory.path().join("link"), directory.path().join("target"));
        fs::write(&target, "# empty\n").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        PasswordFile::default().save(&link).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&target).unwrap(), "");
    }

    #[test]
    fn what_cannot_be_written_leaves_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("missing").join("passwords");
        let error = PasswordFile::default().save(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn an_endless_file_is_not_read() {
        let errors = PasswordFile::load(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(errors.to_string(), "/dev/zero: cannot be read: it is larger than 16 MiB");
    }
}
