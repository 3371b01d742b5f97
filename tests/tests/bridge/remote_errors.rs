//! Remote brokers that are wrong, rude or silent: whatever they do, the status has the right word for
//! it, the bridge comes back, and what was acknowledged at the gateway waits there.

use std::sync::mpsc;

use outpost_protocol::{
    Packet, PacketId, Properties, PubAck, Publish, QoS, ReasonCode, ReasonCodes, SubAck,
};
use outpost_tests::{Answer, Broker, Caller, DEADLINE, FakeRemote, message, v5};
use serde_json::Value;

use crate::control::wait_for;

/// A gateway with one bridge, "up", of this version. It waits a second for what has to be answered.
pub fn gateway(remote: &FakeRemote, version: &str, rules: &str) -> Broker {
    Broker::with_config(&format!(
        "[[bridge]]\nname = \"up\"\naddress = \"{}\"\nversion = \"{version}\"\n\
         reconnect_min_ms = 50\nreconnect_max_ms = 200\nack_timeout_s = 1\n{rules}",
        remote.address()
    ))
}

pub const OUT_AND_IN: &str = "[[bridge.topic]]\nfilter = \"up/#\"\ndirection = \"out\"\nqos = 2\n\
                              [[bridge.topic]]\nfilter = \"down/#\"\ndirection = \"in\"\nqos = 2\n";

/// Publishes and waits until the gateway has acknowledged.
pub fn publish(gateway: &Broker, topic: &str, qos: QoS, payloads: &[&str]) {
    let mut client = gateway.connect(&v5("publisher"));
    for payload in payloads {
        let publish = Publish { qos, ..message(topic, payload.as_bytes()) };
        client.publish(&publish);
    }
}

/// What the status says of a remote that serves each connection like this; `{address}` stands for where
/// it listens.
#[track_caller]
fn told(version: &str, serve: fn(&mut Caller) -> Option<()>, kind: &str, what: &str) {
    let remote = FakeRemote::start(serve);
    let gateway = gateway(&remote, version, OUT_AND_IN);
    publish(&gateway, "up/x", QoS::AtLeastOnce, &["1", "2"]);
    let status = wait_for(&gateway, |status| status["last_error"]["kind"] == kind);
    let what = what.replace("{address}", &remote.address().to_string());
    assert_eq!(status["last_error"]["what"], what, "{status:#}");
    assert_eq!(status["backlog"]["messages"], 2, "{status:#}");
    let before = remote.connections();
    wait_for(&gateway, |_| remote.connections() > before + 1);
}

fn accepted(caller: &mut Caller) -> Option<()> {
    caller.welcome(&[])?;
    caller.answer_one()
}

