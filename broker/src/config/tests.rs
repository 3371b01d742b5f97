//! The configuration as a whole: what files mean, what they get for an answer, and that
//! `configs/reference.toml` tells the truth.

use std::collections::BTreeSet;
use std::path::Path;

use outpost_bridge::config as bridge;
use outpost_protocol::QoS;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use super::*;
use crate::core::Durability;
use crate::core::limits::QueueFull;

const REFERENCE: &str = include_str!("../../../configs/reference.toml");

const BRIDGE: &str = "[[bridge]]\nname = \"central\"\naddress = \"hq:1883\"\n\
                      [[bridge.topic]]\nfilter = \"t/#\"\ndirection = \"out\"\n";

fn parse(text: &str) -> Config {
    Config::parse(Path::new("/etc/outpost/gateway.toml"), text).unwrap()
}

/// The errors of a file named `gateway.toml`, one a line.
fn errors(text: &str) -> String {
    Config::parse(Path::new("gateway.toml"), text).unwrap_err().to_string()
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(parse(""), Config::default());
    let listener = &Config::default().listeners[0];
    assert_eq!(listener.address.to_string(), "127.0.0.1:1883");
    assert!(listener.allow_anonymous && listener.tls.is_none());
}

#[test]
fn a_whole_file() {
    let config = parse(
        r#"
        [[listener]]
        address = "0.0.0.0:8883"
        tls = { cert_file = "s.pem", key_file = "/keys/s.key", client_ca_file = "ca.pem", require_client_cert = true, cn_as_user_name = true }
        [[listener]]
        address = "[::1]:1883"
        [[listener]]
        address = "10.0.0.1:1883"
        allow_anonymous = true
        [auth]
        password_file = "passwords"
        [store]
        path = "data"
        commit_interval_ms = 0
        cache_bytes = 16777216
        [limits]
        packet_bytes_max = "2 KiB"
        queue_full = "drop_oldest"
        maximum_qos = 1
        [sys]
        interval_s = 0
        [log]
        level = "debug"
        format = "json"
        "#,
    );
    let [tls, v6, lan] = &config.listeners[..] else { panic!("three listeners") };
    let files = tls.tls.as_ref().unwrap();
    assert_eq!(files.cert_file, Path::new("/etc/outpost/s.pem"));
    assert_eq!(files.key_file, Path::new("/keys/s.key"));
    assert_eq!(files.client_ca_file.as_deref(), Some(Path::new("/etc/outpost/ca.pem")));
    assert!(files.require_client_cert && files.cn_as_user_name);
    assert!(!tls.allow_anonymous, "not on loopback");
    assert!(v6.allow_anonymous, "on loopback");
    assert!(lan.allow_anonymous, "said so");
    assert_eq!(config.auth.password_file.as_deref(), Some(Path::new("/etc/outpost/passwords")));
    assert_eq!(config.store.path, Path::new("/etc/outpost/data"));
    assert_eq!((config.store.commit_interval_ms, config.store.cache_bytes), (0, 16 << 20));
    assert_eq!(config.limits.packet_bytes_max, 2048);
    assert_eq!(config.limits.queue_full, QueueFull::DropOldest);
    assert_eq!(config.limits.maximum_qos, QoS::AtLeastOnce);
    assert_eq!(config.sys.interval_s, 0);
    assert_eq!(config.log, Log { level: LogLevel::Debug, format: LogFormat::Json });
}

#[test]
fn bridges_with_files_beside_the_configuration() {
    let config = parse(&format!("{BRIDGE}[bridge.tls]\nca_file = \"ca.pem\"\n"));
    let [bridge] = &config.bridges[..] else { panic!("one bridge") };
    assert_eq!(bridge.client_id(), "outpost-central");
    assert_eq!(bridge.tls.as_ref().unwrap().ca_file, "/etc/outpost/ca.pem");
}

