//! `outpost passwd`: makes and changes the password file.

use std::io::{self, BufRead, IsTerminal, Read};
use std::path::{Path, PathBuf};

use clap::Args;

use super::output::Failure;
use crate::auth::{PasswordFile, PasswordHash, UserName};
use crate::config::io_reason;

/// A password in MQTT: binary data with a length of two bytes.
const PASSWORD_BYTES_MAX: usize = 65_535;

/// Add or change a user in a password file, or delete one
///
/// Asks for the password twice; without a terminal, reads it as one line from standard input. A
/// running broker goes on with the users it has read; restart it.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Create the file; it must not be there yet
    #[arg(short = 'c', long)]
    create: bool,
    /// Take the password from the command line, where others on this machine can see it
    #[arg(short = 'b', long, requires = "password")]
    batch: bool,
    /// Delete the user
    #[arg(short = 'D', long, conflicts_with_all = ["create", "batch", "password"])]
    delete: bool,
    /// The password file
    file: PathBuf,
    /// The user name
    user: String,
    /// The password, with -b
    #[arg(requires = "batch")]
    password: Option<String>,
}

/// Asks for one line; the argument is the prompt.
pub(super) type Ask<'a> = Box<dyn FnMut(&str) -> io::Result<String> + 'a>;

/// How a password comes in.
pub(super) enum Source<'a> {
    /// From somebody who may mistype it and cannot see it.
    Twice(Ask<'a>),
    /// From a program.
    Once(Ask<'a>),
}

pub(super) fn terminal_or_stdin() -> Source<'static> {
    if io::stdin().is_terminal() {
        return Source::Twice(Box::new(|prompt| rpassword::prompt_password(prompt)));
    }
    Source::Once(Box::new(|_| read_line(&mut io::stdin().lock())))
}

pub(super) fn execute(arguments: &Arguments, source: &mut Source<'_>) -> Result<(), Failure> {
    let Arguments { create, delete, file, user, .. } = arguments;
    let mut users = open(file, *create)?;
    if *delete {
        if !users.remove(user) {
            return Err(Failure::work(format!("{}: there is no user {user:?}", file.display())));
        }
    } else {
        // A name that cannot be is told before anybody is asked for a password.
        let name = UserName::new(user).map_err(|invalid| Failure::usage([invalid]))?;
        let password = password(arguments, source)?;
        let hash = PasswordHash::new(password.as_bytes()).map_err(Failure::work)?;
        users.set(name, hash);
    }
    let failed = |error| cannot(file, "be written", &error);
    users.save(file).map_err(failed)
}

fn open(file: &Path, create: bool) -> Result<PasswordFile, Failure> {
    let exists = file.try_exists().map_err(|error| cannot(file, "be read", &error))?;
    let shown = file.display();
    match (create, exists) {
        (true, false) => Ok(PasswordFile::default()),
        (true, true) => {
            Err(Failure::usage([format!("{shown} is there already; without -c it is changed")]))
        }
        (false, false) => Err(Failure::usage([format!("{shown} is not there; -c creates it")])),
        (false, true) => PasswordFile::load(file).map_err(|errors| Failure::usage(errors.iter())),
    }
}

fn password(arguments: &Arguments, source: &mut Source<'_>) -> Result<String, Failure> {
    let asked = |answer: io::Result<String>| {
        answer.map_err(|error| {
            Failure::work(format!("cannot read the password: {}", io_reason(&error)))
        })
    };
    let password = match (&arguments.password, source) {
        (Some(password), _) => password.clone(),
        (None, Source::Once(ask)) => asked(ask(""))?,
        (None, Source::Twice(ask)) => {
            let first = asked(ask("Password: "))?;
            if asked(ask("Again: "))? != first {
                return Err(Failure::work("the passwords differ; nothing was changed"));
            }
            first
        }
    };
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
        return Err(Failure::usage(["a password must have 1 to 65535 bytes"]));
    }
    Ok(password)
}

/// One line without its end; more than a password can have is not read.
fn read_line(input: &mut dyn BufRead) -> io::Result<String> {
    let mut line = String::new();
    input.take(PASSWORD_BYTES_MAX as u64 + 3).read_line(&mut line)?;
    let end = line.trim_end_matches('\n').trim_end_matches('\r').len();
    line.truncate(end);
    Ok(line)
}