#[test]
fn garbage_in_place_of_connack() {
    let garbage = |caller: &mut Caller| {
        caller.take_connect()?;
        caller.send_bytes(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")?;
        caller.swallow()
    };
    let what = "remote broker broke the protocol: reserved flags of the first byte are set wrong \
                (Malformed Packet)";
    for version in ["3.1.1", "5"] {
        told(version, garbage, "protocol", what);
    }
}

#[test]
fn garbage_after_connack() {
    let garbage = |caller: &mut Caller| {
        accepted(caller)?;
        caller.send_bytes(&[0xff; 1000])?;
        caller.swallow()
    };
    let what = "remote broker broke the protocol: the first byte is of no packet type \
                (Malformed Packet)";
    told("5", garbage, "protocol", what);
}

/// 256 MiB are announced, and not one byte of them comes.
#[test]
fn a_packet_that_is_too_long_is_not_waited_for() {
    let too_long = |caller: &mut Caller| {
        accepted(caller)?;
        caller.send_bytes(&[0x30, 0xff, 0xff, 0xff, 0x7f])?;
        caller.swallow()
    };
    let what = "remote broker broke the protocol: the packet is larger than the Maximum Packet Size \
                (Packet too large)";
    told("5", too_long, "protocol", what);
}

/// They come in one read, before any of them can be acknowledged; Mosquitto 2.0.11 does so after a
/// reconnection. They are taken all the same.
#[test]
fn more_messages_than_its_receive_maximum() {
    let remote = FakeRemote::start(|caller| {
        accepted(caller)?;
        let mut all = Vec::new();
        for id in 1..=101 {
            let (qos, packet_id) = (QoS::AtLeastOnce, PacketId::new(id));
            let publish = Publish { qos, packet_id, ..message("down/x", b"x") };
            all.extend(caller.encode(&Packet::Publish(publish)));
        }
        caller.send_bytes(&all)?;
        caller.swallow()
    });
    let gateway = gateway(&remote, "5", OUT_AND_IN);
    let status = wait_for(&gateway, |status| status["in"]["forwarded"] == 101);
    assert_eq!(status["last_error"], Value::Null, "{status:#}");
}

#[test]
fn connect_refused() {
    let refuse = |caller: &mut Caller| caller.refuse(ReasonCode::NotAuthorized);
    for version in ["3.1.1", "5"] {
        let what = "remote broker refused CONNECT: Not authorized";
        told(version, refuse, "refused", what);
    }
}

#[test]
fn closed_at_once() {
    let what = "remote broker closed the connection before CONNACK";
    for version in ["3.1.1", "5"] {
        told(version, |_| None, "closed", what);
        told(version, |caller| caller.take_connect(), "closed", what);
    }
}

#[test]
fn closed_after_subscribe() {
    let close = |caller: &mut Caller| {
        caller.welcome(&[])?;
        caller.next_packet().map(drop)
    };
    told("5", close, "closed", "remote broker closed the connection");
}

#[test]
fn connect_never_answered() {
    let what = "CONNECT failed: {address}: no answer within 1 s";
    told("5", |caller| caller.swallow(), "timeout", what);
}

#[test]
fn nothing_answered_after_connack() {
    let silent = |caller: &mut Caller| {
        caller.welcome(&[])?;
        caller.swallow()
    };
    let what = "remote broker did not answer SUBSCRIBE for 1 s";
    for version in ["3.1.1", "5"] {
        told(version, silent, "timeout", what);
    }
}

/// Only the PINGREQs are answered: without messages to forward there is nothing else to go by.
#[test]
fn subscribe_never_answered() {
    let remote = FakeRemote::start(|caller| {
        caller.welcome(&[])?;
        caller.serve(|packet, answer| {
            if *packet == Packet::PingReq {
                answer.politely(packet);
            }
        })
    });
    let gateway = gateway(&remote, "5", OUT_AND_IN);
    let status = wait_for(&gateway, |status| status["last_error"]["kind"] == "timeout");
    let what = "remote broker did not answer SUBSCRIBE for 1 s";
    assert_eq!(status["last_error"]["what"], what, "{status:#}");
    wait_for(&gateway, |_| remote.connections() > 2);
}

/// What comes to a remote broker that answers as it should, but for what `differs` answers.
type Differs = fn(&Packet<'_>, usize, &mut Answer) -> bool;

fn remote_that(differs: Differs) -> (FakeRemote, mpsc::Receiver<String>) {
    recording(|_| (), differs)
}

fn recording(begin: fn(&mut Caller), differs: Differs) -> (FakeRemote, mpsc::Receiver<String>) {
    let (sender, received) = mpsc::channel();
    let remote = FakeRemote::start(move |caller| {
        begin(caller);
        caller.welcome(&[])?;
        let number = caller.number;
        caller.serve(|packet, answer| {
            if let Packet::Publish(publish) = packet {
                let payload = String::from_utf8_lossy(publish.payload).into_owned();
                // The test may have seen enough.
                let _ = sender.send(payload);
            }
            if !differs(packet, number, answer) {
                answer.politely(packet);
            }
        })
    });
    (remote, received)
}

/// One PUBACK is lost: the others go on, and the message comes again by the next link.
#[test]
fn a_lost_puback_freezes_nothing() {
    let (remote, received) = remote_that(
        |packet, connection, _| matches!(packet, Packet::Publish(publish) if connection == 0 && publish.payload == b"lost"),
    );
    let gateway = gateway(&remote, "5", OUT_AND_IN);
    let mut sent = vec!["lost".to_owned()];
    sent.extend((0..200).map(|number| number.to_string()));
    let payloads: Vec<&str> = sent.iter().map(String::as_str).collect();
    publish(&gateway, "up/x", QoS::AtLeastOnce, &payloads);
    sent.push("lost".to_owned());
    for payload in sent {
        assert_eq!(received.recv_timeout(DEADLINE).as_ref(), Ok(&payload));
    }
    let status = wait_for(&gateway, |status| status["backlog"]["messages"] == 0);
    let what = "no acknowledgement from the remote broker for 1 s while messages wait for it";
    assert_eq!(status["last_error"]["what"], what, "{status:#}");
    assert_eq!(status["out"]["forwarded"], 201, "{status:#}");
}

/// It may be for a message of a former connection.
#[test]
fn a_puback_for_nothing_is_passed_over() {
    let (remote, received) = remote_that(|packet, _, answer| {
        let packet_id = PacketId::new(4711).expect("not 0");
        let (reason, properties) = (ReasonCode::Success, Properties::EMPTY);
        if matches!(packet, Packet::Publish(_)) {
            answer.put(&Packet::PubAck(PubAck { packet_id, reason, properties }));
        }
        false
    });
    let gateway = gateway(&remote, "5", OUT_AND_IN);
    publish(&gateway, "up/x", QoS::AtLeastOnce, &["1", "2", "3"]);
    for payload in ["1", "2", "3"] {
        assert_eq!(received.recv_timeout(DEADLINE).as_deref(), Ok(payload));
    }
    let status = wait_for(&gateway, |status| status["backlog"]["messages"] == 0);
    assert_eq!(status["out"]["forwarded"], 3, "{status:#}");
    assert_eq!(status["last_error"], Value::Null, "{status:#}");
}

fn puback(packet: &Packet<'_>, reason: ReasonCode, answer: &mut Answer) -> bool {
    let Packet::Publish(publish) = packet else { return false };
    let packet_id = publish.packet_id.expect("QoS 1 or 2");
    let properties = Properties::EMPTY;
    answer.put(&Packet::PubAck(PubAck { packet_id, reason, properties }));
    true
}

/// RabbitMQ 3.10 does this.
#[test]
fn puback_for_a_qos_2_message_is_the_remotes_fault() {
    let (remote, received) =
        remote_that(|packet, _, answer| puback(packet, ReasonCode::Success, answer));
    let gateway = gateway(&remote, "3.1.1", OUT_AND_IN);
    publish(&gateway, "up/x", QoS::ExactlyOnce, &["x"]);
    assert_eq!(received.recv_timeout(DEADLINE).as_deref(), Ok("x"));
    let status = wait_for(&gateway, |status| status["last_error"]["kind"] == "protocol");
    let what = "remote broker broke the protocol: PUBACK for a message with QoS 2 \
                (maximum_qos = 1 keeps QoS 2 from a remote broker)";
    assert_eq!(status["last_error"]["what"], what, "{status:#}");
    assert_eq!(status["backlog"]["messages"], 1, "{status:#}");
}

#[test]
fn a_message_refused_for_good_is_counted_and_the_next_goes_on() {
    let (remote, received) = remote_that(|packet, _, answer| {
        let is_bad = matches!(packet, Packet::Publish(publish) if publish.payload == b"bad");
        is_bad && puback(packet, ReasonCode::NotAuthorized, answer)
    });
    let gateway = gateway(&remote, "5", OUT_AND_IN);
    publish(&gateway, "up/x", QoS::AtLeastOnce, &["bad", "good"]);
    for payload in ["bad", "good"] {
        assert_eq!(received.recv_timeout(DEADLINE).as_deref(), Ok(payload));
    }
    let status = wait_for(&gateway, |status| status["backlog"]["messages"] == 0);
    assert_eq!(status["out"]["dropped"]["refused"], 1, "{status:#}");
    assert_eq!(status["out"]["forwarded"], 1, "{status:#}");
    assert_eq!(status["last_error"], Value::Null, "{status:#}");
    gateway.wait_for_log("remote broker refused a message: Not authorized, topic \"up/x\"");
}

#[test]
fn a_message_refused_for_now_waits() {
    let (remote, received) = remote_that(|packet, connection, answer| {
        connection < 2 && puback(packet, ReasonCode::QuotaExceeded, answer)
    });
    let gateway = gateway(&remote, "5", OUT_AND_IN);
    publish(&gateway, "up/x", QoS::AtLeastOnce, &["x"]);
    for _ in 0..3 {
        assert_eq!(received.recv_timeout(DEADLINE).as_deref(), Ok("x"));
    }
    let status = wait_for(&gateway, |status| status["backlog"]["messages"] == 0);
    assert_eq!(status["last_error"]["kind"], "busy", "{status:#}");
    assert_eq!(status["out"]["forwarded"], 1, "{status:#}");
}

#[test]
fn a_refused_subscription_is_a_problem_and_the_rest_goes_on() {
    let (remote, received) = remote_that(|packet, _, answer| {
        let Packet::Subscribe(subscribe) = packet else { return false };
        let reasons = ReasonCodes::List(&[ReasonCode::NotAuthorized]);
        let (packet_id, properties) = (subscribe.packet_id, Properties::EMPTY);
        answer.put(&Packet::SubAck(SubAck { packet_id, properties, reasons }));
        true
    });
    for (version, reason) in [("5", "Not authorized"), ("3.1.1", "Unspecified error")] {
        let gateway = gateway(&remote, version, OUT_AND_IN);
        publish(&gateway, "up/x", QoS::AtLeastOnce, &["x"]);
        assert_eq!(received.recv_timeout(DEADLINE).as_deref(), Ok("x"));
        let status = wait_for(&gateway, |status| status["state"] == "connected");
        let problem = format!("remote broker refused the subscription \"down/#\": {reason}");
        assert_eq!(status["problems"][0], problem, "{status:#}");
    }
}

/// Every packet comes in as many pieces as it has bytes.
#[test]
fn a_remote_that_reads_and_sends_one_byte_at_a_time() {
    let (remote, received) = recording(|caller| caller.piece_bytes = 1, |_, _, _| false);
    let gateway = gateway(&remote, "5", OUT_AND_IN);
    publish(&gateway, "up/x", QoS::ExactlyOnce, &["1", "2", "3"]);
    for payload in ["1", "2", "3"] {
        assert_eq!(received.recv_timeout(DEADLINE).as_deref(), Ok(payload));
    }
    let status = wait_for(&gateway, |status| status["backlog"]["messages"] == 0);
    assert_eq!(status["last_error"], Value::Null, "{status:#}");
}
