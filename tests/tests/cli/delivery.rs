//! From `outpost pub` to `outpost sub`, byte for byte.

use std::fs;

use crate::prelude::*;

#[test]
fn every_qos_in_every_version() {
    let broker = Broker::shared();
    for version in ["31", "311", "5"] {
        for qos in ["0", "1", "2"] {
            let topic = unique("t");
            let options = format!("-V {version} -q {qos} -t {topic}");
            let sub = subscribed(broker.address(), &format!("{options} -C 1 -F %t|%p|%q|%r"), &[]);
            publish(broker.address(), &format!("{options} -m 21.5"), &[]);
            assert_eq!(sub.end().text(), format!("{topic}|21.5|{qos}|0\n"), "{options}");
        }
    }
}

#[test]
fn payloads_are_bytes() {
    let broker = Broker::shared();
    let payload: Vec<u8> = (0..500_000u32).map(|n| n.to_le_bytes()[(n % 3) as usize]).collect();
    let file = std::env::temp_dir().join(unique("payload"));
    fs::write(&file, &payload).unwrap();
    for qos in ["0", "1"] {
        let topic = unique("t");
        let sub = subscribed(broker.address(), &format!("-t {topic} -q {qos} -N -C 2"), &[]);
        let from_file = ["-f", file.to_str().unwrap()];
        publish(broker.address(), &format!("-t {topic} -q {qos}"), &from_file);
        let mut from_input =
            start("pub", broker.address(), &format!("-t {topic} -q {qos} -s"), &[]);
        from_input.write(&payload);
        assert_eq!(from_input.end().text(), "");
        let ended = sub.end();
        assert_eq!(ended.code, Some(0));
        assert!(ended.output == [&payload[..], &payload].concat(), "{}", ended.output.len());
    }
    fs::remove_file(&file).unwrap();
}

#[test]
fn an_empty_payload() {
    let broker = Broker::shared();
    let topic = unique("t");
    let sub = subscribed(broker.address(), &format!("-t {topic} -v -C 2"), &[]);
    publish(broker.address(), &format!("-t {topic} -n"), &[]);
    publish(broker.address(), &format!("-t {topic}"), &["-m", ""]);
    assert_eq!(sub.end().text(), format!("{topic} (null)\n{topic} (null)\n"));
}

#[test]
fn every_line_is_a_message_in_order() {
    let broker = Broker::shared();
    for (qos, count) in [("0", 500), ("1", 5_000), ("2", 2_000)] {
        let topic = unique("t");
        let line = format!("-t {topic} -q {qos} -C {count}");
        let sub = subscribed(broker.address(), &line, &[]);
        let lines: String = (0..count).map(|n| format!("line {n}\n")).collect();
        let mut lines_in = start("pub", broker.address(), &format!("-t {topic} -q {qos} -l"), &[]);
        // The last one needs no line feed.
        lines_in.write(lines.trim_end().as_bytes());
        assert_eq!(lines_in.end().text(), "");
        assert!(sub.end().text() == lines, "QoS {qos}");
    }
}

#[test]
fn lines_are_published_as_they_come() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut sub = subscribed(broker.address(), &format!("-t {topic}"), &[]);
    let mut lines = start("pub", broker.address(), &format!("-t {topic} -l"), &[]);
    for line in ["one", "two", "three"] {
        lines.write(format!("{line}\n").as_bytes());
        assert_eq!(sub.line(), line);
    }
    assert_eq!(lines.end().code, Some(0));
}

#[test]
fn a_line_longer_than_the_buffer() {
    let broker = Broker::with_config(
        "[limits]\npacket_bytes_max = \"8 MiB\"\noutput_bytes_max = \"32 MiB\"\n",
    );
    let long = "x".repeat(3 << 20);
    for qos in ["0", "1"] {
        let sub = subscribed(broker.address(), &format!("-t t -q {qos} -C 3"), &[]);
        let mut lines = start("pub", broker.address(), &format!("-t t -q {qos} -l"), &[]);
        let text = format!("short\n{long}\nshort again\n");
        lines.write(text.as_bytes());
        assert_eq!(lines.end().text(), "");
        assert!(sub.end().text() == text, "QoS {qos}");
    }
}

#[test]
fn repeated_messages() {
    let broker = Broker::shared();
    let topic = unique("t");
    let sub = subscribed(broker.address(), &format!("-t {topic} -q 2 -C 3"), &[]);
    publish(broker.address(), &format!("-t {topic} -q 2 -m x --repeat 3 --repeat-delay 0.01"), &[]);
    assert_eq!(sub.end().text(), "x\nx\nx\n");
}