fn cannot(file: &Path, what: &str, error: &io::Error) -> Failure {
    Failure::work(format!("{} cannot {what}: {}", file.display(), io_reason(error)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use clap::Parser;
    use tempfile::TempDir;

    use super::super::output::capture;
    use super::*;
    use crate::auth::{Authenticator, Credentials, Identity, ListenerAuth};
    use crate::config::AuthConfig;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    struct Directory(TempDir);

    impl Directory {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn file(&self) -> PathBuf {
            self.0.path().join("passwords")
        }

        /// Standard error, with `FILE` for the password file, and the exit code.
        fn passwd(&self, options: &[&str], user: &str, mut source: Source<'_>) -> (String, u8) {
            let file = self.file();
            let file = file.to_str().unwrap();
            // As with mosquitto_passwd, the password of -b comes last.
            let (flags, password): (Vec<_>, Vec<_>) =
                options.iter().copied().partition(|option| option.starts_with('-'));
            let line = [&["passwd"], &flags[..], &[file, user], &password[..]].concat();
            let arguments = Line::try_parse_from(line).unwrap().arguments;
            let (_, err, code) = capture(|_| execute(&arguments, &mut source));
            (err.replace(file, "FILE"), code)
        }

        fn lets_in(&self, user: &str, password: &str) -> bool {
            let config = AuthConfig { password_file: Some(self.file()) };
            let authenticator = Authenticator::from_config(&config).unwrap();
            let policy = ListenerAuth { allow_anonymous: false, cn_as_user_name: false };
            let credentials = Credentials {
                user_name: Some(user),
                password: Some(password.as_bytes()),
                certificate_cn: None,
                client_id: "c",
            };
            let identity = Identity { user_name: Some(user.into()) };
            authenticator.authenticate(&policy, &credentials) == Ok(identity)
        }
    }

    fn typed<'a>(answers: &'a [&'a str]) -> Source<'a> {
        let mut answers = answers.iter();
        Source::Twice(Box::new(move |prompt| {
            assert!(!prompt.is_empty());
            Ok((*answers.next().expect("it asks no more often")).to_owned())
        }))
    }

    fn piped(mut line: &[u8]) -> Source<'_> {
        Source::Once(Box::new(move |_| read_line(&mut line)))
    }

    fn unasked() -> Source<'static> {
        Source::Once(Box::new(|_| panic!("it does not ask")))
    }

    const FINE: (String, u8) = (String::new(), 0);

    #[test]
    fn create_change_delete() {
        let directory = Directory::new();
        assert_eq!(directory.passwd(&["-c"], "ann", typed(&["apple", "apple"])), FINE);
        assert_eq!(fs::metadata(directory.file()).unwrap().mode() & 0o777, 0o600);
        assert!(directory.lets_in("ann", "apple") && !directory.lets_in("ann", "pear"));
        assert_eq!(directory.passwd(&[], "bob", piped(b"ba na na\r\nrest")), FINE);
        assert_eq!(directory.passwd(&["-b", "pear"], "ann", unasked()), FINE);
        assert!(directory.lets_in("ann", "pear") && !directory.lets_in("ann", "apple"));
        assert!(directory.lets_in("bob", "ba na na"));
        assert_eq!(directory.passwd(&["-D"], "ann", unasked()), FINE);
        assert!(!directory.lets_in("ann", "pear") && directory.lets_in("bob", "ba na na"));
    }

    #[test]
    fn no_plain_password_reaches_the_file() {
        let directory = Directory::new();
        directory.passwd(&["-c"], "ann", piped(b"apple"));
        let text = fs::read_to_string(directory.file()).unwrap();
        assert!(text.starts_with("ann:$argon2id$") && !text.contains("apple"), "{text}");
    }

    #[test]
    fn a_file_is_neither_made_nor_overwritten_by_mistake() {
        let directory = Directory::new();
        assert_eq!(
            directory.passwd(&[], "ann", unasked()),
            ("outpost: FILE is not there; -c creates it\n".into(), 2)
        );
        fs::write(directory.file(), "# mine\n").unwrap();
        assert_eq!(
            directory.passwd(&["-c"], "ann", unasked()),
            ("outpost: FILE is there already; without -c it is changed\n".into(), 2)
        );
        assert_eq!(fs::read_to_string(directory.file()).unwrap(), "# mine\n");
    }

    #[test]
    fn passwords_that_do_not_do() {
        let directory = Directory::new();
        assert_eq!(
            directory.passwd(&["-c"], "ann", typed(&["apple", "aple"])),
            ("outpost: the passwords differ; nothing was changed\n".into(), 1)
        );
        let long = "x".repeat(65_536);
        for source in [piped(b""), piped(b"\n"), piped(long.as_bytes()), typed(&["", ""])] {
            assert_eq!(
                directory.passwd(&["-c"], "ann", source),
                ("outpost: a password must have 1 to 65535 bytes\n".into(), 2)
            );
        }
        assert!(!directory.file().exists());
    }

    #[test]
    fn users_that_do_not_do() {
        let directory = Directory::new();
        assert_eq!(
            directory.passwd(&["-c"], "a:b", unasked()),
            (
                "outpost: a user name must have 1 to 65535 bytes, no colon, no control characters \
                 and no # in front\n"
                    .into(),
                2
            )
        );
        fs::write(directory.file(), "").unwrap();
        assert_eq!(
            directory.passwd(&["-D"], "ann", unasked()),
            ("outpost: FILE: there is no user \"ann\"\n".into(), 1)
        );
    }

    #[test]
    fn a_broken_file_is_left_alone() {
        let directory = Directory::new();
        fs::write(directory.file(), "ann:apple\n").unwrap();
        assert_eq!(
            directory.passwd(&[], "bob", unasked()),
            (
                "outpost: FILE:1: user \"ann\": no argon2id hash; set the password with outpost \
                 passwd\n"
                    .into(),
                2
            )
        );
        assert_eq!(fs::read_to_string(directory.file()).unwrap(), "ann:apple\n");
    }
}
