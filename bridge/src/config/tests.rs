//! Every key of a bridge: its default, its bounds, and the error that names it.

use super::*;

const SMALLEST: &str = r##"
    name = "central"
    address = "central.example:1883"
    topic = [{ filter = "#", direction = "out" }]
"##;

fn parse(text: &str) -> BridgeConfig {
    toml::from_str(text).expect("the file is well-formed")
}

fn smallest() -> BridgeConfig {
    parse(SMALLEST)
}

fn wrong_key(config: &BridgeConfig) -> String {
    config.validate().expect_err("the value is wrong").key
}

#[test]
fn defaults() {
    let config = smallest();
    config.validate().expect("the smallest configuration is valid");
    assert_eq!(config.client_id(), "outpost-central");
    assert_eq!(config.version, MqttVersion::V5);
    assert_eq!(config.keep_alive_s, 60);
    assert_eq!(config.inflight_max, 1000);
    assert_eq!((config.reconnect_min_ms, config.reconnect_max_ms), (1000, 60_000));
    assert_eq!(config.ack_timeout_s, 60);
    assert_eq!(config.topic[0].qos, 1);
    assert_eq!(config.topic[0].local_prefix, "");
    assert_eq!((config.host(), config.port()), (Some("central.example"), Some(1883)));
}

#[test]
fn every_key() {
    let config = parse(
        r#"
        name = "hq"
        address = "[2001:db8::1]:8883"
        client_id = "gateway-7"
        version = "3.1.1"
        user_name = "gateway"
        password = "secret"
        keep_alive_s = 30
        tls = { ca_file = "ca.pem", cert_file = "c.pem", key_file = "k.pem", server_name = "hq" }
        websocket = { path = "/broker?x=1", headers = { Authorization = "Bearer secret" } }
        proxy = { address = "proxy:3128", user_name = "gateway", password = "secret" }
        inflight_max = 20
        packet_bytes_max = 65536
        reconnect_min_ms = 500
        reconnect_max_ms = 5000
        ack_timeout_s = 10
        [[topic]]
        filter = "sensors/#"
        direction = "both"
        qos = 2
        local_prefix = "plant/"
        remote_prefix = "site7/plant/"
        "#,
    );
    config.validate().expect("all values are right");
    assert_eq!(config.host(), Some("2001:db8::1"));
    assert_eq!(config.topic[0].local_filter(), "plant/sensors/#");
    assert_eq!(config.topic[0].remote_filter(), "site7/plant/sensors/#");
    assert_eq!(config.password.as_ref().map(Secret::reveal), Some("secret"));
    assert!(!format!("{config:?}").contains("secret"), "a password must not reach the log");
}

#[test]
fn unknown_keys_are_refused() {
    assert!(toml::from_str::<BridgeConfig>(&format!("colour = 1\n{SMALLEST}")).is_err());
}

#[test]
fn names_and_addresses() {
    for name in ["", "a b", "\u{e4}", "x/y", &"n".repeat(65)] {
        assert_eq!(wrong_key(&BridgeConfig { name: name.into(), ..smallest() }), "name", "{name}");
    }
    for address in
        ["", "host", "host:", "host:0", "host:65536", ":1883", "::1:1883", "[::1]", "a b:1"]
    {
        let config = BridgeConfig { address: address.into(), ..smallest() };
        assert_eq!(wrong_key(&config), "address", "{address}");
    }
}

