//! `outpost check`: whether the broker, or the bridges of a file with `[local]`, would start with a file,
//! told without starting them. Every file that the configuration names is read as they would read it.

use std::path::{Path, PathBuf};

use clap::Args;
use outpost_bridge::config::{BridgeConfig, Direction, LocalConfig, TlsConfig};

use super::output::{Failure, Output};
use crate::auth::Authenticator;
use crate::bridges;
use crate::config::{Config, ConfigErrors, Listener, Overrides};
use crate::tls;

/// Check a configuration file and the files it names
///
/// Prints a summary and exits with 0 when the broker would start with it; else prints all errors
/// that can be found, and exits with 2.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration file
    file: PathBuf,
}

pub(super) fn execute(arguments: &Arguments, output: &mut Output<'_>) -> Result<(), Failure> {
    let file = &arguments.file;
    let config = Config::load(Some(file), Overrides::default())
        .map_err(|errors| Failure::usage(errors.iter()))?;
    let errors = in_files(&config);
    if !errors.is_empty() {
        return Err(Failure::usage(errors));
    }
    for warning in config.warnings() {
        writeln!(output.err, "outpost: warning: {}: {warning}", file.display())?;
    }
    summarise(file, &config, output)
}

/// What is wrong with the files that the configuration names; each is told where it is named.
fn in_files(config: &Config) -> Vec<String> {
    let mut errors = Vec::new();
    let mut note = |place: String, result: Result<(), ConfigErrors>| {
        let found = result.err();
        errors.extend(found.iter().flat_map(|e| e.iter()).map(|error| format!("{place}: {error}")));
    };
    note("auth.password_file".into(), Authenticator::from_config(&config.auth).map(drop));
    if config.local.is_none() {
        note("store.path".into(), check_data_directory(&config.store.path));
    }
    for Listener { address, tls, .. } in &config.listeners {
        if let Some(tls) = tls {
            note(format!("listener {address}"), tls::server_config(tls).map(drop));
        }
    }
    for result in config.local.iter().flat_map(|local| &local.tls).flat_map(check_bridge_tls) {
        note("local".into(), result);
    }
    for bridge in &config.bridges {
        for result in bridge.tls.iter().flat_map(check_bridge_tls) {
            note(format!("bridge {}", bridge.name), result);
        }
    }
    if errors.is_empty() {
        // Each can be read, and what they are together may still be wrong.
        errors.extend(bridges::prepared(&config.bridges).err().map(|error| error.to_string()));
    }
    errors
}

/// It may be missing: the broker makes it.
fn check_data_directory(path: &Path) -> Result<(), ConfigErrors> {
    if path.exists() && !path.is_dir() {
        return Err(ConfigErrors::of_file(path, "is not a directory"));
    }
    Ok(())
}

fn check_bridge_tls(tls: &TlsConfig) -> Vec<Result<(), ConfigErrors>> {
    let certificates = |file: &String| tls::read_certificates(Path::new(file)).map(drop);
    let key = |file: &String| tls::read_private_key(Path::new(file)).map(drop);
    let authorities = Some(certificates(&tls.ca_file));
    let client = [tls.cert_file.as_ref().map(certificates), tls.key_file.as_ref().map(key)];
    authorities.into_iter().chain(client.into_iter().flatten()).collect()
}

fn summarise(file: &Path, config: &Config, output: &mut Output<'_>) -> Result<(), Failure> {
    writeln!(output.out, "{}: OK", file.display())?;
    match &config.local {
        None => summarise_broker(config, output)?,
        Some(LocalConfig { address, tls, .. }) => {
            writeln!(output.out, "  bridges without a broker: outpost bridge -c FILE")?;
            writeln!(output.out, "  local broker {address}: {}", transport(tls.as_ref()))?;
        }
    }
    for bridge in &config.bridges {
        let (name, address) = (&bridge.name, &bridge.address);
        let (way, topics) = (describe_way(bridge), describe_topics(bridge));
        writeln!(output.out, "  bridge {name} to {address}: {way}, {topics}")?;
    }
    Ok(())
}

fn transport(tls: Option<&TlsConfig>) -> &'static str {
    if tls.is_some() { "TLS" } else { "plain TCP" }
}

fn describe_way(bridge: &BridgeConfig) -> String {
    let mut way = transport(bridge.tls.as_ref()).to_owned();
    if bridge.websocket.is_some() {
        way.push_str(", WebSocket");
    }
    if let Some(proxy) = &bridge.proxy {
        way.push_str(&format!(", by the proxy {}", proxy.address));
    }
    way
}

