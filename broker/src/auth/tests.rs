//! Who is let in as whom, at which listener.

use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};

use super::*;

const OPEN: ListenerAuth = ListenerAuth { allow_anonymous: true, cn_as_user_name: false };
const CLOSED: ListenerAuth = ListenerAuth { allow_anonymous: false, cn_as_user_name: false };

/// The cheapest costs that argon2 has: what is tested here is not the hash.
fn cheap(password: &[u8]) -> PasswordHash {
    let params = Params::new(8, 1, 1, None).unwrap();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon2.hash_password(password).unwrap();
    PasswordHash::parse(&hash.to_string()).unwrap()
}

fn with_users() -> Authenticator {
    let mut file = PasswordFile::default();
    file.set(UserName::new("ann").unwrap(), cheap(b"apple"));
    file.set(UserName::new("bob").unwrap(), cheap(b""));
    Authenticator { users: Some(Users::new(file)) }
}

fn without_users() -> Authenticator {
    Authenticator::from_config(&AuthConfig::default()).unwrap()
}

fn nobody() -> Credentials<'static> {
    Credentials { user_name: None, password: None, certificate_cn: None, client_id: "c" }
}

fn user(name: &'static str, password: &'static [u8]) -> Credentials<'static> {
    Credentials { user_name: Some(name), password: Some(password), ..nobody() }
}

fn named(name: &str) -> Result<Identity, ReasonCode> {
    Ok(Identity { user_name: Some(name.into()) })
}

#[test]
fn passwords() {
    let auth = with_users();
    assert_eq!(auth.authenticate(&CLOSED, &user("ann", b"apple")), named("ann"));
    assert_eq!(auth.authenticate(&CLOSED, &user("bob", b"")), named("bob"), "an empty password");
    for wrong in [user("ann", b"Apple"), user("ann", b""), user("cy", b"apple"), user("", b"")] {
        let answer = auth.authenticate(&CLOSED, &wrong);
        assert_eq!(answer, Err(ReasonCode::BadUserNameOrPassword), "{:?}", wrong.user_name);
        // Who claims a name and cannot prove it is no anonymous client either.
        assert_eq!(auth.authenticate(&OPEN, &wrong), answer);
    }
}

#[test]
fn a_user_name_without_a_password() {
    let credentials = Credentials { password: None, ..user("bob", b"") };
    let answer = with_users().authenticate(&OPEN, &credentials);
    assert_eq!(answer, Err(ReasonCode::BadUserNameOrPassword));
}

#[test]
fn anonymous_clients() {
    for auth in [with_users(), without_users()] {
        assert_eq!(auth.authenticate(&OPEN, &nobody()), Ok(Identity::default()));
        assert_eq!(auth.authenticate(&CLOSED, &nobody()), Err(ReasonCode::NotAuthorized));
        // 5.0 allows a password without a user name: it proves nobody.
        let password = Credentials { password: Some(b"apple"), ..nobody() };
        assert_eq!(auth.authenticate(&OPEN, &password), Ok(Identity::default()));
        assert_eq!(auth.authenticate(&CLOSED, &password), Err(ReasonCode::NotAuthorized));
    }
}

#[test]
fn a_name_that_nothing_can_prove_is_no_identity() {
    let auth = without_users();
    assert_eq!(auth.authenticate(&OPEN, &user("ann", b"apple")), Ok(Identity::default()));
    assert_eq!(
        auth.authenticate(&CLOSED, &user("ann", b"apple")),
        Err(ReasonCode::BadUserNameOrPassword)
    );
}

#[test]
fn certificates() {
    let auth = with_users();
    let by_cn = ListenerAuth { cn_as_user_name: true, ..CLOSED };
    let certificate = Credentials { certificate_cn: Some("gateway-7"), ..nobody() };
    assert_eq!(auth.authenticate(&by_cn, &certificate), named("gateway-7"));
    let both = Credentials { certificate_cn: Some("gateway-7"), ..user("ann", b"wrong") };
    assert_eq!(auth.authenticate(&by_cn, &both), named("gateway-7"), "the certificate decides");
    assert_eq!(auth.authenticate(&CLOSED, &certificate), Err(ReasonCode::NotAuthorized));
    assert_eq!(auth.authenticate(&by_cn, &user("ann", b"apple")), named("ann"), "no certificate");
}

#[test]
fn hashing_is_needed_once_for_a_right_password_and_always_for_a_wrong_one() {
    let auth = with_users();
    let (right, wrong, unknown) = (user("ann", b"apple"), user("ann", b"x"), user("cy", b"x"));
    for credentials in [right, wrong, unknown] {
        assert!(auth.needs_hashing(&CLOSED, &credentials));
        auth.authenticate(&CLOSED, &credentials).ok();
    }
    assert!(!auth.needs_hashing(&CLOSED, &right));
    assert_eq!(auth.authenticate(&CLOSED, &right), named("ann"));
    assert!(auth.needs_hashing(&CLOSED, &wrong) && auth.needs_hashing(&CLOSED, &unknown));
    assert_eq!(auth.authenticate(&CLOSED, &wrong), Err(ReasonCode::BadUserNameOrPassword));
    assert!(auth.needs_hashing(&CLOSED, &user("bob", b"apple")), "another user's password");
}

#[test]
fn what_has_no_password_to_check_needs_no_hashing() {
    let by_cn = ListenerAuth { cn_as_user_name: true, ..CLOSED };
    let certificate = Credentials { certificate_cn: Some("g"), ..user("ann", b"apple") };
    assert!(!with_users().needs_hashing(&by_cn, &certificate));
    assert!(!with_users().needs_hashing(&OPEN, &nobody()));
    let no_password = Credentials { password: None, ..user("ann", b"") };
    assert!(!with_users().needs_hashing(&OPEN, &no_password));
    assert!(!without_users().needs_hashing(&CLOSED, &user("ann", b"apple")));
}

#[test]
fn from_config_reads_the_file_and_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("passwords");
    let config = AuthConfig { password_file: Some(path.clone()) };
    let error = Authenticator::from_config(&config).err().unwrap().to_string();
    assert_eq!(error, format!("{}: cannot be read: No such file or directory", path.display()));
    let mut file = PasswordFile::default();
    file.set(UserName::new("ann").unwrap(), cheap(b"apple"));
    file.save(&path).unwrap();
    let auth = Authenticator::from_config(&config).unwrap();
    assert_eq!(auth.authenticate(&CLOSED, &user("ann", b"apple")), named("ann"));
}

#[test]
fn a_listener_has_its_policy() {
    assert_eq!(ListenerAuth::from(&Listener::default()), OPEN);
    let wide = Listener::at("0.0.0.0:1883".parse().unwrap());
    assert_eq!(ListenerAuth::from(&wide), CLOSED);
}