#[test]
fn bounds_of_numbers() {
    assert_eq!(wrong_key(&BridgeConfig { keep_alive_s: 0, ..smallest() }), "keep_alive_s");
    for inflight_max in [0, 1001] {
        assert_eq!(wrong_key(&BridgeConfig { inflight_max, ..smallest() }), "inflight_max");
    }
    for maximum_qos in [0, 3] {
        assert_eq!(wrong_key(&BridgeConfig { maximum_qos, ..smallest() }), "maximum_qos");
    }
    let config = BridgeConfig { reconnect_min_ms: 2000, reconnect_max_ms: 1999, ..smallest() };
    let invalid = config.validate().expect_err("the maximum is below the minimum");
    assert_eq!(invalid.to_string(), "reconnect_max_ms = \"1999\": expected 2000 to 86400000");
    let late = BridgeConfig { keep_alive_s: 10, batch_delay_ms: 5001, ..smallest() };
    assert_eq!(wrong_key(&late), "batch_delay_ms");
    assert_eq!(BridgeConfig { batch_delay_ms: 5000, ..late }.validate(), Ok(()));
    assert_eq!(wrong_key(&BridgeConfig { topic_alias_max: 1001, ..smallest() }), "topic_alias_max");
    assert_eq!(wrong_key(&BridgeConfig { ack_timeout_s: 0, ..smallest() }), "ack_timeout_s");
    let config = BridgeConfig { packet_bytes_max: 1023, ..smallest() };
    assert_eq!(wrong_key(&config), "packet_bytes_max");
}

#[test]
fn passwords_without_user_name_need_mqtt_5() {
    let config = BridgeConfig { password: Some(Secret::new("p")), ..smallest() };
    config.validate().expect("5.0 allows it");
    let config = BridgeConfig { version: MqttVersion::V311, ..config };
    assert_eq!(wrong_key(&config), "password");
}

#[test]
fn certificate_and_key_go_together() {
    let with = |cert: Option<&str>, key: Option<&str>| BridgeConfig {
        tls: Some(TlsConfig {
            ca_file: "ca.pem".into(),
            cert_file: cert.map(Into::into),
            key_file: key.map(Into::into),
            server_name: None,
            alpn: Vec::new(),
        }),
        ..smallest()
    };
    with(None, None).validate().expect("no client certificate");
    with(Some("c"), Some("k")).validate().expect("both");
    assert_eq!(wrong_key(&with(Some("c"), None)), "tls.key_file");
    assert_eq!(wrong_key(&with(None, Some("k"))), "tls.cert_file");
}

#[test]
fn websocket() {
    let with = |path: &str, name: &str, value: &str| BridgeConfig {
        websocket: Some(WebSocketConfig {
            path: path.into(),
            headers: BTreeMap::from([(name.to_owned(), Secret::new(value))]),
        }),
        ..smallest()
    };
    let defaults = parse(&format!("websocket = {{}}\n{SMALLEST}"));
    defaults.validate().expect("everything has a default");
    assert_eq!(defaults.websocket, Some(WebSocketConfig::default()));
    with("/a/b?c=%20&d", "X-Key", "a b; \u{e9}").validate().expect("all right");
    let long = format!("/{}", "a".repeat(4096));
    for path in ["", "mqtt", "*", "/a b", "/a#b", "/a\r\nX: y", "http://h/a", &long] {
        assert_eq!(wrong_key(&with(path, "X", "y")), "websocket.path", "{path}");
    }
    for name in ["", "A B", "A:", "Host", "upgrade", "Sec-WebSocket-Protocol", "X\n"] {
        let expected = format!("websocket.headers.{name}");
        assert_eq!(wrong_key(&with("/", name, "y")), expected, "{name}");
    }
    for value in ["a\r\nX: y", "\0", &"a".repeat(8193)] {
        let invalid = with("/", "X", value).validate().expect_err("it is no value");
        assert_eq!((invalid.key.as_str(), &*invalid.value), ("websocket.headers.X", "(hidden)"));
    }
    let many = (0..33).map(|number| (format!("X-{number}"), Secret::new("y"))).collect();
    let headers = WebSocketConfig { headers: many, ..WebSocketConfig::default() };
    let config = BridgeConfig { websocket: Some(headers), ..smallest() };
    assert_eq!(wrong_key(&config), "websocket.headers");
}