fn summarise_broker(config: &Config, output: &mut Output<'_>) -> Result<(), Failure> {
    for listener in &config.listeners {
        writeln!(output.out, "  listener {}: {}", listener.address, describe(listener))?;
    }
    if let Some(file) = &config.auth.password_file {
        writeln!(output.out, "  users of {}", file.display())?;
    }
    let store = &config.store;
    let (path, interval_ms) = (store.path.display(), store.commit_interval_ms);
    writeln!(output.out, "  store {path}: commits every {interval_ms} ms")?;
    for class in &store.topics {
        let (filter, durability) = (&class.filter, class.durability.name());
        let window = match class.durability.window_ms() {
            Some(0) => "nothing acknowledged is lost".to_owned(),
            Some(ms) => format!("a power cut may take what came within {ms} ms before it"),
            None => "a restart loses what is not delivered".to_owned(),
        };
        writeln!(output.out, "    {filter}: {durability}, {window}")?;
    }
    Ok(())
}

fn describe(listener: &Listener) -> String {
    let transport = match &listener.tls {
        None => "plain TCP",
        Some(tls) if tls.require_client_cert => "TLS with client certificates",
        Some(tls) if tls.client_ca_file.is_some() => "TLS, client certificates optional",
        Some(_) => "TLS",
    };
    let anonymous =
        if listener.allow_anonymous { "anonymous clients allowed" } else { "users only" };
    format!("{transport}, {anonymous}")
}