#[test]
fn the_command_line_adds_listeners_and_moves_the_store() {
    let addresses = |config: &Config| -> Vec<_> {
        config.listeners.iter().map(|listener| listener.address.to_string()).collect()
    };
    let overrides = || Overrides {
        listen: vec!["127.0.0.1:1".parse().unwrap(), "0.0.0.0:2".parse().unwrap()],
        data: Some("elsewhere".into()),
    };
    let alone = Config::load(None, overrides()).unwrap();
    assert_eq!(addresses(&alone), ["127.0.0.1:1", "0.0.0.0:2"], "not the default listener");
    assert_eq!(
        alone.listeners.iter().map(|l| l.allow_anonymous).collect::<Vec<_>>(),
        [true, false]
    );
    assert_eq!(alone.store.path, Path::new("elsewhere"));

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gateway.toml");
    let text = "[[listener]]\naddress = \"127.0.0.1:1\"\nallow_anonymous = false\n[store]\n\
                path = \"data\"\n";
    std::fs::write(&file, text).unwrap();
    let both = Config::load(Some(&file), overrides()).unwrap();
    assert_eq!(addresses(&both), ["127.0.0.1:1", "0.0.0.0:2"]);
    assert!(!both.listeners[0].allow_anonymous, "as the file says");
    assert_eq!(both.store.path, Path::new("elsewhere"));
    let neither = Config::load(Some(&file), Overrides::default()).unwrap();
    assert_eq!(neither.store.path, directory.path().join("data"));
    assert_eq!(Config::load(None, Overrides::default()).unwrap(), Config::default());
}

#[test]
fn a_file_that_is_not_there() {
    let errors = Config::load(Some(Path::new("no/such.toml")), Overrides::default()).unwrap_err();
    assert_eq!(errors.to_string(), "no/such.toml: cannot be read: No such file or directory");
}

#[test]
fn a_number_out_of_range() {
    assert_eq!(
        errors("[limits]\nreceive_maximum = 0\n"),
        "gateway.toml:2: limits.receive_maximum = 0: must be 1 to 65535"
    );
    assert_eq!(
        errors("\n\n[limits]\nreceive_maximum = 99999999999999999999\n"),
        "gateway.toml:4: limits.receive_maximum = 99999999999999999999: must be 1 to 65535"
    );
    assert_eq!(
        errors("[store]\ncache_bytes = \"1 KiB\""),
        "gateway.toml:2: store.cache_bytes = \"1 KiB\": must be 1 MiB to 64 GiB"
    );
    assert_eq!(
        errors("[limits]\nmaximum_qos = 3"),
        "gateway.toml:2: limits.maximum_qos = 3: must be 0 to 2"
    );
}

#[test]
fn a_value_of_the_wrong_kind() {
    assert_eq!(
        errors("[limits]\nreceive_maximum = \"many\"\n"),
        "gateway.toml:2: limits.receive_maximum = \"many\": must be a whole number"
    );
    assert_eq!(
        errors("[store]\ncache_bytes = \"8 MB\"\n"),
        "gateway.toml:2: store.cache_bytes = \"8 MB\": must be a number of bytes, such as 8388608 \
         or \"8 MiB\" (B, KiB, MiB, GiB)"
    );
    assert_eq!(
        errors("[[listener]]\naddress = \"[::1]:1\"\nallow_anonymous = 1\n"),
        "gateway.toml:3: listener.allow_anonymous = 1: must be true or false"
    );
    assert_eq!(
        errors("[log]\nlevel = \"loud\"\n"),
        "gateway.toml:2: log.level = \"loud\": must be \"error\", \"warn\", \"info\", \"debug\" or \
         \"trace\""
    );
    assert_eq!(
        errors("[limits]\nqueue_full = \"drop\"\n"),
        "gateway.toml:2: limits.queue_full = \"drop\": must be \"reject\", \"drop_oldest\", \
         \"drop_newest\" or \"keep_last_per_topic\""
    );
    assert_eq!(
        errors("[store]\non_corrupt = \"delete\"\n"),
        "gateway.toml:2: store.on_corrupt = \"delete\": must be \"salvage\" or \"refuse\""
    );
    assert_eq!(
        errors("[auth]\npassword_file = 5\n"),
        "gateway.toml:2: auth.password_file = 5: must be a string in quotes"
    );
    assert_eq!(
        errors("[auth]\npassword_file = \"\"\n"),
        "gateway.toml:2: auth.password_file = \"\": must be a path"
    );
}

