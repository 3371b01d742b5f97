//! What the processes of the sites do: their connection tasks, timers and store threads.

use outpost_bridge::config::BridgeConfig;
use outpost_broker::core::output::{ByteBuffer, Encoder};
use outpost_broker::core::{Handled, Peer};
use outpost_broker::prepare_bridge;
use outpost_protocol::{Packet, ProtocolVersion, decode};

use super::connection::{BrokerEnd, ConnNumber, OpenEnd, Owner};
use super::{Event, How, World};
use crate::packet::{Got, packets};

const V5: ProtocolVersion = ProtocolVersion::V5;

/// The largest packet, as the limits of the core have it by default.
const PACKET_BYTES_MAX: u32 = 1 << 20;

impl World {
    /// The process of a site starts, on whatever its disk holds.
    pub(super) fn start(&mut self, site: usize) {
        let now = self.now;
        let is_first = self.sites[site].process == 0;
        self.sites[site].process += u64::from(is_first);
        let contents = self.sites[site].machine.start(now).expect("the disk is sound");
        self.tell(format_args!("site {site} starts: {contents:?}"));
        let own: Vec<&BridgeConfig> =
            self.links.iter().filter(|link| link.from == site).map(|link| &link.config).collect();
        let ids: Vec<String> = own.iter().map(|bridge| bridge.client_id()).collect();
        let broker = self.sites[site].machine.broker().expect("it has just started");
        broker.end_internal_sessions_except(now, &ids);
        for bridge in own {
            prepare_bridge(broker, now, bridge);
        }
    }

    /// The process of a site ends, with its bridges and all connections to it.
    pub(super) fn end_process(&mut self, site: usize, how: How) {
        if !self.sites[site].machine.is_running() {
            return;
        }
        self.tell(format_args!("site {site} ends: {how:?}"));
        let now = self.now;
        let steps = self.draw.below(60);
        let machine = &mut self.sites[site].machine;
        match how {
            How::PowerCut => {
                self.coverage.hit("power cuts of sites");
                machine.cut_power(steps);
            }
            How::Kill => {
                self.coverage.hit("sites killed");
                machine.kill(steps);
            }
            How::InOrder => {
                self.coverage.hit("sites ended in order");
                machine.shut_down(now).expect("the disk is sound");
            }
        }
        self.sites[site].process += 1;
        let numbers: Vec<ConnNumber> =
            self.conns.iter().filter(|(_, conn)| conn.site == site).map(|(n, _)| *n).collect();
        for number in numbers {
            let loses = self.draw.one_in(2);
            let conn = self.conns.get_mut(&number).expect("it is in the list");
            conn.broker = BrokerEnd::Gone;
            conn.up.lose();
            if loses {
                conn.down.lose();
            }
            conn.down.end();
            self.schedule(number);
        }
        for link in 0..self.links.len() {
            if self.links[link].from == site {
                self.forget_link(link);
            }
        }
        let ms = self.draw.of(&[0, 10, 1_000, 50_000]);
        let ms = self.draw.below(ms + 1);
        self.plan_in(ms, Event::Start(site));
    }

    pub(super) fn serve_timers(&mut self, site: usize) {
        let now = self.now;
        if let Some(broker) = self.sites[site].machine.broker() {
            broker.handle_timeout(now);
        }
    }

    pub(super) fn begin_commit(&mut self, site: usize) {
        if self.sites[site].machine.begin_commit(self.now) {
            let longest_ms = if self.has_faults { self.plan.commit_ms } else { 5 };
            let ms = self.draw.below(longest_ms + 1);
            self.plan_in(ms, Event::Commit(site, self.sites[site].process));
        }
    }

    pub(super) fn end_commit(&mut self, site: usize) {
        self.sites[site].machine.end_commit(self.now).expect("the disk is sound");
    }

    /// Does all that the core of a site asks for, until it asks for nothing.
    pub(super) fn attend(&mut self, site: usize) {
        loop {
            while let Some(load) = self.sites[site].machine.poll_load() {
                let ms = self.draw.of(&[0, 1, 10, 200]);
                self.plan_in(ms, Event::Load(site, self.sites[site].process, load));
            }
            let Some(broker) = self.sites[site].machine.broker() else { return };
            while broker.poll_event().is_some() {}
            let Some(woken) = broker.poll_wakeup() else { return };
            let is_woken = |conn: &super::Conn| conn.site == site && conn.conn() == Some(woken);
            let number = self.conns.iter().find(|(_, conn)| is_woken(conn)).map(|(n, _)| *n);
            let Some(number) = number else { continue };
            if let BrokerEnd::Open(end) = &mut self.conns.get_mut(&number).expect("found").broker {
                end.waits = false;
            }
            self.serve(number);
        }
    }

