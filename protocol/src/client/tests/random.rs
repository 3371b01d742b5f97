//! The client against the model of a server under random splits, cuts, windows and buffer sizes.

use std::vec::Vec;

use proptest::prelude::*;

use super::super::{ConnectOptions, Handled, RequestError};
use super::cuts::World;
use super::server::Server;
use super::{client, client_with, message};
use crate::{ProtocolVersion, QoS};

#[derive(Clone, Debug)]
enum Action {
    Publish(QoS, usize),
    Send(QoS),
    CarryOut(usize),
    CarryIn(usize),
    Cut,
}

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => (qos(), 1..40_usize).prop_map(|(qos, len)| Action::Publish(qos, len)),
        1 => qos().prop_map(Action::Send),
        6 => (1..30_usize).prop_map(Action::CarryOut),
        6 => (1..30_usize).prop_map(Action::CarryIn),
        1 => Just(Action::Cut),
    ]
}

fn version() -> impl Strategy<Value = ProtocolVersion> {
    prop_oneof![Just(ProtocolVersion::V31), Just(ProtocolVersion::V311), Just(ProtocolVersion::V5)]
}

/// A payload that tells its message apart, `len` bytes long or a little more.
fn payload(number: u32, len: usize) -> Vec<u8> {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(len.max(4), 0xAA);
    payload
}

/// All arrived, first arrivals in order, QoS 2 never twice.
fn check_arrivals(sent: &[(Vec<u8>, QoS)], arrived: &[Vec<u8>]) {
    let mut firsts = Vec::new();
    for payload in arrived {
        let is_new = !firsts.contains(payload);
        let (_, qos) = sent.iter().find(|(other, _)| other == payload).unwrap();
        assert!(is_new || *qos == QoS::AtLeastOnce, "{payload:?} came twice");
        if is_new {
            firsts.push(payload.clone());
        }
    }
    let sent: Vec<_> = sent.iter().map(|(payload, _)| payload.clone()).collect();
    assert_eq!(firsts, sent);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens on the way: QoS 2 exactly once, QoS 1 at least once, each ended once, in the
    /// order of publication, and never more at once than the server takes.
    #[test]
    fn nothing_is_lost_or_doubled(
        version in version(),
        receive_maximum in 1..10_u16,
        output in 48..96_usize,
        retained in 60..300_usize,
        actions in proptest::collection::vec(action(), 1..120),
    ) {
        let client = client_with(version, output, retained);
        let mut world = World::of(client, Server::new(version, receive_maximum));
        let mut sent = Vec::new();
        let mut incoming = Vec::new();
        world.connect();
        for action in actions {
            match action {
                Action::Publish(qos, len) => {
                    let number = u32::try_from(sent.len()).unwrap();
                    let payload = payload(number, len);
                    match world.client.publish(&message(number, &payload, qos)) {
                        Ok(_) => sent.push((payload, qos)),
                        Err(error) => prop_assert_eq!(error, RequestError::Full),
                    }
                }
                // No more at once than the client has told that it takes.
                Action::Send(qos) if world.server.outstanding() < 4 => {
                    let payload = payload(u32::try_from(incoming.len()).unwrap(), 4);
                    world.server.send(&payload, qos);
                    incoming.push((payload, qos));
                }
                Action::Send(_) => {}
                Action::CarryOut(len) => { world.carry_out(len); }
                Action::CarryIn(len) => { world.carry_in(len); }
                Action::Cut => {
                    world.cut();
                    world.connect();
                }
            }
        }
        world.run_to_the_end();
        prop_assert_eq!(world.outcomes.len(), sent.len());
        check_arrivals(&sent, &world.server.taken_over);
        check_arrivals(&incoming, &world.received);
    }

    /// Bytes from a server that knows no rules: an error or not, but never a panic, and never more
    /// bytes taken than there are.
    #[test]
    fn any_input_is_survived(
        version in version(),
        inputs in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..8),
    ) {
        let mut client = client(version);
        client.publish(&message(0, b"x", QoS::ExactlyOnce)).unwrap();
        client.connect(0, &ConnectOptions::new("c")).unwrap();
        let accepted: &[u8] = if version.is_v5() { &[0x20, 3, 0, 0, 0] } else { &[0x20, 2, 0, 0] };
        client.handle_input(accepted).unwrap();
        for input in inputs {
            let mut rest = &input[..];
            while let Ok(Handled::Taken { used, .. }) = client.handle_input(rest) {
                rest = &rest[used..];
            }
            let len = client.poll_output().len();
            client.handle_written(0, len);
        }
    }
}