#[test]
fn unknown_keys_and_sections() {
    assert_eq!(
        errors("[limits]\nrecieve_maximum = 5\n"),
        "gateway.toml:2: limits.recieve_maximum: unknown key; did you mean receive_maximum?"
    );
    assert_eq!(
        errors("[log]\ncolour = true\n"),
        "gateway.toml:2: log.colour: unknown key; known here: level, format"
    );
    assert_eq!(
        errors("[sys]\nx = 1\n"),
        "gateway.toml:2: sys.x: unknown key; known here: interval_s"
    );
    assert_eq!(errors("[limit]\n"), "gateway.toml:1: limit: unknown key; did you mean limits?");
    assert_eq!(
        errors("[[listener]]\naddress = \"localhost:1\"\ntls = { cert = \"c\" }\n").lines().next(),
        Some(
            "gateway.toml:3: listener.tls.cert: unknown key; known here: cert_file, key_file, \
             client_ca_file, require_client_cert, cn_as_user_name"
        )
    );
}

#[test]
fn sections_of_the_wrong_kind() {
    assert_eq!(
        errors("[listener]\naddress = \"localhost:1\"\n"),
        "gateway.toml:1: listener: must be one or more tables, each under [[listener]]"
    );
    assert_eq!(errors("store = 5\n"), "gateway.toml:1: store = 5: must be a table under [store]");
}

#[test]
fn text_that_is_not_toml() {
    assert_eq!(
        errors("[limits]\nreceive_maximum = \n").lines().next().unwrap().split(": ").nth(1),
        Some("not valid TOML")
    );
    assert!(
        errors("[auth]\npassword_file = \"a\"\npassword_file = \"b\"\n")
            .starts_with("gateway.toml:3: not valid TOML: duplicate key")
    );
}

#[test]
fn listeners() {
    assert_eq!(
        errors("# door\n[[listener]]\nallow_anonymous = true\n"),
        "gateway.toml:2: listener.address: is missing: must be \"host:port\""
    );
    assert_eq!(
        errors("[[listener]]\naddress = \"1883\"\n"),
        "gateway.toml:2: listener.address = \"1883\": must be \"host:port\", such as \
         127.0.0.1:1883, 0.0.0.0:8883 or [::]:1883"
    );
    let twice = "[[listener]]\naddress = \"localhost:1883\"\n".repeat(2);
    assert_eq!(
        errors(&twice),
        "gateway.toml:4: listener.address = \"localhost:1883\": is the address of the listener on \
         line 1 already"
    );
    let any_port = "[[listener]]\naddress = \"localhost:0\"\n".repeat(2);
    assert_eq!(parse(&any_port).listeners.len(), 2, "the system chooses two ports");
}

#[test]
fn tls_of_listeners() {
    assert_eq!(
        errors("[[listener]]\naddress = \"localhost:1\"\ntls = { cert_file = \"c\" }\n"),
        "gateway.toml:3: listener.tls.key_file: is missing: must be the path of a PEM file"
    );
    let tls = "[[listener]]\naddress = \"localhost:1\"\n[listener.tls]\ncert_file = \"c\"\n\
               key_file = \"k\"\n";
    assert_eq!(
        errors(&format!("{tls}require_client_cert = true\ncn_as_user_name = true\n")),
        "gateway.toml:6: listener.tls.require_client_cert = true: needs client_ca_file, the \
         authority that client certificates are from\n\
         gateway.toml:7: listener.tls.cn_as_user_name = true: needs client_ca_file, the authority \
         that client certificates are from"
    );
    parse(&format!("{tls}require_client_cert = false\n"));
}

