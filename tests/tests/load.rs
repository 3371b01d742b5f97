//! The load generator against the broker: every scenario, small. What it reports must add up, and
//! nothing may be lost, doubled or out of order on the way.

use std::process::Command;

use outpost_tests::Broker;

/// Runs the generator with `arguments` against a broker of its own.
fn report(arguments: &str) -> String {
    report_of(&broker(), arguments)
}

fn broker() -> Broker {
    Broker::with_config("[limits]\ninflight_max = 1000\n")
}

fn report_of(broker: &Broker, arguments: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_outpost-load"))
        .args(arguments.split(' '))
        .args(["--address", &broker.address().to_string(), "--timeout", "20"])
        .output()
        .expect("run outpost-load");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments}: {errors}");
    String::from_utf8(output.stdout).expect("JSON is UTF-8")
}

/// A number of the report.
fn field(report: &str, name: &str) -> f64 {
    let (_, after) = report
        .split_once(&format!("\"{name}\": "))
        .unwrap_or_else(|| panic!("no {name} in {report}"));
    after.split([',', '}']).next().and_then(|value| value.parse().ok()).expect("a number")
}

/// All `deliveries` have come, once and in order.
fn assert_complete(report: &str, deliveries: f64) {
    assert_eq!(field(report, "delivered"), deliveries, "{report}");
    for name in ["lost", "duplicates", "foreign"] {
        assert_eq!(field(report, name), 0.0, "{name} in {report}");
    }
}

#[test]
fn messages_are_routed_at_each_qos_and_version() {
    for qos in 0..=2 {
        for version in ["3.1.1", "5"] {
            let options = format!("--qos {qos} --mqtt {version} --messages 2000");
            let fanin = report(&format!("fanin --publishers 5 --window 40 {options}"));
            assert_complete(&fanin, 2_000.0);
            assert_eq!(field(&fanin, "out_of_order"), 0.0, "{fanin}");
            assert_eq!(field(&fanin, "unfinished"), 0.0, "{fanin}");
        }
        let fanout = report(&format!("fanout --subscribers 7 --qos {qos} --messages 300"));
        assert_complete(&fanout, 2_100.0);
        assert_eq!(field(&fanout, "out_of_order"), 0.0, "{fanout}");
    }
}

#[test]
fn the_other_ways_of_routing_lose_nothing() {
    assert_complete(&report("pairs --publishers 5 --messages 1000"), 1_000.0);
    assert_complete(&report("shared --qos 1 --messages 1000"), 1_000.0);
    assert_complete(&report("wildcards --filters 400 --messages 1000"), 1_000.0);
}

#[test]
fn a_rate_is_kept() {
    let paced = report("fanin --publishers 5 --rate 500 --messages 250");
    assert_complete(&paced, 250.0);
    let elapsed_s = field(&paced, "elapsed_s");
    assert!(elapsed_s >= 0.49, "250 messages at 500 a second took {elapsed_s} s");
}

#[test]
fn sessions_and_retained_messages_give_back_what_was_put_in() {
    assert_complete(&report("offline --messages 2000 --window 500"), 2_000.0);
    assert_complete(&report("durable --messages 2000 --window 500"), 2_000.0);
    assert_complete(&report("retained --messages 500 --window 250"), 500.0);
}

#[test]
fn messages_wait_for_many_sessions_and_come_once_to_each() {
    assert_complete(&report("offline --sessions 30 --messages 20"), 600.0);
}

/// The broker restarts between the parts.
#[test]
fn the_parts_of_a_run_give_what_both_give() {
    let mut broker = broker();
    let offline = "offline --sessions 2 --publishers 3 --messages 300 --part";
    let stored = report_of(&broker, &format!("{offline} store"));
    assert_eq!(field(&stored, "published"), 300.0, "{stored}");
    let retained = report_of(&broker, "retained --messages 100 --part store");
    assert_eq!(field(&retained, "acked"), 100.0, "{retained}");
    broker.kill();
    broker.restart();
    let delivered = report_of(&broker, &format!("{offline} deliver"));
    assert_complete(&delivered, 600.0);
    assert_eq!(field(&delivered, "out_of_order"), 0.0, "{delivered}");
    assert_complete(&report_of(&broker, "retained --messages 100 --part deliver"), 100.0);
}

#[test]
fn connections_come_and_stay_or_go() {
    assert_eq!(field(&report("connects --connections 200"), "connections"), 200.0);
    assert_eq!(field(&report("idle --connections 200 --seconds 1"), "connections"), 200.0);
}

#[test]
fn addresses_beyond_this_machine_are_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_outpost-load"))
        .args(["connects", "--address", "192.0.2.1:1883"])
        .output()
        .expect("run outpost-load");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("loopback"));
}
