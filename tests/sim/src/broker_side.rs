//! The broker's side of the network: what its connection tasks, its timer task and its store thread
//! do, one thing after the other.

use outpost_broker::core::output::{ByteBuffer, Encoder};
use outpost_broker::core::{Handled, Peer};
use outpost_protocol::{Packet, Publish, QoS, ReasonCode, decode};

use crate::oracle::End;
use crate::packet::{Got, message_of, packets};
use crate::watch::Watch;
use crate::wire::{BrokerEnd, LineId, OpenEnd};
use crate::world::{Event, FILTERS, World};

/// The largest CONNECT, as the limits of the core have it by default.
const CONNECT_BYTES_MAX: u32 = 128 << 10;

impl World {
    /// Serves the core's timers that are due.
    pub(crate) fn serve_timers(&mut self) {
        let now = self.now;
        let Some(broker) = self.machine.broker() else { return };
        broker.handle_timeout(now);
        self.tell(format_args!("timers"));
        self.note_detached("keep alive timeouts");
        self.oracle.pass(now);
    }

    /// Does all that the core asks for, until it asks for nothing.
    pub(crate) fn attend(&mut self) {
        self.oracle.pass(self.now);
        loop {
            while let Some(load) = self.machine.poll_load() {
                let ms = self.draw.of(&[0, 1, 10, 500]);
                self.plan_in(ms, Event::Load(self.process, load));
            }
            let Some(broker) = self.machine.broker() else { return };
            while broker.poll_event().is_some() {}
            let Some(conn) = broker.poll_wakeup() else { return };
            let line = self.lines.iter().find(|(_, line)| line.conn() == Some(conn));
            if let Some(line) = line.map(|(id, _)| *id) {
                if let BrokerEnd::Open(end) =
                    &mut self.lines.get_mut(&line).expect("it is there").broker
                {
                    end.waits = false;
                }
                self.serve(line);
            }
        }
    }