#[test]
fn bridges() {
    assert_eq!(
        errors(&BRIDGE.replace("t/#", "t#")),
        "gateway.toml:5: bridge.topic[0].filter = \"t#\": must be a topic filter: + and # alone \
         between slashes, # last"
    );
    assert_eq!(
        errors(&BRIDGE.replace("out", "up")),
        "gateway.toml:6: bridge.topic.direction = \"up\": must be \"out\", \"in\" or \"both\""
    );
    assert_eq!(
        errors(&BRIDGE.replace("[[bridge.topic]]", "keep_alive_s = 70000\n[[bridge.topic]]")),
        "gateway.toml:4: bridge.keep_alive_s = 70000: must be a whole number 0 to 65535"
    );
    assert_eq!(
        errors(&BRIDGE.replace("address", "adress")),
        "gateway.toml:3: bridge.adress: unknown key; did you mean address?"
    );
    assert_eq!(
        errors(&BRIDGE.replace("name = \"central\"\n", "")),
        "gateway.toml:1: bridge: the key name is missing"
    );
    assert_eq!(
        errors(&BRIDGE.replace("filter = \"t/#\"\n", "")),
        "gateway.toml:4: bridge.topic[0].filter: must be a topic filter, or from and to"
    );
    assert_eq!(
        errors(&BRIDGE.replace("[[bridge.topic]]", "tls = {}\n[[bridge.topic]]")),
        "gateway.toml:4: bridge.tls: the key ca_file is missing"
    );
    assert_eq!(
        errors(&BRIDGE.repeat(2)),
        "gateway.toml:8: bridge.name = \"central\": is the name of the bridge on line 1 already"
    );
    let other = BRIDGE.replace("\"central\"", "\"other\"\nclient_id = \"outpost-central\"");
    assert_eq!(
        errors(&format!("{BRIDGE}{other}")),
        "gateway.toml:9: bridge.client_id: \"outpost-central\" is that of bridge central already: at the \
         local broker they would be one session"
    );
    let class = "class = [{ name = \"a\" }]\n[[bridge.topic]]\nclass = \"a\"";
    let classes = BRIDGE.replace("[[bridge.topic]]", class);
    let other = other.replace("outpost-central", "outpost-central.a");
    assert!(errors(&format!("{classes}{other}")).contains("is that of bridge central already"));
    let with = |line: &str| {
        errors(&BRIDGE.replace("[[bridge.topic]]", &format!("{line}\n[[bridge.topic]]")))
    };
    assert_eq!(
        with("websocket = { path = \"mqtt\" }"),
        "gateway.toml:4: bridge.websocket.path = \"mqtt\": must be a path that begins with /, up to \
         4096 bytes, without spaces and #"
    );
    assert_eq!(
        with("websocket = { headers = { Host = \"hq\" } }"),
        "gateway.toml:4: bridge.websocket.headers.Host: must be the name of a header that the \
         handshake does not have"
    );
    assert_eq!(
        with("websocket = { url = \"/mqtt\" }"),
        "gateway.toml:4: bridge.websocket.url: unknown key; known here: path, headers"
    );
    assert_eq!(with("proxy = {}"), "gateway.toml:4: bridge.proxy: the key address is missing");
    let no_key = "tls = { ca_file = \"ca\", cert_file = \"c\" }\n[[bridge.topic]]";
    assert_eq!(
        errors(&BRIDGE.replace("[[bridge.topic]]", no_key)),
        "gateway.toml:4: bridge.tls.key_file: must be the private key that belongs to cert_file"
    );
}

#[test]
fn a_password_is_not_shown() {
    let text = |value: &str| {
        BRIDGE.replace("[[bridge.topic]]", &format!("password = {value}\n[[bridge.topic]]"))
    };
    assert_eq!(
        errors(&text("1234")),
        "gateway.toml:4: bridge.password = (hidden): must be a string in quotes"
    );
    assert!(!errors(&text("\"s3cret\"\nversion = \"3.1.1\"")).contains("s3cret"));
    let with = |line: &str| {
        errors(&BRIDGE.replace("[[bridge.topic]]", &format!("{line}\n[[bridge.topic]]")))
    };
    assert_eq!(
        with("proxy = \"http://user:s3cret@proxy:3128\""),
        "gateway.toml:4: bridge.proxy = (hidden): must be a table"
    );
    assert_eq!(
        with("proxy = { address = \"p:1\", password = \"s3cret\" }"),
        "gateway.toml:4: bridge.proxy.password = (hidden): must be a user_name beside it"
    );
    assert_eq!(
        with("websocket = { headers = { Token = \"s3\\ncret\" } }"),
        "gateway.toml:4: bridge.websocket.headers.Token = (hidden): must be up to 8192 bytes \
         without control characters"
    );
}

