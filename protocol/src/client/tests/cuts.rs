//! The connection is cut after every single byte of every flow, in both directions, with the session
//! present afterwards and not.

use std::collections::BTreeMap;
use std::vec::Vec;

use super::super::{ConnectOptions, Event, Handled, Outcome};
use super::server::Server;
use super::{TestClient, VERSIONS, client, message};
use crate::{ProtocolVersion, QoS};

/// A client, a server, and a link between them that can be cut.
pub(super) struct World {
    pub(super) client: TestClient,
    pub(super) server: Server,
    /// Bytes on their way to the client, and those that it has not taken yet.
    input: Vec<u8>,
    /// How each message that was published ended, by its token.
    pub(super) outcomes: BTreeMap<u32, Outcome>,
    /// The messages that were handed to the client's caller.
    pub(super) received: Vec<Vec<u8>>,
}

impl World {
    pub(super) fn new(version: ProtocolVersion, receive_maximum: u16) -> Self {
        Self::of(client(version), Server::new(version, receive_maximum))
    }

    pub(super) fn of(client: TestClient, server: Server) -> Self {
        Self { client, server, input: Vec::new(), outcomes: BTreeMap::new(), received: Vec::new() }
    }

    pub(super) fn connect(&mut self) {
        self.client.connect(0, &ConnectOptions::new("c")).unwrap();
    }

    pub(super) fn cut(&mut self) {
        self.client.handle_closed();
        self.server.cut();
        self.input.clear();
    }

    /// Carries up to `budget` bytes from the client to the server. How many there were.
    pub(super) fn carry_out(&mut self, budget: usize) -> usize {
        let output = self.client.poll_output();
        let len = output.len().min(budget);
        let bytes = output[..len].to_vec();
        self.client.handle_written(0, len);
        self.server.receive(&bytes);
        len
    }

    /// Carries up to `budget` bytes from the server to the client. How many there were.
    pub(super) fn carry_in(&mut self, budget: usize) -> usize {
        if self.client.is_connected() {
            self.server.send_new();
        }
        let len = self.server.output.len().min(budget);
        self.input.extend(self.server.output.drain(..len));
        self.handle_input();
        len
    }

    fn handle_input(&mut self) {
        loop {
            let used = match self.client.handle_input(&self.input) {
                Ok(Handled::Incomplete | Handled::OutputFull) => return,
                Ok(Handled::Taken { used, event }) => {
                    match event {
                        Some(Event::Published(published)) => {
                            let before = self.outcomes.insert(published.token, published.outcome);
                            assert_eq!(before, None, "ended twice");
                        }
                        Some(Event::Message(publish)) => {
                            self.received.push(publish.payload.to_vec());
                        }
                        _ => {}
                    }
                    used
                }
                Err(error) => panic!("{error}"),
            };
            self.input.drain(..used);
        }
    }

    /// Carries bytes, one at a time each way, until none are left or the budget is used up.
    pub(super) fn run(&mut self, budget: usize) -> usize {
        let mut carried = 0;
        while carried < budget {
            let now = self.carry_out(1) + self.carry_in(1);
            if now == 0 {
                break;
            }
            carried += now;
        }
        carried
    }

    pub(super) fn run_to_the_end(&mut self) {
        self.run(usize::MAX);
        assert!(self.client.is_idle());
        assert_eq!(self.client.in_flight(), 0);
        assert_eq!(self.server.outstanding(), 0);
    }
}

const SENT: [(&[u8], QoS); 5] = [
    (b"a", QoS::AtLeastOnce),
    (b"b", QoS::ExactlyOnce),
    (b"c", QoS::AtLeastOnce),
    (b"d", QoS::ExactlyOnce),
    (b"e", QoS::ExactlyOnce),
];

fn sending(version: ProtocolVersion, receive_maximum: u16) -> World {
    let mut world = World::new(version, receive_maximum);
    for (token, (payload, qos)) in (0..).zip(SENT) {
        world.client.publish(&message(token, payload, qos)).unwrap();
    }
    world.connect();
    world
}

fn receiving(version: ProtocolVersion) -> World {
    let mut world = World::new(version, 8);
    for (payload, qos) in [SENT[0], SENT[1], SENT[3], SENT[2]] {
        world.server.send(payload, qos);
    }
    world.connect();
    world
}

