//! Who a client is: certificate, user name and password, or nobody.
//!
//! [`Authenticator`] decides from what CONNECT and the TLS handshake brought and what the listener
//! allows. It knows no connections; what an identity may do is not decided here.

pub mod method;
mod password_file;
mod password_hash;
mod users;

use std::path::Path;

use outpost_protocol::ReasonCode;

pub use password_file::{InvalidUserName, PasswordFile, UserName};
pub use password_hash::PasswordHash;

use crate::config::{AuthConfig, ConfigErrors, Listener};
use users::Users;
pub(crate) use users::hashes_at_once;

/// What a client has shown of itself.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    /// The User Name of CONNECT.
    pub user_name: Option<&'a str>,
    /// The Password of CONNECT.
    pub password: Option<&'a [u8]>,
    /// The common name of the client certificate, once TLS has verified that certificate.
    pub certificate_cn: Option<&'a str>,
    /// The Client Identifier of CONNECT, or the one assigned.
    pub client_id: &'a str,
}

/// What a listener allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerAuth {
    /// Whether clients may come in without a user name.
    pub allow_anonymous: bool,
    /// Whether the common name of a client certificate is the user name.
    pub cn_as_user_name: bool,
}

impl From<&Listener> for ListenerAuth {
    fn from(listener: &Listener) -> Self {
        Self {
            allow_anonymous: listener.allow_anonymous,
            cn_as_user_name: listener.tls.as_ref().is_some_and(|tls| tls.cn_as_user_name),
        }
    }
}

/// Who a client is, proven.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user; none: anonymous. A name that was claimed and not proven is none.
    pub user_name: Option<Box<str>>,
}

/// Decides who a client is.
pub struct Authenticator {
    /// None: there is no password file, hence no user that a password could prove.
    users: Option<Users>,
}

impl Authenticator {
    /// Reads the password file, where there is one. It is not read again.
    ///
    /// # Errors
    /// The file cannot be read, or lines of it are wrong: all of them.
    pub fn from_config(config: &AuthConfig) -> Result<Self, ConfigErrors> {
        let load = |file: &Path| PasswordFile::load(file).map(Users::new);
        Ok(Self { users: config.password_file.as_deref().map(load).transpose()? })
    }

    /// Tells who a client is. Slow on purpose where a password is to be hashed (argon2id, tens of
    /// milliseconds and 19 MiB; only a few run at once, the others wait): never call it under the
    /// broker's lock or on an async worker thread. [`Self::needs_hashing`] tells beforehand.
    ///
    /// A client that names a user where there is no password file is let in as nobody where nobodies
    /// are let in.
    ///
    /// # Errors
    /// The reason code for CONNACK: 0x86 (Bad User Name or Password) where the user is unknown or
    /// the password wrong, which cost the same time; 0x87 (Not authorized) where a user name is
    /// missing.
    pub fn authenticate(
        &self,
        policy: &ListenerAuth,
        credentials: &Credentials<'_>,
    ) -> Result<Identity, ReasonCode> {
        match self.claim(policy, credentials) {
            Claim::Proven(name) => Ok(Identity { user_name: Some(name.into()) }),
            Claim::Nobody if policy.allow_anonymous => Ok(Identity::default()),
            Claim::Nobody => Err(ReasonCode::NotAuthorized),
            Claim::Unprovable if policy.allow_anonymous => Ok(Identity::default()),
            Claim::Unprovable | Claim::NoPassword => Err(ReasonCode::BadUserNameOrPassword),
            Claim::User { users, name, password } => users
                .verify(name, password)
                .then(|| Identity { user_name: Some(name.into()) })
                .ok_or(ReasonCode::BadUserNameOrPassword),
        }
    }

    /// Whether [`Self::authenticate`] would hash a password now. It need not where no password is to
    /// be checked, and where this one has been found right before.
    pub fn needs_hashing(&self, policy: &ListenerAuth, credentials: &Credentials<'_>) -> bool {
        match self.claim(policy, credentials) {
            Claim::User { users, name, password } => !users.is_verified(name, password),
            _ => false,
        }
    }

    fn claim<'c>(&'c self, policy: &ListenerAuth, credentials: &Credentials<'c>) -> Claim<'c> {
        if let Some(name) = credentials.certificate_cn.filter(|_| policy.cn_as_user_name) {
            return Claim::Proven(name);
        }
        match (credentials.user_name, &self.users, credentials.password) {
            (None, _, _) => Claim::Nobody,
            (Some(_), None, _) => Claim::Unprovable,
            (Some(_), Some(_), None) => Claim::NoPassword,
            (Some(name), Some(users), Some(password)) => Claim::User { users, name, password },
        }
    }
}

/// What credentials amount to.
enum Claim<'c> {
    /// The certificate has proven the name.
    Proven(&'c str),
    /// No user name.
    Nobody,
    /// A user name, and no password file that could prove it.
    Unprovable,
    /// A user name without a password.
    NoPassword,
    /// To be checked.
    User { users: &'c Users, name: &'c str, password: &'c [u8] },
}

#[cfg(test)]
mod tests;