#[test]
fn what_is_filtered_out_is_not_counted() {
    let broker = Broker::shared();
    let top = unique("t");
    let line = format!("-t {top}/# -T {top}/+/no -C 2 -v");
    let sub = subscribed(broker.address(), &line, &[]);
    for (topic, payload) in [("a/no", "1"), ("a/yes", "2"), ("b/no", "3"), ("b/yes", "4")] {
        publish(broker.address(), &format!("-t {top}/{topic} -m {payload}"), &[]);
    }
    assert_eq!(sub.end().text(), format!("{top}/a/yes 2\n{top}/b/yes 4\n"));
}

/// What is not shown is not acknowledged: it comes the next time.
#[test]
fn a_count_leaves_the_rest_in_the_session() {
    let broker = Broker::shared();
    for (version, qos) in [("311", "1"), ("311", "2"), ("5", "1"), ("5", "2")] {
        let (topic, id) = (unique("t"), unique("c"));
        let line = format!("-t {topic} -q {qos} -c -i {id} -V {version}");
        let ended = start("sub", broker.address(), &format!("{line} -E"), &[]).end();
        assert_eq!(ended.text(), "");
        for payload in ["1", "2", "3"] {
            publish(broker.address(), &format!("-t {topic} -q {qos} -m {payload}"), &[]);
        }
        for (count, expected) in [("1", "1\n"), ("2", "2\n3\n")] {
            let ended = start("sub", broker.address(), &format!("{line} -C {count}"), &[]).end();
            assert_eq!(ended.text(), expected, "{line}");
        }
    }
}

#[test]
fn unsubscribing() {
    let broker = Broker::shared();
    let (topic, id) = (unique("t"), unique("c"));
    for options in ["-q 1 -E", "-E"] {
        let what = if options == "-E" { "-U" } else { "-t" };
        let line = format!("{what} {topic} -c -i {id} {options}");
        assert_eq!(start("sub", broker.address(), &line, &[]).end().text(), "");
    }
    publish(broker.address(), &format!("-t {topic} -q 1 -m x"), &[]);
    let other = unique("t");
    let line = format!("-t {other} -c -i {id} -q 1 -v");
    let mut sub = subscribed(broker.address(), &line, &[]);
    publish(broker.address(), &format!("-t {other} -q 1 -m y"), &[]);
    assert_eq!(sub.line(), format!("{other} y"), "nothing came from {topic}");
}

/// The broker may say the topic once and its number after that.
#[test]
fn topic_aliases_from_the_broker_are_resolved() {
    let broker = Broker::shared();
    let topic = unique("a-long-topic-that-is-worth-an-alias");
    let line = format!("-t {topic} -D connect topic-alias-maximum 5 -v -C 3");
    let sub = subscribed(broker.address(), &line, &[]);
    publish(broker.address(), &format!("-t {topic} -m x --repeat 3"), &[]);
    assert_eq!(sub.end().text(), format!("{topic} x\n").repeat(3));
}

#[test]
fn a_url_and_an_address_of_ones_own() {
    let broker = Broker::shared();
    let topic = unique("t");
    let url = format!("mqtt://{}/{topic}", broker.address());
    let sub = Command::outpost(&["sub", "-d", "-L", &url, "-A", "127.0.0.1", "-C", "1"]);
    sub.wait_for_error("received SUBACK", 1);
    assert_eq!(Command::outpost(&["pub", "-L", &url, "-m", "x"]).end().text(), "");
    assert_eq!(sub.end().text(), "x\n");
}

#[test]
fn user_and_password() {
    if Broker::is_external() {
        return;
    }
    let file = std::env::temp_dir().join(unique("passwords"));
    let name = file.to_str().unwrap();
    let made = Command::outpost(&["passwd", "-c", "-b", name, "ann", "app:le"]).end();
    assert_eq!(made.text(), "");
    let broker = Broker::with_config(&format!(
        "[[listener]]\naddress = \"127.0.0.1:{port}\"\nallow_anonymous = false\n[auth]\npassword_file = {name:?}\n",
        port = outpost_tests::free_port()
    ));
    publish(broker.address(), "-t t -m x -u ann -P app:le", &[]);
    let url = format!("mqtt://ann:app%3Ale@{}/t", broker.address());
    assert_eq!(Command::outpost(&["pub", "-L", &url, "-m", "x"]).end().text(), "");
    for (version, code, reason) in
        [("311", 4, "Bad User Name or Password"), ("5", 0x86, "Bad User Name or Password")]
    {
        let line = format!("-V {version} -t t -m x -u ann -P pear");
        let ended = start("pub", broker.address(), &line, &[]).end();
        assert!(
            ended.errors.starts_with(&format!("outpost pub: connection refused: {reason}")),
            "{ended:?}"
        );
        assert_eq!(ended.code, Some(code));
    }
    fs::remove_file(&file).unwrap();
}