#[test]
fn all_errors_are_told_in_the_order_of_the_file() {
    let text = "[sys]\ninterval_s = -1\n[log]\nlevel = 1\nfomat = \"text\"\n[limits]\n\
                inflight_max = true\nreceive_maximum = 0\n[[listener]]\n[[bridge]]\nname = 5\n";
    let lines: Vec<_> = errors(text).lines().map(|line| line.to_owned()).collect();
    let places: Vec<_> =
        lines.iter().map(|line| line.split(": ").take(2).collect::<Vec<_>>()).collect();
    let places: Vec<_> = places.into_iter().map(|place| place.join(" ")).collect();
    assert_eq!(
        places,
        [
            "gateway.toml:2 sys.interval_s = -1",
            "gateway.toml:4 log.level = 1",
            "gateway.toml:5 log.fomat",
            "gateway.toml:7 limits.inflight_max = true",
            "gateway.toml:8 limits.receive_maximum = 0",
            "gateway.toml:9 listener.address",
            "gateway.toml:11 bridge.name = 5",
        ]
    );
}

#[test]
fn every_limit_is_read_from_the_key_of_its_name() {
    for key in keys_of::<file::FileLimits>() {
        let value = if *key == "queue_full" { "\"drop_newest\"" } else { "1000001" };
        let value = if *key == "maximum_qos" { "0" } else { value };
        let shown = match Config::parse(Path::new("x"), &format!("[limits]\n{key} = {value}\n")) {
            Ok(config) => format!("{:#?}", config.limits),
            Err(errors) => errors.to_string(),
        };
        let default = format!("{:#?}", Limits::default());
        let changed: Vec<_> =
            shown.lines().filter(|line| !default.contains(line)).map(str::trim).collect();
        let [one] = changed[..] else { panic!("{key} changes {changed:?}") };
        let expected = [format!("{key}: "), format!("x:2: limits.{key} = {value}: must be ")];
        assert!(expected.iter().any(|start| one.starts_with(start)), "{key}: {one}");
    }
}

#[test]
fn every_limit_has_a_key() {
    let limits = format!("{:#?}", Limits::default());
    let fields: Vec<_> = limits.lines().filter_map(|line| line.trim().split_once(": ")).collect();
    let fields: BTreeSet<_> = fields.into_iter().map(|(name, _)| name).collect();
    assert_eq!(fields, keys_of::<file::FileLimits>().iter().copied().collect());
}

#[test]
fn the_reference_is_the_default() {
    let config = Config::parse(Path::new("configs/reference.toml"), REFERENCE).unwrap();
    assert_eq!(config, Config::default());
}

/// Every key is named in its section: as it stands where it has a default, else behind `# `.
#[test]
fn the_reference_names_every_key() {
    let sections: [(&str, &[&str], &[&str]); 16] = [
        ("[[listener]]", keys_of::<file::FileListener>(), &["tls"]),
        ("[listener.tls]", keys_of::<file::FileListenerTls>(), &["*"]),
        ("[auth]", keys_of::<file::FileAuth>(), &["*"]),
        ("[store]", keys_of::<file::FileStore>(), &["path"]),
        ("[[store.topic]]", keys_of::<file::FileStoreTopic>(), &["*"]),
        ("[limits]", keys_of::<file::FileLimits>(), &[]),
        ("[[queue]]", keys_of::<file::FileQueue>(), &["*"]),
        ("[sys]", keys_of::<file::FileSys>(), &[]),
        ("[log]", keys_of::<file::FileLog>(), &[]),
        ("[[bridge]]", keys_of::<bridge::BridgeConfig>(), &["*"]),
        ("[[bridge.class]]", keys_of::<bridge::ClassConfig>(), &["*"]),
        ("[[bridge.topic]]", keys_of::<bridge::TopicConfig>(), &["*"]),
        ("[local]", keys_of::<bridge::LocalConfig>(), &["*"]),
        ("tls = { ca_file", keys_of::<bridge::TlsConfig>(), &["*"]),
        ("websocket = {", keys_of::<bridge::WebSocketConfig>(), &["*"]),
        ("proxy = {", keys_of::<bridge::ProxyConfig>(), &["*"]),
    ];
    for (header, keys, without_default) in sections {
        assert!(!keys.is_empty(), "{header} has keys");
        for key in keys
            .iter()
            .filter(|key| !["topic", "class"].contains(key) || header == "[[bridge.topic]]")
        {
            let commented = without_default.contains(key) || without_default == ["*"];
            assert!(names_key(header, key, commented), "{header} {key}, commented: {commented}");
        }
    }
}