    /// Bytes of a client arrive at its site.
    pub(super) fn arrive_up(&mut self, number: ConnNumber) {
        let Some(conn) = self.conns.get_mut(&number) else { return };
        conn.up.is_scheduled = false;
        if matches!(conn.broker, BrokerEnd::Gone) {
            conn.up.lose();
            return self.forget_if_over(number);
        }
        if conn.is_silent {
            conn.up.lose();
            return;
        }
        if conn.up.is_at_end() {
            return self.close(number);
        }
        let bytes = conn.up.arrive(&mut self.draw);
        match &mut conn.broker {
            BrokerEnd::New(unread) => {
                unread.extend(bytes);
                self.shake_hands(number);
            }
            BrokerEnd::Open(end) => end.unread.extend(bytes),
            BrokerEnd::Gone => {}
        }
        self.serve(number);
        self.schedule(number);
    }

    /// CONNECT, once it is whole.
    fn shake_hands(&mut self, number: ConnNumber) {
        let now = self.now;
        let conn = self.conns.get_mut(&number).expect("the caller has it");
        let BrokerEnd::New(unread) = &mut conn.broker else { return };
        let bytes = std::mem::take(unread);
        let packet = decode(&bytes, V5, PACKET_BYTES_MAX).expect("clients send a CONNECT first");
        let Some((Packet::Connect(connect), len)) = packet else {
            conn.broker = BrokerEnd::New(bytes);
            return;
        };
        let Some(broker) = self.sites[conn.site].machine.broker() else { return };
        let is_internal = matches!(conn.owner, Owner::Link(_, outpost_bridge::side::Side::Local));
        let peer = Peer { address: "simulated".into(), user_name: None, is_internal };
        let id = broker.handle_connect(now, peer, &connect, &[]);
        let options = broker.encoder_options(id).expect("it is there until it is closed");
        conn.broker = BrokerEnd::Open(Box::new(OpenEnd {
            conn: id,
            encoder: Encoder::new(options),
            unread: bytes[len..].to_vec(),
            waits: false,
            published: Default::default(),
        }));
    }

    /// What a connection's task does when it runs: handle what was read, write what there is.
    fn serve(&mut self, number: ConnNumber) {
        loop {
            while self.handle_next(number) {}
            self.write_outputs(number);
            if !self.handle_next(number) {
                break;
            }
        }
        self.schedule(number);
    }

    /// Handles the next whole packet. False: there is none, or it has to wait.
    fn handle_next(&mut self, number: ConnNumber) -> bool {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(&number) else { return false };
        let (owner, site) = (conn.owner, conn.site);
        let BrokerEnd::Open(end) = &mut conn.broker else { return false };
        let Some(broker) = self.sites[site].machine.broker() else { return false };
        if end.waits || end.unread.is_empty() || broker.is_flooded(end.conn) {
            return false;
        }
        let bytes = std::mem::take(&mut end.unread);
        let packet = decode(&bytes, V5, PACKET_BYTES_MAX).expect("clients send valid packets");
        let Some((packet, len)) = packet else {
            end.unread = bytes;
            return false;
        };
        let handled = broker.handle_packet(now, end.conn, &packet);
        match handled {
            Handled::Done => end.unread = bytes[len..].to_vec(),
            Handled::Wait => {
                end.unread = bytes.clone();
                end.waits = true;
            }
            Handled::Closed => {}
        }
        if handled == Handled::Done
            && let Packet::Publish(publish) = &packet
            && let Owner::Publisher(_) = owner
        {
            let message = crate::packet::message_of(publish.payload);
            if let (Some(message), Some(id)) = (message, publish.packet_id) {
                end.published.insert(id.value(), message);
            }
        }
        handled == Handled::Done
    }

    /// Gives out what there is.
    fn write_outputs(&mut self, number: ConnNumber) {
        let now = self.now;
        loop {
            let Some(conn) = self.conns.get_mut(&number) else { return };
            let (owner, site) = (conn.owner, conn.site);
            let BrokerEnd::Open(end) = &mut conn.broker else { return };
            let Some(broker) = self.sites[site].machine.broker() else { return };
            let outputs = broker.poll_output(now, end.conn);
            if outputs.is_empty() {
                return;
            }
            let mut bytes = ByteBuffer::default();
            let is_open = outputs.iter().all(|output| end.encoder.encode(output, now, &mut bytes));
            self.trace.take_in(&bytes.0);
            for (got, _) in packets(&bytes.0, V5) {
                if let (Owner::Publisher(_), Got::PubAck(id, _) | Got::PubRec(id, _)) =
                    (owner, &got)
                    && let Some(message) = end.published.get(id)
                {
                    self.oracle.acknowledged(*message);
                }
                self.trace.tell(now, format_args!("{owner:?} <- {}", got.name()));
            }
            conn.down.send(&bytes.0);
            if !is_open {
                return self.close(number);
            }
        }
    }

    /// The broker closes a connection, or finds it closed.
    fn close(&mut self, number: ConnNumber) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(&number) else { return };
        if let (Some(id), Some(broker)) = (conn.conn(), self.sites[conn.site].machine.broker()) {
            broker.handle_closed(now, id);
        }
        let conn = self.conns.get_mut(&number).expect("it was there just now");
        conn.broker = BrokerEnd::Gone;
        conn.down.end();
        conn.up.lose();
        self.schedule(number);
    }
}