#[test]
fn proxies() {
    let with = |address: &str, user_name: Option<&str>, password: Option<&str>| BridgeConfig {
        proxy: Some(ProxyConfig {
            address: address.into(),
            user_name: user_name.map(Into::into),
            password: password.map(Secret::new),
        }),
        ..smallest()
    };
    for fine in [with("p:1", None, None), with("[::1]:1", Some(""), Some("")), {
        with("p:3128", Some("m\u{fc}ller"), Some("a:b c"))
    }] {
        fine.validate().expect("it is right");
    }
    for address in ["p", "http://p:3128", "p:0", ""] {
        assert_eq!(wrong_key(&with(address, None, None)), "proxy.address", "{address}");
    }
    for user_name in ["a:b", "a\nb", &"a".repeat(256)] {
        assert_eq!(wrong_key(&with("p:1", Some(user_name), None)), "proxy.user_name");
    }
    assert_eq!(wrong_key(&with("p:1", None, Some("p"))), "proxy.password");
    let invalid = with("p:1", Some("u"), Some("a\nb")).validate().expect_err("a line feed");
    assert_eq!((invalid.key.as_str(), &*invalid.value), ("proxy.password", "(hidden)"));
}

#[test]
fn topics() {
    let with = |filter: &str, local: &str, remote: &str| BridgeConfig {
        topic: vec![TopicConfig {
            local_prefix: local.into(),
            remote_prefix: remote.into(),
            ..TopicConfig::new(filter, Direction::Out)
        }],
        ..smallest()
    };
    for (filter, local, remote) in
        [("#", "", "a/"), ("+/x/#", "", ""), ("a+b/c", "x", "y"), ("", "a", "b"), ("/", "", "")]
    {
        let valid = with(filter, local, remote).validate().is_ok();
        assert_eq!(valid, filter != "a+b/c", "{filter}");
    }
    for (filter, local, remote) in [
        ("", "", "x"),
        ("a#", "", ""),
        ("#/a", "", ""),
        ("a/#/b", "", ""),
        ("+a", "", ""),
        ("#", "site", ""),
        ("+", "", "site"),
        ("g/#", "$share/", ""),
        ("#\u{e9}", "", ""),
    ] {
        assert_eq!(wrong_key(&with(filter, local, remote)), "topic[0].filter", "{filter}");
    }
    assert_eq!(wrong_key(&with("a", "+/", "")), "topic[0].local_prefix");
    assert_eq!(wrong_key(&with("a", "", "#")), "topic[0].remote_prefix");
    let mut config = smallest();
    config.topic[0].qos = 3;
    assert_eq!(wrong_key(&config), "topic[0].qos");
    assert_eq!(wrong_key(&BridgeConfig { topic: vec![], ..smallest() }), "topic");
}

#[test]
fn templates_stand_alone_and_are_checked() {
    let with = |keys: &str| {
        parse(&format!(
            "name = \"hq\"\naddress = \"h:1\"\nvariables = {{ site = \"plant7\" }}\n[[topic]]\n{keys}"
        ))
    };
    let fine = with("from = \"m/+a/#r\"\nto = \"{site}/{bridge}/{a}/{r}\"\ndirection = \"both\"");
    fine.validate().expect("it is right");
    assert_eq!(fine.topics()[0].to, "plant7/hq/{a}/{r}");
    assert_eq!(fine.local_subscriptions().collect::<Vec<_>>(), [("m/+/#".to_owned(), 1)]);
    for (keys, key) in [
        ("from = \"m/+a\"\nto = \"{b}\"\ndirection = \"out\"", "topic[0].to"),
        ("from = \"m/a+\"\nto = \"x\"\ndirection = \"out\"", "topic[0].from"),
        ("from = \"m/+a\"\nto = \"x\"\ndirection = \"both\"", "topic[0].to"),
        ("from = \"m/+a\"\nto = \"{a}\"\nfilter = \"#\"\ndirection = \"out\"", "topic[0].filter"),
        ("filter = \"#\"\nexclude = [\"a#\"]\ndirection = \"out\"", "topic[0].exclude"),
    ] {
        assert_eq!(wrong_key(&with(keys)), key, "{keys}");
    }
    let config = parse(&SMALLEST.replace("topic =", "variables = { bridge = \"x\" }\ntopic ="));
    assert_eq!(wrong_key(&config), "variables.bridge");
}