#[test]
fn a_file_for_bridges_alone() {
    let local = "[local]\naddress = \"mosquitto:1883\"\ntls = { ca_file = \"ca.pem\" }\n";
    let config = parse(&format!("{local}{BRIDGE}[log]\nlevel = \"debug\"\n"));
    let local_config = config.local.unwrap();
    assert_eq!(local_config.tls.as_ref().unwrap().ca_file, "/etc/outpost/ca.pem");
    assert_eq!(config.bridges[0].local, Some(local_config));
    assert_eq!(
        errors(&format!("[store]\npath = \"x\"\n{local}{BRIDGE}[sys]\n")),
        "gateway.toml:1: store: has no place beside [local]: such a file is for bridges without a \
         broker\n\
         gateway.toml:12: sys: has no place beside [local]: such a file is for bridges without a broker"
    );
    assert_eq!(
        errors("[local]\naddress = \"nowhere\"\nport = 1\n"),
        "gateway.toml:2: local.address = \"nowhere\": must be host:port, with an IPv6 address in \
         brackets and a port of 1 to 65535\n\
         gateway.toml:3: local.port: unknown key; known here: address, version, user_name, password, tls"
    );
    assert_eq!(errors("[local]\n"), "gateway.toml:1: local: the key address is missing");
    assert_eq!(
        errors(&format!("{}{BRIDGE}", local.replace("mosquitto", "hq"))),
        "gateway.toml:6: bridge.address = \"hq:1883\": must be another broker than that of [local]: \
         one broker cannot have two sessions with one client identifier"
    );
}

#[test]
fn classes_of_topics() {
    let config = parse(
        r#"
        [[store.topic]]
        filter = "alarm/#"
        durability = "durable"
        [[store.topic]]
        filter = "telemetry/#"
        durability = "interval"
        interval_ms = 5000
        [[store.topic]]
        filter = "+/debug"
        durability = "volatile"
        "#,
    );
    let class = |filter: &str, durability| TopicClass { filter: filter.into(), durability };
    let expected = [
        class("alarm/#", Durability::Durable),
        class("telemetry/#", Durability::Interval { window_ms: 5_000 }),
        class("+/debug", Durability::Volatile),
    ];
    assert_eq!(config.store.topics, expected);
}

#[test]
fn classes_that_are_wrong() {
    let of = |keys: &str| errors(&format!("[[store.topic]]\n{keys}\n"));
    let volatile = "durability = \"volatile\"";
    assert!(of(volatile).contains("store.topic.filter: is missing"), "{}", of(volatile));
    for filter in ["a/#/b", "", "$share/g/a"] {
        let told = of(&format!("filter = \"{filter}\"\n{volatile}"));
        assert!(told.contains("must be a topic filter"), "{told}");
    }
    for (keys, expected) in [
        ("filter = \"a\"", "store.topic.durability: is missing"),
        ("filter = \"a\"\ndurability = \"x\"", "\"volatile\""),
        ("filter = \"a\"\ndurability = \"interval\"", "store.topic.interval_ms: is missing"),
        ("filter = \"a\"\ndurability = \"interval\"\ninterval_ms = 0", "must be 1 to 3600000"),
        ("filter = \"a\"\ndurability = \"durable\"\ninterval_ms = 5", "\"interval\" only"),
    ] {
        assert!(of(keys).contains(expected), "{keys}: {}", of(keys));
    }
    let told = of("filter = \"a\"\ndurability = \"x\"");
    assert_eq!(told.lines().count(), 1, "a wrong value is not missing: {told}");
}

/// The range that stands above a key is the one that an error would name.
#[test]
fn the_reference_tells_the_ranges() {
    let sections: [(&str, &[&str]); 3] = [
        ("store", keys_of::<file::FileStore>()),
        ("limits", keys_of::<file::FileLimits>()),
        ("sys", keys_of::<file::FileSys>()),
    ];
    for (section, keys) in sections {
        let others = ["path", "queue_full", "on_corrupt", "topic"];
        for key in keys.iter().filter(|key| !others.contains(key)) {
            let text = format!("[{section}]\n{key} = 9000000000000000000\n");
            let errors = Config::parse(Path::new("x"), &text).unwrap_err().to_string();
            let (_, range) = errors.rsplit_once("must be ").unwrap();
            let range = range.replace(" B", "");
            assert!(comment_of(key).contains(&format!(" {range}.")), "{key}: {range}");
        }
    }
}

