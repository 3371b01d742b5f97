//! AUTH and enhanced authentication where nothing is configured (5.0 sections 3.15 and 4.12), and
//! user names with passwords (3.1.3.5, 3.1.3.6).

use std::process::Command;
use std::{env, fs};

use outpost_tests::{binary, free_port};

use crate::prelude::*;

fn auth(reason: ReasonCode, properties: Properties<'_>) -> Packet<'_> {
    Packet::Auth(outpost_protocol::Auth { reason, properties })
}

/// [MQTT-4.12.0-1], [MQTT-4.12.0-4]: an unknown method, with and without data.
#[test]
fn unknown_method_is_refused() {
    let broker = Broker::shared();
    let with_data =
        [Property::AuthenticationMethod("SCRAM-SHA-256"), Property::AuthenticationData(b"n,,n=u")];
    for properties in [&with_data[..], &with_data[..1]] {
        let name = unique("c");
        let mut client = broker.open(V5);
        client.send(&Packet::Connect(Connect { properties: list(properties), ..v5(&name) }));
        let connack = client.expect::<ConnAck>();
        assert_eq!(connack.reason, ReasonCode::BadAuthenticationMethod);
        assert!(!connack.session_present);
        client.expect_closed();
    }
}

/// [MQTT-4.12.0-6]: who names no method gets no AUTH and no method in CONNACK.
#[test]
fn no_method_no_auth() {
    let broker = Broker::shared();
    let mut client = broker.connect(&v5(&unique("c")));
    assert_eq!(client.connack().props().authentication_method(), None);
    assert_eq!(client.connack().props().authentication_data(), None);
    client.expect_nothing();
}

/// [MQTT-4.12.0-7], [MQTT-4.12.1-2]: AUTH from a client that named no method is a protocol error.
#[test]
fn auth_without_a_method_is_refused() {
    let broker = Broker::shared();
    for reason in [ReasonCode::ReAuthenticate, ReasonCode::ContinueAuthentication] {
        let mut client = broker.connect(&v5(&unique("c")));
        client.send(&auth(reason, list(&[Property::AuthenticationMethod("PLAIN")])));
        client.expect_disconnect(ReasonCode::ProtocolError);
    }
}

/// AUTH before CONNECT.
#[test]
fn auth_is_no_first_packet() {
    let broker = Broker::shared();
    let mut client = broker.open(V5);
    let method = list(&[Property::AuthenticationMethod("PLAIN")]);
    client.send(&auth(ReasonCode::ReAuthenticate, method));
    assert_eq!(client.rest(), b"");
}

/// [MQTT-3.15.1-1], [MQTT-3.15.2-1] for the receiver: reserved bits, and codes that AUTH has not.
#[test]
fn malformed_auth_is_refused() {
    let broker = Broker::shared();
    for bytes in [&[0xF1, 0][..], &[0xF0, 2, 0x80, 0], &[0xF0, 2, 0x01, 0]] {
        let mut client = publisher(&broker);
        client.send_bytes(bytes);
        client.expect_disconnect(ReasonCode::MalformedPacket);
    }
}

/// Authentication data without a method is a protocol error in CONNECT (3.1.2.11.10).
#[test]
fn data_without_a_method_is_refused() {
    let broker = Broker::shared();
    let mut client = broker.open(V5);
    let mut connect = client.encode(&Packet::Connect(v5("x")));
    // The property length 0 becomes: 4 bytes, authentication data of one byte.
    assert_eq!(connect[12], 0);
    connect.splice(12..13, [4, 0x16, 0, 1, b'd']);
    connect[1] += 4;
    client.send_bytes(&connect);
    assert_eq!(client.expect::<ConnAck>().reason, ReasonCode::ProtocolError);
    client.expect_closed();
}

/// AUTH does not exist in 3.1.1.
#[test]
fn auth_in_311_closes() {
    let broker = Broker::shared();
    let mut client = broker.connect(&v311(&unique("c")));
    client.send_bytes(&[0xF0, 0]);
    client.expect_closed();
}

/// [MQTT-3.1.4-2]: a listener for known users only. Wrong passwords and unknown users are not told
/// apart: 0x86, return code 4; nobody is 0x87, return code 5. The refused do nothing.
#[test]
fn passwords() {
    needs_own_broker!();
    let file = env::temp_dir().join(unique("passwords"));
    let passwd = Command::new(binary())
        .args(["passwd", "-c", "-b", file.to_str().expect("UTF-8"), "ann", "secret"])
        .status();
    assert!(passwd.expect("run outpost passwd").success());
    let address = ([127, 0, 0, 1], free_port()).into();
    let broker = Broker::with_config(&format!(
        "[[listener]]\naddress = \"{address}\"\nallow_anonymous = false\n\
         [auth]\npassword_file = \"{}\"\n",
        file.display()
    ));
    let cases = [
        (None, None, ReasonCode::NotAuthorized, 5),
        (Some("ann"), Some(&b"wrong"[..]), ReasonCode::BadUserNameOrPassword, 4),
        (Some("ann"), None, ReasonCode::BadUserNameOrPassword, 4),
        (Some("bob"), Some(b"secret"), ReasonCode::BadUserNameOrPassword, 4),
        (Some("Ann"), Some(b"secret"), ReasonCode::BadUserNameOrPassword, 4),
    ];
    let mut watcher = subscriber(&broker, "#");
    for (user_name, password, reason, return_code) in cases {
        let mut five = RawClient::open(address, V5);
        let connect = Connect { user_name, password, ..v5("five") };
        five.send_all(&[Packet::Connect(connect), Packet::Publish(message("t", b"refused"))]);
        assert_eq!(five.expect::<ConnAck>().reason, reason, "{user_name:?}");
        five.expect_closed();
        let mut three = RawClient::open(address, V311);
        let connect = Connect { user_name, password, ..v311("three") };
        three.send_all(&[Packet::Connect(connect), Packet::Publish(message("t", b"refused"))]);
        assert_eq!(three.rest(), [0x20, 2, 0, return_code], "{user_name:?}");
    }
    watcher.expect_nothing();
    for connect in [v5("five"), v311("three"), v31("one")] {
        let mut client = RawClient::open(address, connect.version);
        client.connect(&Connect { user_name: Some("ann"), password: Some(b"secret"), ..connect });
        client.publish(&message("t", b"taken"));
        assert_eq!(watcher.take().text(), "taken");
    }
    fs::remove_file(file).expect("remove the password file");
}

/// Hundreds of passwords that wait to be hashed (this hash takes 64 MiB and long) do not hold up the
/// end of the broker.
#[test]
fn passwords_that_wait_do_not_hold_up_the_end() {
    needs_own_broker!();
    let file = env::temp_dir().join(unique("passwords"));
    let hash = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$\
                CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
    fs::write(&file, format!("ann:{hash}\n")).expect("write the password file");
    let address = ([127, 0, 0, 1], free_port()).into();
    let mut broker = Broker::with_config(&format!(
        "[[listener]]\naddress = \"{address}\"\nallow_anonymous = false\n\
         [auth]\npassword_file = \"{}\"\n",
        file.display()
    ));
    let guess = |_| {
        let mut client = RawClient::open(address, V311);
        let guess = Connect { user_name: Some("ann"), password: Some(b"guess"), ..v311("c") };
        client.send(&Packet::Connect(guess));
        client
    };
    let mut clients: Vec<RawClient> = (0..400).map(guess).collect();
    // A few are hashed at a time: when the first is refused, most of the others wait.
    assert_eq!(clients[0].rest(), [0x20, 2, 0, 4]);
    broker.terminate();
    assert!(broker.wait().success());
    fs::remove_file(file).expect("remove the password file");
}
