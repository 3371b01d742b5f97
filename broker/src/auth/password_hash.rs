//! A password as it is kept: argon2id (RFC 9106) with its costs and salt, in the PHC string format.

use std::fmt;

use argon2::password_hash::phc::{Output, PasswordHash as Phc, Salt};
use argon2::{ARGON2ID_IDENT, Argon2, Params, PasswordHasher, PasswordVerifier};

/// Version 1.3 of argon2, the one that RFC 9106 describes.
const VERSION: u32 = 19;

/// A hash that needs more memory than this is refused: it would starve the broker. In KiB.
const MEMORY_KIB_MAX: u32 = 256 << 10;

/// A hash that passes over its memory more often than this is refused.
const PASSES_MAX: u32 = 100;

/// The hash of a password, with what it takes to check one against it.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(Box<Phc>);

impl PasswordHash {
    /// Hashes a password with a fresh random salt and the costs that OWASP recommends (19 MiB, two
    /// passes, one lane). Takes tens of milliseconds.
    ///
    /// # Errors
    /// The system gave no random bytes, or the password has more than 4 GiB.
    pub fn new(password: &[u8]) -> Result<Self, HashingFailed> {
        Argon2::default()
            .hash_password(password)
            .map(|phc| Self(Box::new(phc)))
            .map_err(|_| HashingFailed)
    }

    /// Reads `$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH`; `None` for anything else, and for costs
    /// that no gateway should bear (more than 256 MiB, or 100 passes).
    pub fn parse(text: &str) -> Option<Self> {
        let phc = Phc::new(text).ok()?;
        let params = Params::try_from(&phc).ok()?;
        let bearable = params.m_cost() <= MEMORY_KIB_MAX && params.t_cost() <= PASSES_MAX;
        let whole = phc.version == Some(VERSION) && phc.salt.is_some() && phc.hash.is_some();
        (phc.algorithm == ARGON2ID_IDENT && whole && bearable).then(|| Self(Box::new(phc)))
    }

    /// Whether this is the hash of `password`. Takes tens of milliseconds either way.
    pub fn matches(&self, password: &[u8]) -> bool {
        Argon2::default().verify_password(password, &*self.0).is_ok()
    }

    /// Memory times passes: what a check costs, up to a factor.
    pub(super) fn cost(&self) -> u64 {
        let params = Params::try_from(&*self.0).unwrap_or_default();
        u64::from(params.m_cost()) * u64::from(params.t_cost())
    }

    /// A hash that no password is known for, as costly to check as `other`.
    pub(super) fn decoy_like(other: &Self) -> Self {
        let mut decoy = other.0.clone();
        decoy.salt = Salt::new(b"outpost decoy").ok();
        decoy.hash = Output::new(&[0; 32]).ok();
        Self(decoy)
    }

    /// A hash that no password is known for, as costly to check as a new one.
    pub(super) fn decoy() -> Self {
        let like = "$argon2id$v=19$m=19456,t=2,p=1$b3V0cG9zdCBkZWNveQ$\
                    AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        Self::parse(like).expect("the decoy is well-formed")
    }
}

/// The PHC string.
impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A hash is for the password file alone, not for logs.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

/// A password could not be hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the password cannot be hashed: the system gave no random bytes")]
pub struct HashingFailed;

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with the reference implementation of argon2 (`echo -n password | argon2 somesalt -id
    /// -t 2 -k 65536 -p 1`), from the test vectors of its authors.
    const FOREIGN: &str = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$\
                           CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";

    #[test]
    fn a_foreign_hash_is_understood() {
        let hash = PasswordHash::parse(FOREIGN).unwrap();
        assert!(hash.matches(b"password"));
        assert!(!hash.matches(b"Password"));
        assert_eq!(hash.to_string(), FOREIGN);
    }

    #[test]
    fn a_new_hash_matches_its_password_alone_and_has_its_own_salt() {
        let (one, two) =
            (PasswordHash::new(b"p\0\xFF").unwrap(), PasswordHash::new(b"p\0\xFF").unwrap());
        assert_ne!(one, two);
        let read = PasswordHash::parse(&one.to_string()).unwrap();
        assert!(read.matches(b"p\0\xFF") && !read.matches(b"p"));
        assert!(one.to_string().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{one}");
    }

    #[test]
    fn what_is_no_argon2id_hash_is_refused() {
        let cut = FOREIGN.rsplit_once('$').unwrap().0;
        for text in [
            "",
            "password",
            cut,
            "$argon2id$",
            "$7$101$c2FsdA==$aGFzaA==",
            &FOREIGN.replace("argon2id", "argon2i"),
            &FOREIGN.replace("m=65536", "m=1"),
            &FOREIGN.replace("m=65536", "m=4194304"),
            &FOREIGN.replace("t=2", "t=101"),
            &FOREIGN.replace("v=19", "v=16"),
            &FOREIGN.replace("$v=19", ""),
            &format!("{FOREIGN}$x"),
        ] {
            assert_eq!(PasswordHash::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn decoys_cost_as_much_and_match_nothing() {
        let foreign = PasswordHash::parse(FOREIGN).unwrap();
        let decoy = PasswordHash::decoy_like(&foreign);
        assert_eq!(decoy.cost(), foreign.cost());
        assert!(!decoy.matches(b"password"));
        let fresh = PasswordHash::new(b"x").unwrap();
        assert_eq!(PasswordHash::decoy().cost(), fresh.cost());
    }
}