fn describe_topics(bridge: &BridgeConfig) -> String {
    let describe = |topic: &outpost_bridge::config::TopicConfig| {
        let (direction, filter) = match topic.direction {
            Direction::Out => ("out", topic.local_filter()),
            Direction::In => ("in", topic.remote_filter()),
            Direction::Both => ("both ways", topic.local_filter()),
        };
        let filter = if topic.from.is_empty() { &filter } else { &topic.from };
        match &topic.class {
            None => format!("{filter} {direction}"),
            Some(class) => format!("{filter} {direction} in class {class}"),
        }
    };
    bridge.topic.iter().map(describe).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{CertificateParams, KeyPair};
    use tempfile::TempDir;

    use super::super::output::capture;
    use super::*;

    struct Files(TempDir);

    impl Files {
        fn new(config: &str) -> Self {
            let files = Self(tempfile::tempdir().unwrap());
            files.write("gateway.toml", config);
            files
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.0.path().join(name), text).unwrap();
        }

        /// Standard output, standard error and exit code, with `DIR` for the directory.
        fn check(&self) -> (String, String, u8) {
            let file = self.0.path().join("gateway.toml");
            let (out, err, code) = capture(|output| execute(&Arguments { file }, output));
            let directory = self.0.path().to_str().unwrap();
            (out.replace(directory, "DIR"), err.replace(directory, "DIR"), code)
        }
    }

    const GATEWAY: &str = r#"
        [[listener]]
        address = "127.0.0.1:1883"
        [[listener]]
        address = "0.0.0.0:8883"
        allow_anonymous = true
        tls = { cert_file = "s.pem", key_file = "s.key" }
        [auth]
        password_file = "passwords"
        [store]
        path = "data"
        [[store.topic]]
        filter = "x/#"
        durability = "interval"
        interval_ms = 5000
        [[bridge]]
        name = "hq"
        address = "hq.example:8883"
        tls = { ca_file = "s.pem" }
        [[bridge.topic]]
        filter = "t/#"
        direction = "out"
        local_prefix = "site/"
        [[bridge.topic]]
        filter = "c/#"
        direction = "in"
    "#;

    #[test]
    fn a_right_file_gets_a_summary_and_a_warning() {
        let files = Files::new(GATEWAY);
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["hq".into()]).unwrap().self_signed(&key).unwrap();
        files.write("s.pem", &certificate.pem());
        files.write("s.key", &key.serialize_pem());
        files.write("passwords", "# none yet\n");
        let (out, err, code) = files.check();
        assert_eq!(
            out,
            "DIR/gateway.toml: OK\n\
             \x20 listener 127.0.0.1:1883: plain TCP, anonymous clients allowed\n\
             \x20 listener 0.0.0.0:8883: TLS, anonymous clients allowed\n\
             \x20 users of DIR/passwords\n\
             \x20 store DIR/data: commits every 20 ms\n\
             \x20   x/#: interval, a power cut may take what came within 5000 ms before it\n\
             \x20 bridge hq to hq.example:8883: TLS, site/t/# out, c/# in\n"
        );
        assert_eq!(
            err,
            "outpost: warning: DIR/gateway.toml: listener 0.0.0.0:8883: allow_anonymous = true lets \
             everybody in who can reach this address\n"
        );
        assert_eq!(code, 0);
    }

    #[test]
    fn every_file_that_is_wrong_is_told() {
        let files = Files::new(GATEWAY);
        files.write("data", "a file");
        files.write("passwords", "ann:apple\nbob\n");
        let (out, err, code) = files.check();
        assert_eq!(
            err,
            "outpost: auth.password_file: DIR/passwords:1: user \"ann\": no argon2id hash; set the \
             password with outpost passwd\n\
             outpost: auth.password_file: DIR/passwords:2: must be USER:HASH, as outpost passwd \
             writes it\n\
             outpost: store.path: DIR/data: is not a directory\n\
             outpost: listener 0.0.0.0:8883: DIR/s.pem: cannot be read: No such file or directory\n\
             outpost: bridge hq: DIR/s.pem: cannot be read: No such file or directory\n"
        );
        assert_eq!((out.as_str(), code), ("", 2));
    }

    #[test]
    fn every_key_that_is_wrong_is_told() {
        let files = Files::new("[limits]\nreceive_maximum = 0\n[sys]\ninterval = 5\n");
        let (out, err, code) = files.check();
        assert_eq!(
            err,
            "outpost: DIR/gateway.toml:2: limits.receive_maximum = 0: must be 1 to 65535\n\
             outpost: DIR/gateway.toml:4: sys.interval: unknown key; did you mean interval_s?\n"
        );
        assert_eq!((out.as_str(), code), ("", 2));
    }

    #[test]
    fn a_file_for_bridges_alone() {
        let files = Files::new(
            r#"
            [local]
            address = "10.0.0.5:1883"
            user_name = "bridge"
            password = "s3cret"
            [[bridge]]
            name = "hq"
            address = "hq.example:1883"
            topic = [{ filter = "t/#", direction = "out" }]
            "#,
        );
        let (out, err, code) = files.check();
        assert_eq!(
            out,
            "DIR/gateway.toml: OK\n\
             \x20 bridges without a broker: outpost bridge -c FILE\n\
             \x20 local broker 10.0.0.5:1883: plain TCP\n\
             \x20 bridge hq to hq.example:1883: plain TCP, t/# out\n"
        );
        let warning = "local: without tls its password crosses the network in clear text";
        assert_eq!(err, format!("outpost: warning: DIR/gateway.toml: {warning}\n"));
        assert_eq!(code, 0);
    }

    #[test]
    fn the_whole_way_to_a_remote_broker_is_told_and_checked() {
        let files = Files::new(
            r#"
            [[bridge]]
            name = "hq"
            address = "hq.example:443"
            websocket = {}
            proxy = { address = "proxy.example:3128" }
            tls = { ca_file = "c.pem", cert_file = "c.pem", key_file = "c.key" }
            topic = [{ filter = "t/#", direction = "out" }]
            "#,
        );
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let certificate =
            CertificateParams::new(vec!["hq".into()]).unwrap().self_signed(&key).unwrap();
        files.write("c.pem", &certificate.pem());
        files.write("c.key", &key.serialize_pem());
        let (out, err, _) = files.check();
        let line = "  bridge hq to hq.example:443: TLS, WebSocket, by the proxy proxy.example:3128, t/# out\n";
        assert!(out.ends_with(line), "{out}{err}");
        files.write("c.key", &other.serialize_pem());
        let (_, err, code) = files.check();
        assert_eq!(
            err,
            "outpost: bridge hq: TLS failed: DIR/c.key: is not the private key of the first certificate \
             in DIR/c.pem\n"
        );
        assert_eq!(code, 2);
    }

    #[test]
    fn the_configurations_of_the_repository_are_right() {
        for name in ["gateway.toml", "central.toml", "bridge.toml", "reference.toml"] {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs").join(name);
            let (_, err, code) = capture(|output| execute(&Arguments { file }, output));
            assert_eq!((err.as_str(), code), ("", 0), "{name}");
        }
    }
}
