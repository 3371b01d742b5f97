//! What all clients do alike: open connections, read packets, find that a connection is lost.

use outpost_protocol::{Connect, Packet, Properties, Property, ProtocolVersion};

use super::connection::{BrokerEnd, Conn, ConnNumber, Owner};
use super::{Event, World};
use crate::packet::{Got, encode, take_packet};

const V5: ProtocolVersion = ProtocolVersion::V5;

impl World {
    /// A connection to a site that begins with these bytes; none while nobody listens there.
    pub(super) fn open(&mut self, owner: Owner, site: usize, hello: &[u8]) -> Option<ConnNumber> {
        if !self.sites[site].machine.is_running() {
            return None;
        }
        let is_local = matches!(owner, Owner::Link(_, outpost_bridge::side::Side::Local));
        let delay_ms = if is_local { 0 } else { self.plan.delay_ms };
        let process = self.sites[site].process;
        let number = self.next_conn;
        self.next_conn += 1;
        self.conns.insert(number, Conn::new(owner, (site, process), delay_ms, hello));
        self.schedule(number);
        Some(number)
    }

    /// The same with the CONNECT of a client whose session lasts.
    pub(super) fn open_client(&mut self, owner: Owner, site: usize) -> Option<ConnNumber> {
        let client_id = format!("{owner:?}").to_lowercase();
        let list = [Property::SessionExpiryInterval(u32::MAX)];
        let connect = Connect {
            version: V5,
            bridge: false,
            clean_start: false,
            keep_alive_s: 0,
            properties: Properties::list(&list),
            client_id: &client_id,
            will: None,
            user_name: None,
            password: None,
        };
        self.open(owner, site, &encode(&Packet::Connect(connect), V5))
    }

    /// The client of a connection sends.
    pub(super) fn send(&mut self, number: ConnNumber, bytes: &[u8]) {
        let Some(conn) = self.conns.get_mut(&number) else { return };
        conn.up.send(bytes);
        self.schedule(number);
    }

    /// The client gives a connection up.
    pub(super) fn drop_conn(&mut self, number: ConnNumber) {
        let Some(conn) = self.conns.get_mut(&number) else { return };
        conn.is_open = false;
        // Some of what is under way arrives, some does not: in the middle of a packet, too. Behind what
        // was lost in silence nothing does.
        let kept = if conn.is_silent { Vec::new() } else { conn.up.arrive(&mut self.draw) };
        conn.up.lose();
        conn.up.send(&kept);
        conn.up.end();
        conn.is_silent = false;
        self.schedule(number);
        self.forget_if_over(number);
    }

    /// Bytes arrive at the client of a connection, or the end of them.
    pub(super) fn arrive_down(&mut self, number: ConnNumber) {
        let Some(conn) = self.conns.get_mut(&number) else { return };
        conn.down.is_scheduled = false;
        if conn.is_silent {
            conn.down.lose();
            return;
        }
        if !conn.is_open {
            conn.down.lose();
            return self.forget_if_over(number);
        }
        let is_at_end = conn.down.is_at_end();
        let bytes = conn.down.arrive(&mut self.draw);
        conn.input.extend(bytes);
        let owner = conn.owner;
        match owner {
            Owner::Link(link, side) => self.link_reads(link, side, number),
            Owner::Publisher(_) | Owner::Subscriber(_) => self.client_reads(owner, number),
        }
        if is_at_end && self.conns.get(&number).is_some_and(|conn| conn.is_open) {
            self.lost(owner, number);
        }
        self.schedule(number);
    }

    fn client_reads(&mut self, owner: Owner, number: ConnNumber) {
        loop {
            let Some(conn) = self.conns.get_mut(&number).filter(|conn| conn.is_open) else {
                return;
            };
            let Some(got) = take_packet(&mut conn.input, V5) else { return };
            self.tell(format_args!("{owner:?} takes {}", got.name()));
            if let Got::Disconnect(_) = got {
                return self.lost(owner, number);
            }
            match owner {
                Owner::Publisher(who) => self.publisher_takes(who, number, &got),
                Owner::Subscriber(who) => self.subscriber_takes(who, number, &got),
                Owner::Link(..) => unreachable!("links read by themselves"),
            }
        }
    }

    fn lost(&mut self, owner: Owner, number: ConnNumber) {
        self.drop_conn(number);
        match owner {
            Owner::Publisher(who) => self.publishers[who].conn = None,
            Owner::Subscriber(who) => {
                self.subscribers[who].conn = None;
                let ms = self.draw.below(500);
                self.plan_in(ms, Event::Subscribe(who));
            }
            Owner::Link(link, _) => self.drop_link(link, "the connection was closed"),
        }
    }

    /// Bytes under way have a time to arrive.
    pub(super) fn schedule(&mut self, number: ConnNumber) {
        let Some(conn) = self.conns.get_mut(&number) else { return };
        let delay_ms = conn.delay_ms;
        let up = conn.up.has_something() && !conn.up.is_scheduled;
        let down = conn.down.has_something() && !conn.down.is_scheduled;
        conn.up.is_scheduled |= up;
        conn.down.is_scheduled |= down;
        if up {
            let ms = self.draw.below(delay_ms + 1);
            self.plan_in(ms, Event::Up(number));
        }
        if down {
            let ms = self.draw.below(delay_ms + 1);
            self.plan_in(ms, Event::Down(number));
        }
    }

    /// Neither side uses the connection any more.
    pub(super) fn forget_if_over(&mut self, number: ConnNumber) {
        let is_over = self
            .conns
            .get(&number)
            .is_some_and(|conn| !conn.is_open && matches!(conn.broker, BrokerEnd::Gone));
        if is_over {
            self.conns.remove(&number);
        }
    }
}
