//! The configuration read again while the broker runs.

use std::fs;

use outpost_protocol::{Publish, QoS};
use outpost_tests::{Broker, Command, message, v5};

use crate::control::{bridge, centre, config, gateway, port, wait_for};

fn configure(gateway: &Broker, text: &str) {
    fs::write(gateway.dir().join("outpost.toml"), text).expect("write the configuration");
}

fn hang_up(gateway: &Broker) {
    let pid = gateway.pid().to_string();
    let status = std::process::Command::new("kill").args(["-HUP", &pid]).status();
    assert!(status.expect("run kill").success());
}

fn publish(broker: &Broker, topic: &str) {
    let mut client = broker.connect(&v5("publisher"));
    client.publish(&Publish { qos: QoS::AtLeastOnce, ..message(topic, b"x") });
}

#[test]
fn a_wrong_file_changes_nothing_and_the_log_says_why() {
    if Broker::is_external() {
        return;
    }
    let address = port();
    let _centre = centre(address);
    let gateway = gateway(address);
    wait_for(&gateway, |s| s["state"] == "connected");
    let mut client = gateway.connect(&v5("stays"));
    configure(&gateway, &config(address).replace("\"out\"", "\"sideways\""));
    hang_up(&gateway);
    gateway.wait_for_log("the old one stays in force");
    assert!(gateway.log().contains("sideways"), "{}", gateway.log());
    let ended = bridge(&gateway, &["reload"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.errors.contains("sideways"), "{ended:?}");
    wait_for(&gateway, |s| s["state"] == "connected");
    client.ping();
}

#[test]
fn rules_change_and_the_backlog_stays() {
    if Broker::is_external() {
        return;
    }
    let address = port();
    let gateway = gateway(address);
    publish(&gateway, "t/1");
    configure(&gateway, &config(address).replace("\"t/#\"", "\"new/#\""));
    let reloaded = bridge(&gateway, &["reload"]);
    assert_eq!(reloaded.text(), "up: changed\n");
    publish(&gateway, "new/1");
    publish(&gateway, "t/2");
    let waiting = wait_for(&gateway, |s| s["state"] == "waiting");
    assert_eq!(waiting["backlog"]["messages"], 2, "t/1 and new/1: {waiting:#}");
    let same = bridge(&gateway, &["reload"]);
    assert_eq!(same.text(), "nothing has changed\n");
}

/// A class has a session of its own, and what waits there ends with it.
#[test]
fn what_goes_with_a_class_is_told() {
    if Broker::is_external() {
        return;
    }
    let classes = |class: &str| {
        let class =
            format!("[[bridge.class]]\nname = \"{class}\"\n[[bridge.topic]]\nclass = \"{class}\"");
        config(port()).replace("[[bridge.topic]]", &class)
    };
    let gateway = Broker::with_config(&classes("slow"));
    publish(&gateway, "t/1");
    configure(&gateway, &classes("fast"));
    assert_eq!(
        bridge(&gateway, &["reload"]).text(),
        "up.slow: removed; 1 messages that were not acknowledged are gone\nup.fast: added\n"
    );
}

/// What waits when its topic goes over to another class goes where it waits.
#[test]
fn a_topic_goes_over_to_another_class_and_its_backlog_stays() {
    if Broker::is_external() {
        return;
    }
    let address = port();
    let rest = "[[bridge.topic]]\nfilter = \"u/#\"\ndirection = \"out\"\n";
    let old = config(address) + rest;
    let gateway = Broker::with_config(&old);
    publish(&gateway, "t/1");
    let class = "[[bridge.class]]\nname = \"fast\"\n[[bridge.topic]]\nclass = \"fast\"";
    configure(&gateway, &(config(address).replace("[[bridge.topic]]", class) + rest));
    let reloaded = bridge(&gateway, &["reload"]);
    assert_eq!(reloaded.text(), "up: changed\nup.fast: added\n");
    publish(&gateway, "t/2");

    let _centre = centre(address);
    for link in ["up", "up.fast"] {
        let drained = bridge(&gateway, &["drain", link, "--timeout", "10"]);
        assert_eq!(drained.text(), format!("{link}: drained\n"));
        let status = bridge(&gateway, &["status", link, "--json"]);
        let reports: serde_json::Value = serde_json::from_str(status.text()).expect("JSON");
        let all = reports.as_array().expect("a list");
        let report = all.iter().find(|report| report["name"] == link).expect("it is there");
        assert_eq!(report["out"]["forwarded"], 1, "{report:#}");
        assert_eq!(report["out"]["dropped"]["unmapped"], 0, "{report:#}");
    }
}

#[test]
fn bridges_come_and_go() {
    if Broker::is_external() {
        return;
    }
    let address = port();
    let centre = centre(address);
    let gateway = Broker::with_config("[sys]\ninterval_s = 1\n");
    let mut client = gateway.connect(&v5("stays"));
    configure(&gateway, &config(address));
    hang_up(&gateway);
    gateway.wait_for_log("added");
    wait_for(&gateway, |s| s["state"] == "connected");
    let mut there = centre.connect(&v5("there"));
    there.publish(&Publish { retain: true, ..message("ready", b"1") });
    let port = centre.address().port().to_string();
    let mut sub = Command::outpost(&["sub", "-p", &port, "-t", "far/#", "-t", "ready", "-v"]);
    sub.line_with("ready 1");
    publish(&gateway, "t/1");
    assert_eq!(sub.line(), "far/t/1 x");
    assert_eq!(bridge(&gateway, &["drain", "up", "--timeout", "10"]).text(), "up: drained\n");

    configure(&gateway, "[sys]\ninterval_s = 1\n[limits]\ninflight_max = 3\n");
    let reloaded = bridge(&gateway, &["reload"]);
    assert_eq!(reloaded.text(), "up: removed\n[limits] changed: it needs a restart\n");
    assert_eq!(bridge(&gateway, &["status"]).text(), "no bridges\n");
    client.ping();
}

#[test]
fn an_address_that_does_not_answer_is_not_moved_to() {
    if Broker::is_external() {
        return;
    }
    let (first, second) = (port(), port());
    let _centre = centre(first);
    let gateway = gateway(first);
    wait_for(&gateway, |s| s["state"] == "connected");
    configure(&gateway, &config(second));
    let refused = bridge(&gateway, &["reload"]);
    assert!(refused.text().starts_with("up: not changed: the changed connection was tried"));
    let still = wait_for(&gateway, |s| s["state"] == "connected");
    assert_eq!(still["address"], first.to_string());
    assert_eq!(still["last_error"]["kind"], "reload", "{still:#}");
    let _other = centre(second);
    assert_eq!(bridge(&gateway, &["reload"]).text(), "up: changed\n");
    let moved = wait_for(&gateway, |s| s["state"] == "connected");
    assert_eq!(moved["address"], second.to_string());
}

/// The centre at the new address asks for a password that the bridge does not have.
#[test]
fn refused_with_the_new_configuration_it_goes_back() {
    if Broker::is_external() {
        return;
    }
    let (first, second) = (port(), port());
    let _centre = centre(first);
    let closed = format!(
        "[[listener]]\naddress = \"{second}\"\nallow_anonymous = false\n[store]\npath = \"data\"\n"
    );
    let _closed = Broker::with_config_alone(&closed, second);
    let gateway = gateway(first);
    wait_for(&gateway, |s| s["state"] == "connected");
    configure(&gateway, &config(second));
    let refused = bridge(&gateway, &["reload"]);
    assert!(refused.text().contains("not changed"), "{refused:?}");
    let back = wait_for(&gateway, |s| s["state"] == "connected");
    assert_eq!(back["address"], first.to_string());
}

/// A subscription at the remote broker, and a session there, do not outlive what asked for them.
#[test]
fn what_is_no_more_is_taken_back_at_the_remote_broker() {
    if Broker::is_external() {
        return;
    }
    let address = port();
    let centre = centre(address);
    let rule = |filter: &str| {
        format!(
            "[[bridge.topic]]\nfilter = \"{filter}\"\ndirection = \"in\"\nlocal_prefix = \"far/\"\n"
        )
    };
    let with = |filters: &[&str]| {
        let rules: String = filters.iter().map(|filter| rule(filter)).collect();
        format!("{}{rules}", config(address))
    };
    let gateway = Broker::with_config(&with(&["old/#", "kept"]));
    wait_for(&gateway, |s| s["state"] == "connected");
    let mut here = gateway.connect(&v5("here"));
    here.subscribe("far/#", QoS::AtLeastOnce);
    publish(&centre, "old/1");
    assert_eq!(here.take().topic, "far/old/1");

    configure(&gateway, &with(&["kept"]));
    assert_eq!(bridge(&gateway, &["reload"]).text(), "up: changed\n");
    wait_for(&gateway, |s| s["state"] == "connected");
    publish(&centre, "old/2");
    publish(&centre, "kept");
    assert_eq!(here.take().topic, "far/kept");
    let status = wait_for(&gateway, |s| s["in"]["forwarded"] == 2);
    assert_eq!(status["in"]["dropped"]["unmapped"], 0, "it is not sent: {status:#}");

    let mut there = centre.connect(&v5("there"));
    there.subscribe("$SYS/broker/connection/outpost-up/state", QoS::AtMostOnce);
    assert_eq!(there.take().payload, b"1");
    configure(&gateway, "[sys]\ninterval_s = 1\n");
    assert_eq!(bridge(&gateway, &["reload"]).text(), "up: removed\n");
    // It is gone from the link, comes to say so, and its session is no more.
    while !there.take().payload.is_empty() {}
}
