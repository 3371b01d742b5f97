//! Retained messages.

use crate::prelude::*;

fn retain(broker: &Broker, topic: &str, payload: &str) {
    publish(broker.address(), &format!("-t {topic} -m {payload} -r -q 1"), &[]);
}

#[test]
fn shown_hidden_and_alone() {
    let broker = Broker::shared();
    let top = unique("t");
    retain(&broker, &format!("{top}/a"), "old");
    let line = format!("-t {top}/# -F %r%p");
    let all = subscribed(broker.address(), &format!("{line} -C 2"), &[]);
    let fresh = subscribed(broker.address(), &format!("{line} -R -C 1"), &[]);
    let stale = subscribed(broker.address(), &format!("{line} --retained-only"), &[]);
    publish(broker.address(), &format!("-t {top}/a -m new"), &[]);
    assert_eq!(all.end().text(), "1old\n0new\n");
    assert_eq!(fresh.end().text(), "0new\n");
    assert_eq!(stale.end().text(), "1old\n");
}

#[test]
fn deleted_but_for_what_is_filtered_out() {
    let broker = Broker::shared();
    let top = unique("t");
    for name in ["a", "b", "keep"] {
        retain(&broker, &format!("{top}/{name}"), name);
    }
    let line = format!("-t {top}/# -T {top}/keep -v --remove-retained -q 1 -C 2");
    let ended = start("sub", broker.address(), &line, &[]).end();
    let mut lines: Vec<_> = ended.text().lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, [format!("{top}/a a"), format!("{top}/b b")]);
    // The deletions were acknowledged before the end.
    let mut left = subscribed(broker.address(), &format!("-t {top}/# -v"), &[]);
    assert_eq!(left.line(), format!("{top}/keep keep"));
    publish(broker.address(), &format!("-t {top}/end -m end"), &[]);
    assert_eq!(left.line(), format!("{top}/end end"), "nothing else was retained");
}

#[test]
fn the_options_of_5_0() {
    let broker = Broker::shared();
    let top = unique("t");
    retain(&broker, &format!("{top}/a"), "old");
    let none = subscribed(broker.address(), &format!("-t {top}/# --retain-handling 2 -C 1"), &[]);
    let as_published = subscribed(
        broker.address(),
        &format!("-t {top}/# --retain-as-published -F %r%p -C 2"),
        &[],
    );
    retain(&broker, &format!("{top}/a"), "new");
    assert_eq!(none.end().text(), "new\n");
    assert_eq!(as_published.end().text(), "1old\n1new\n");
}