    /// Bytes of a client arrive at the broker, if it reads.
    pub(crate) fn arrive_up(&mut self, id: LineId) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        line.up.is_scheduled = false;
        if matches!(line.broker, BrokerEnd::Gone) {
            line.up.lose();
            return self.forget_if_over(id);
        }
        if line.up.is_at_end() {
            return self.lose(id);
        }
        if !self.is_reading(id) {
            return; // The task takes them when it goes on.
        }
        let line = self.lines.get_mut(&id).expect("it was there just now");
        let all = line.up.len();
        let bytes = line.up.arrive(&mut self.draw);
        if bytes.len() < all {
            self.coverage.hit("bytes in pieces");
        }
        match &mut line.broker {
            BrokerEnd::New(unread) => {
                unread.extend(bytes);
                self.shake_hands(id);
            }
            BrokerEnd::Open(end) => end.unread.extend(bytes),
            BrokerEnd::Gone => {}
        }
        self.serve(id);
        self.schedule(id);
    }

    fn is_reading(&mut self, id: LineId) -> bool {
        match &self.lines[&id].broker {
            BrokerEnd::Open(end) => {
                let (conn, waits) = (end.conn, end.waits);
                let is_flooded =
                    self.machine.broker().is_some_and(|broker| broker.is_flooded(conn));
                if is_flooded {
                    self.coverage.hit("flooded");
                }
                !waits && !is_flooded
            }
            _ => true,
        }
    }

    /// CONNECT, once it is whole.
    fn shake_hands(&mut self, id: LineId) {
        let now = self.now;
        let line = self.lines.get_mut(&id).expect("the caller has it");
        let BrokerEnd::New(unread) = &mut line.broker else { return };
        let bytes = std::mem::take(unread);
        let (packet, len) = match decode(&bytes, line.version, CONNECT_BYTES_MAX) {
            Ok(Some(whole)) => whole,
            Ok(None) => {
                line.broker = BrokerEnd::New(bytes);
                return;
            }
            Err(error) => panic!("clients send a CONNECT first: {error:?}"),
        };
        let Packet::Connect(connect) = packet else { panic!("clients send a CONNECT first") };
        let Some(broker) = self.machine.broker() else { return };
        let peer = Peer { address: "simulated".into(), user_name: None, is_internal: false };
        let conn = broker.handle_connect(now, peer, &connect, &[]);
        let options = broker.encoder_options(conn).expect("it is there until it is closed");
        let who = line.who;
        let will = connect.will.as_ref().map(|will| {
            let delay_s = will.properties.will_delay_interval_s().unwrap_or(0);
            (message_of(will.payload).expect("wills say their number"), delay_s)
        });
        let maximum = self.clients[who].profile.maximum_packet_size.unwrap_or(u32::MAX);
        let receive_maximum = connect.properties.receive_maximum().unwrap_or(u16::MAX);
        line.broker = BrokerEnd::Open(Box::new(OpenEnd {
            conn,
            encoder: Encoder::new(options),
            unread: bytes[len..].to_vec(),
            waits: false,
            is_detached: false,
            watch: Watch::new(receive_maximum, maximum),
            published: Default::default(),
        }));
        let old = self.oracle.session(who).line;
        if connect.clean_start {
            self.coverage.hit("clean starts");
        }
        self.oracle.connect_handled(now, who, id, connect.clean_start, will);
        self.tell(format_args!("{who} CONNECT on {id}, clean start: {}", connect.clean_start));
        if let Some(old) = old {
            self.coverage.hit("takeovers");
            if let Some(BrokerEnd::Open(end)) = self.lines.get_mut(&old).map(|l| &mut l.broker) {
                end.is_detached = true;
            }
            self.serve(old);
        }
    }

    /// What a connection's task does when it runs: handle what was read, write what there is.
    pub(crate) fn serve(&mut self, id: LineId) {
        loop {
            while self.handle_next(id) {}
            self.write_outputs(id);
            // What was flooded may be read from now.
            if !self.handle_next(id) {
                break;
            }
        }
        self.schedule(id);
    }

    /// Handles the next whole packet. False: there is none, or it has to wait.
    fn handle_next(&mut self, id: LineId) -> bool {
        let now = self.now;
        if !self.is_reading(id) {
            return false;
        }
        let packet_bytes_max = self.plan.settings.limits.packet_bytes_max;
        let line = self.lines.get_mut(&id).expect("the caller has it");
        let (who, version) = (line.who, line.version);
        let BrokerEnd::Open(end) = &mut line.broker else { return false };
        if end.unread.is_empty() || end.is_detached {
            return false;
        }
        let Some(broker) = self.machine.broker() else { return false };
        let bytes = std::mem::take(&mut end.unread);
        let (packet, len) = match decode(&bytes, version, packet_bytes_max) {
            Ok(Some(whole)) => whole,
            Ok(None) => {
                end.unread = bytes;
                return false;
            }
            Err(error) => {
                broker.handle_malformed(now, end.conn, error);
                self.tell(format_args!("{who} malformed: {}", error.what));
                self.note_detached("connections refused");
                return false;
            }
        };
        let refused = broker.counters().refused;
        let handled = broker.handle_packet(now, end.conn, &packet);
        let is_refused = broker.counters().refused > refused;
        match handled {
            Handled::Done => {
                end.watch.handled(&packet);
                end.unread = bytes[len..].to_vec();
            }
            Handled::Wait => {
                end.waits = true;
                end.unread = bytes.clone();
                self.coverage.hit("had to wait");
            }
            Handled::Closed => {}
        }
        self.tell(format_args!("{who} {} {handled:?}", name(&packet)));
        self.note_handled(id, who, &packet, handled);
        if is_refused && let Packet::Publish(publish) = &packet {
            self.note_refused(publish);
        }
        self.note_detached("connections refused");
        handled == Handled::Done
    }

    /// Tells the oracle what a packet means.
    fn note_handled(&mut self, id: LineId, who: usize, packet: &Packet<'_>, handled: Handled) {
        match packet {
            Packet::Disconnect(disconnect) if handled == Handled::Closed => {
                let is_normal = disconnect.reason == ReasonCode::Success;
                self.detach(id, if is_normal { End::Normal } else { End::Lost });
            }
            _ if handled != Handled::Done => {}
            Packet::Publish(publish) => self.note_publish(id, publish),
            Packet::Subscribe(subscribe) => {
                for wanted in subscribe.filters.iter() {
                    let packet_id = subscribe.packet_id.value();
                    self.oracle.subscribe_handled(who, packet_id, known_filter(wanted.filter));
                }
            }
            Packet::Unsubscribe(unsubscribe) => {
                for filter in unsubscribe.filters.iter() {
                    let packet_id = unsubscribe.packet_id.value();
                    self.oracle.unsubscribe_handled(who, packet_id, known_filter(filter));
                }
            }
            _ => {}
        }
    }

    fn note_publish(&mut self, id: LineId, publish: &Publish<'_>) {
        let line = self.lines.get_mut(&id).expect("the caller has it");
        let message = match message_of(publish.payload) {
            Some(message) => message,
            None => line.erasing.pop_front().expect("it was sent on this connection"),
        };
        if let (Some(packet_id), BrokerEnd::Open(end)) = (publish.packet_id, &mut line.broker) {
            end.published.insert(packet_id.value(), message);
        }
        if publish.dup {
            self.coverage.hit("published again");
        }
        if publish.retain {
            self.coverage.hit("retained messages");
        }
        self.oracle.publish_handled(self.now, message);
    }

    /// The broker did not take a message. Its publisher may never hear of it.
    fn note_refused(&mut self, publish: &Publish<'_>) {
        if let Some(message) = message_of(publish.payload) {
            self.oracle.messages.not_taken(message);
        }
    }

    /// Connections that the core has given up.
    pub(crate) fn note_detached(&mut self, kind: &'static str) {
        let Some(broker) = self.machine.broker() else { return };
        let mut given_up = Vec::new();
        for (id, line) in &self.lines {
            if let BrokerEnd::Open(end) = &line.broker
                && !end.is_detached
                && broker.is_closed(end.conn)
            {
                given_up.push(*id);
            }
        }
        for id in given_up {
            self.coverage.hit(kind);
            self.detach(id, End::Lost);
        }
    }

    /// The core has parted a connection from its session.
    fn detach(&mut self, id: LineId, how: End) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        let who = line.who;
        let BrokerEnd::Open(end) = &mut line.broker else { return };
        if end.is_detached {
            return;
        }
        end.is_detached = true;
        self.tell(format_args!("{who} is detached: {how:?}"));
        self.oracle.detached(self.now, who, how);
    }

    /// Gives out what there is, as far as the client reads.
    fn write_outputs(&mut self, id: LineId) {
        let now = self.now;
        loop {
            let line = self.lines.get_mut(&id).expect("the caller has it");
            if line.down.len() > line.room {
                self.coverage.hit("held back for a slow reader");
                return;
            }
            let BrokerEnd::Open(end) = &mut line.broker else { return };
            let Some(broker) = self.machine.broker() else { return };
            let outputs = broker.poll_output(now, end.conn);
            if outputs.is_empty() {
                return;
            }
            let mut bytes = ByteBuffer::default();
            let is_open = outputs.iter().all(|o| end.encoder.encode(o, now, &mut bytes));
            self.trace.take_in(&bytes.0);
            let version = line.version;
            for (got, len) in packets(&bytes.0, version) {
                self.leave(id, &got, len);
            }
            let line = self.lines.get_mut(&id).expect("it was there just now");
            line.down.send(&bytes.0);
            if !is_open {
                return self.lose(id);
            }
        }
    }

    /// A packet leaves the broker: what it says holds from now on.
    fn leave(&mut self, id: LineId, got: &Got, len: usize) {
        let now = self.now;
        let line = self.lines.get_mut(&id).expect("the caller has it");
        let who = line.who;
        let BrokerEnd::Open(end) = &mut line.broker else { return };
        end.watch.leaves(got, len);
        self.trace.tell(now, format_args!("{who} <- {}", got.name()));
        match got {
            Got::ConnAck { session_present, reason, .. } => {
                assert_eq!(*reason, ReasonCode::Success, "nobody is refused here");
                let kind = if *session_present { "sessions resumed" } else { "sessions lost" };
                self.coverage.hit(kind);
                if !end.is_detached {
                    self.oracle.connack_leaves(who, *session_present);
                }
                // Of a new session its client learns by this alone: it counts when it leaves.
                if !session_present {
                    self.oracle.session_is_new(now, who);
                    self.clients[who].session_is_new(id);
                }
                line.incarnation = Some(self.oracle.session(who).incarnation);
            }
            Got::PubAck(packet_id, reason) | Got::PubRec(packet_id, reason) => {
                let message = end.published[packet_id];
                self.oracle.ack_leaves(message, *reason);
                let is_refused = reason.is_error();
                self.coverage.hit(if is_refused {
                    "messages refused"
                } else {
                    "messages acknowledged"
                });
            }
            Got::SubAck(_, is_granted) => {
                assert!(is_granted, "subscriptions here are granted");
                if !end.is_detached {
                    self.oracle.answer_leaves(who, got);
                }
            }
            Got::UnsubAck(_) if !end.is_detached => self.oracle.answer_leaves(who, got),
            Got::Publish(publish) => {
                if publish.dup {
                    self.coverage.hit("deliveries with DUP");
                }
                if publish.topic.starts_with("s/") && publish.qos > QoS::AtMostOnce {
                    self.coverage.hit("shared deliveries");
                }
            }
            _ => {}
        }
    }

    /// The broker closes a connection, or finds it closed.
    fn lose(&mut self, id: LineId) {
        let now = self.now;
        let line = self.lines.get_mut(&id).expect("the caller has it");
        let who = line.who;
        let conn = line.conn();
        if let (Some(conn), Some(broker)) = (conn, self.machine.broker()) {
            broker.handle_closed(now, conn);
            self.tell(format_args!("{who} closed on {id}"));
            self.detach(id, End::Lost);
        }
        let line = self.lines.get_mut(&id).expect("it was there just now");
        line.broker = BrokerEnd::Gone;
        line.down.end();
        line.up.lose();
        self.note_detached("connections refused");
        self.schedule(id);
    }

    /// Bytes under way have a time to arrive.
    pub(crate) fn schedule(&mut self, id: LineId) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        let delay_ms = line.delay_ms;
        let up = line.up.has_something() && !line.up.is_scheduled;
        let down = line.down.has_something() && !line.down.is_scheduled;
        line.up.is_scheduled |= up;
        line.down.is_scheduled |= down;
        if up {
            let ms = self.draw.below(delay_ms + 1);
            self.plan_in(ms, Event::Up(id));
        }
        if down {
            let ms = self.draw.below(delay_ms + 1);
            self.plan_in(ms, Event::Down(id));
        }
    }

    /// Neither side uses the connection any more.
    pub(crate) fn forget_if_over(&mut self, id: LineId) {
        let is_over = self
            .lines
            .get(&id)
            .is_some_and(|line| !line.is_open && matches!(line.broker, BrokerEnd::Gone));
        if is_over {
            self.lines.remove(&id);
        }
    }
}

fn known_filter(filter: &str) -> &'static str {
    FILTERS.iter().find(|known| **known == filter).expect("clients ask for these filters")
}

fn name(packet: &Packet<'_>) -> String {
    match packet {
        Packet::Publish(p) => {
            let message = message_of(p.payload);
            format!("PUBLISH {message:?} {:?} {:?}, {}", p.packet_id, p.qos, p.topic)
        }
        Packet::PubAck(p) => format!("PUBACK {:?}", p.packet_id),
        Packet::PubRec(p) => format!("PUBREC {:?}", p.packet_id),
        Packet::PubRel(p) => format!("PUBREL {:?}", p.packet_id),
        Packet::PubComp(p) => format!("PUBCOMP {:?}", p.packet_id),
        Packet::Subscribe(p) => format!("SUBSCRIBE {:?}", p.filters),
        Packet::Unsubscribe(p) => format!("UNSUBSCRIBE {:?}", p.filters),
        other => format!("{:?}", other.packet_type()),
    }
}