#[test]
fn a_local_broker_over_the_network() {
    let local = |more: &str| -> LocalConfig {
        toml::from_str(&format!("address = \"a:1\"\n{more}")).expect("well-formed")
    };
    assert_eq!(local("").version, MqttVersion::V5);
    let wrong = |more: &str| local(more).validate().expect_err("the value is wrong").key;
    assert_eq!(local("user_name = \"u\"\npassword = \"p\"").validate(), Ok(()));
    assert_eq!(wrong("version = \"3.1.1\"\npassword = \"p\""), "password");
    assert_eq!(wrong("tls = { ca_file = \"\" }"), "tls.ca_file");
    let address = LocalConfig { address: "nowhere".into(), ..local("") };
    assert_eq!(address.validate().expect_err("it has no port").key, "address");
}

#[test]
fn classes_are_links_of_their_own() {
    let config = parse(
        r##"
        name = "hq"
        address = "h:1"
        [[class]]
        name = "alarms"
        priority = 90
        [[class]]
        name = "bulk"
        allow = ["01:00-05:00"]
        bytes_per_s = 1000
        [[topic]]
        filter = "alarms/#"
        class = "alarms"
        direction = "out"
        [[topic]]
        filter = "logs/#"
        class = "bulk"
        direction = "out"
        [[topic]]
        filter = "#"
        direction = "out"
        "##,
    );
    config.validate().expect("it is right");
    let links = config.links();
    let names: Vec<String> = links.iter().map(BridgeConfig::link_name).collect();
    assert_eq!(names, ["hq.alarms", "hq.bulk", "hq"]);
    let ids: Vec<String> = links.iter().map(BridgeConfig::client_id).collect();
    assert_eq!(ids, ["outpost-hq.alarms", "outpost-hq.bulk", "outpost-hq"]);
    assert_eq!((links[0].own_class().priority, links[2].own_class().priority), (90, 50));
    let filters: Vec<String> = links[0].local_subscriptions().map(|(filter, _)| filter).collect();
    assert_eq!(filters, ["alarms/#"]);
    assert_eq!(smallest().links().len(), 1);
}

#[test]
fn classes_have_bounds() {
    let with = |class: &str, topic: &str| {
        parse(&format!(
            "name = \"hq\"\naddress = \"h:1\"\n[[class]]\n{class}\n[[topic]]\nfilter = \"#\"\n\
             direction = \"out\"\nclass = \"{topic}\""
        ))
    };
    with("name = \"a\"", "a").validate().expect("it is right");
    with("name = \"default\"\npriority = 9", "default").validate().expect("it is right");
    for (class, topic, key) in [
        ("name = \"a b\"", "a b", "class[0].name"),
        ("name = \"a\"", "b", "class[0].name"),
        ("name = \"default\"", "b", "class[0].name"),
        ("name = \"a\"\npriority = 101", "a", "class[0].priority"),
        ("name = \"a\"\nallow = [\"1-5\"]", "a", "class[0].allow"),
        ("name = \"a\"\nlive_percent = 100", "a", "class[0].live_percent"),
        ("name = \"a\"\n[[class]]\nname = \"a\"", "a", "class[1].name"),
    ] {
        assert_eq!(wrong_key(&with(class, topic)), key, "{class}");
    }
    let mut config = smallest();
    config.topic[0].class = Some("alarms".into());
    assert_eq!(wrong_key(&config), "topic[0].class");
}