/// What stands above a key, as one line, sizes without quotes and without the unit B.
fn comment_of(key: &str) -> String {
    let lines: Vec<_> = REFERENCE.lines().collect();
    let at = lines.iter().position(|line| line.starts_with(&format!("{key} = "))).unwrap();
    let begin = lines[..at].iter().rposition(|line| !line.starts_with("# ")).unwrap() + 1;
    let comment: Vec<_> = lines[begin..at].iter().map(|line| &line[2..]).collect();
    comment.join(" ").replace('"', "").replace(" B", "")
}

fn names_key(header: &str, key: &str, commented: bool) -> bool {
    let lines = REFERENCE.lines().skip_while(|line| !bare(line).starts_with(header));
    if header.contains('{') {
        return lines.take(1).any(|line| line.contains(&format!("{key} = ")));
    }
    let mut section = lines.skip(1).take_while(|line| !bare(line).starts_with('['));
    section.any(|line| {
        line.starts_with('#') == commented && bare(line).starts_with(&format!("{key} = "))
    }) || key == "tls" && REFERENCE.contains("\n# tls = { cert_file")
}

fn bare(line: &str) -> &str {
    line.strip_prefix("# ").unwrap_or(line)
}

/// A commented key is an example that works: without the `# ` the file is still right.
#[test]
fn the_examples_in_the_reference_are_right() {
    let mut text = String::new();
    for line in REFERENCE.lines() {
        let example = line.strip_prefix("# ").filter(|example| is_toml(example)).unwrap_or(line);
        // What is shown in two forms.
        let others = ["tls = { cert_file", "from = ", "to = "];
        if !others.iter().any(|other| example.starts_with(other)) {
            text.push_str(example);
        }
        text.push('\n');
    }
    let (text, alone) = text.split_at(text.find("\n[local]").unwrap());
    let local = parse(&format!("{alone}\n{BRIDGE}")).local.unwrap();
    assert_eq!(local.version, bridge::MqttVersion::default());
    let config = Config::parse(Path::new("reference.toml"), text).unwrap();
    let [example] = &config.bridges[..] else { panic!("the example of a bridge") };
    assert_eq!(example.topic.len(), 1);
    assert!(config.listeners[0].tls.as_ref().unwrap().cn_as_user_name);
    let smallest = parse(BRIDGE).bridges.remove(0);
    assert_eq!(
        (example.keep_alive_s, example.inflight_max, example.packet_bytes_max, example.version),
        (smallest.keep_alive_s, smallest.inflight_max, smallest.packet_bytes_max, smallest.version)
    );
    assert_eq!(
        (example.reconnect_min_ms, example.reconnect_max_ms, example.ack_timeout_s),
        (smallest.reconnect_min_ms, smallest.reconnect_max_ms, smallest.ack_timeout_s)
    );
    assert_eq!(
        (example.maximum_qos, example.topic[0].qos),
        (smallest.maximum_qos, smallest.topic[0].qos)
    );
    assert_eq!(example.topic[0].qos, smallest.topic[0].qos);
    let allow = example.class[0].allow.clone();
    let defaults = bridge::ClassConfig { name: "bulk".into(), allow, ..Default::default() };
    assert_eq!(example.class, [defaults]);
}

fn is_toml(line: &str) -> bool {
    let key = line.split(" = ").next().unwrap_or_default();
    let is_key = key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    line.starts_with('[') || (is_key && line.contains(" = "))
}

/// The keys that serde takes for a struct.
fn keys_of<T: for<'de> Deserialize<'de>>() -> &'static [&'static str] {
    struct Keys<'k>(&'k mut &'static [&'static str]);
    impl<'de> Deserializer<'de> for Keys<'_> {
        type Error = de::value::Error;
        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(de::Error::custom("only the keys are wanted"))
        }
        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            keys: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Self::Error> {
            *self.0 = keys;
            self.deserialize_any(visitor)
        }
        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }
    let mut keys: &'static [&'static str] = &[];
    T::deserialize(Keys(&mut keys)).err();
    keys
}