fn times(list: &[Vec<u8>], payload: &[u8]) -> usize {
    list.iter().filter(|other| *other == payload).count()
}

/// The messages in the order in which each came first.
fn firsts(list: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut firsts = Vec::new();
    for payload in list {
        if !firsts.contains(payload) {
            firsts.push(payload.clone());
        }
    }
    firsts
}

fn sent_payloads() -> Vec<Vec<u8>> {
    SENT.iter().map(|(payload, _)| payload.to_vec()).collect()
}

#[test]
fn a_cut_after_any_byte_loses_and_doubles_nothing_that_was_published() {
    for version in VERSIONS {
        for receive_maximum in [1, 2, 8] {
            let whole = sending(version, receive_maximum).run(usize::MAX);
            assert!(whole > 90, "{whole}");
            for cut in 0..=whole {
                let mut world = sending(version, receive_maximum);
                assert_eq!(world.run(cut).min(cut), cut);
                world.cut();
                world.connect();
                world.run_to_the_end();
                check_all_acknowledged(&world);
                for (payload, qos) in SENT {
                    let times = times(&world.server.taken_over, payload);
                    assert!(times == 1 || qos == QoS::AtLeastOnce, "{version:?} {cut}: {times}");
                }
            }
        }
    }
}

#[test]
fn two_cuts_are_no_worse_than_one() {
    let version = ProtocolVersion::V5;
    let whole = sending(version, 2).run(usize::MAX);
    for cuts in (0..whole).flat_map(|first| (0..whole).step_by(3).map(move |next| [first, next])) {
        let mut world = sending(version, 2);
        for cut in cuts {
            world.run(cut);
            world.cut();
            world.connect();
        }
        world.run_to_the_end();
        check_all_acknowledged(&world);
        for payload in [b"b", b"d", b"e"] {
            assert_eq!(times(&world.server.taken_over, payload), 1, "{cuts:?}");
        }
    }
}

fn check_all_acknowledged(world: &World) {
    assert_eq!(firsts(&world.server.taken_over), sent_payloads());
    assert_eq!(world.outcomes.len(), SENT.len());
    assert!(world.outcomes.values().all(Outcome::is_success), "{:?}", world.outcomes);
}

#[test]
fn with_the_session_gone_all_is_sent_as_new_but_what_the_server_took_over() {
    // 3.1 does not tell, so there the client must believe that the session is present.
    for version in [ProtocolVersion::V311, ProtocolVersion::V5] {
        let whole = sending(version, 8).run(usize::MAX);
        let mut lost = 0;
        for cut in 0..=whole {
            let mut world = sending(version, 8);
            world.run(cut);
            world.cut();
            world.server.lose_session();
            world.connect();
            world.run_to_the_end();
            // Each has arrived, and each has been told of once.
            assert_eq!(firsts(&world.server.taken_over), sent_payloads(), "{version:?} {cut}");
            assert_eq!(world.outcomes.len(), SENT.len());
            for (token, outcome) in &world.outcomes {
                let (payload, qos) = SENT[*token as usize];
                if *outcome == Outcome::SessionLost {
                    assert_eq!(qos, QoS::ExactlyOnce);
                    assert_eq!(times(&world.server.taken_over, payload), 1);
                    lost += 1;
                } else {
                    assert!(outcome.is_success(), "{outcome:?}");
                }
            }
        }
        assert!(lost > 0, "no cut fell between PUBREC and PUBCOMP");
    }
}

#[test]
fn a_cut_after_any_byte_loses_and_doubles_nothing_that_is_received() {
    for version in VERSIONS {
        let whole = receiving(version).run(usize::MAX);
        for cut in 0..=whole {
            let mut world = receiving(version);
            world.run(cut);
            world.cut();
            world.connect();
            world.run_to_the_end();
            let order = [SENT[0].0, SENT[1].0, SENT[3].0, SENT[2].0];
            assert_eq!(firsts(&world.received), order, "{version:?} {cut}");
            for payload in [b"b", b"d"] {
                assert_eq!(times(&world.received, payload), 1, "{version:?} {cut}");
            }
        }
    }
}
