//! The clients' side of the network: what they think of, and what arrives.

use outpost_protocol::QoS;

use crate::client::Client;
use crate::manners::RUDENESS;
use crate::oracle::Message;
use crate::wire::{BrokerEnd, Line, LineId};
use crate::world::{FILTERS, RETAINED_TOPICS, SHARED_FILTER, TOPICS, WILL_TOPICS, World};

impl World {
    /// A client has an idea.
    pub(crate) fn act(&mut self, who: usize) {
        let Some(id) = self.clients[who].line else { return self.stay_or_connect(who) };
        self.read_inbox(who);
        if !self.has_faults {
            return;
        }
        let rude_percent = self.clients[who].profile.rude_percent;
        if self.clients[who].is_accepted && self.draw.percent(rude_percent) {
            self.be_rude(who, id);
        }
        match self.draw.below(100) {
            0..45 => self.publish(who, &TOPICS),
            45..50 => self.publish(who, &RETAINED_TOPICS[who..=who]),
            50..65 => self.subscribe(who),
            65..67 => self.unsubscribe(who),
            67..72 => self.ping(who),
            72..75 => self.part(who),
            75..79 => self.drop_line(who),
            79..81 => {
                let clean_start = self.draw.one_in(8);
                self.connect(who, clean_start);
            }
            _ => {}
        }
        self.schedule(id);
    }

    fn stay_or_connect(&mut self, who: usize) {
        if !self.has_faults || self.draw.one_in(2) {
            let clean_start = self.has_faults && self.draw.one_in(12);
            self.connect(who, clean_start);
        }
    }

    /// A new connection, beside the old one if there is one.
    pub(crate) fn connect(&mut self, who: usize, clean_start: bool) {
        self.drop_line(who);
        let will = self.draw_will(who);
        let hello = self.clients[who].connect(&self.oracle, clean_start, will);
        if self.machine.broker().is_none() {
            return self.tell(format_args!("{who} finds no broker"));
        }
        let id = self.next_line;
        self.next_line += 1;
        let profile = &self.clients[who].profile;
        let mut line = Line::new(who, profile.version, self.now, &hello);
        line.delay_ms = if self.has_faults { profile.delay_ms } else { 1 };
        if self.has_faults && self.draw.one_in(4) {
            line.room = self.draw.of(&[0, 200, 2_000]);
        }
        self.lines.insert(id, line);
        self.clients[who].line = Some(id);
        self.tell(format_args!("{who} connects by {id}, will {will:?}"));
        self.schedule(id);
    }

    fn draw_will(&mut self, who: usize) -> Option<usize> {
        let will = self.clients[who].profile.will?;
        if !self.has_faults || self.draw.one_in(2) {
            return None;
        }
        let mut message = Message::new(who, WILL_TOPICS[who], will.qos, 0);
        message.is_will = true;
        Some(self.oracle.messages.add(message))
    }

    fn publish(&mut self, who: usize, topics: &[&'static str]) {
        let topic = self.draw.of(topics);
        let is_retained = topic.starts_with("r/");
        let qos = self.draw.of(&[
            QoS::AtMostOnce,
            QoS::AtLeastOnce,
            QoS::AtLeastOnce,
            QoS::ExactlyOnce,
            QoS::ExactlyOnce,
        ]);
        // A QoS 1 value that is sent again would replace later ones of QoS 2, which are known already.
        let own_qos = if who.is_multiple_of(2) { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
        let qos = if is_retained && qos > QoS::AtMostOnce { own_qos } else { qos };
        let bytes = if self.draw.one_in(10) { self.draw.below(2_000) } else { self.draw.below(60) };
        let expires = self.draw.one_in(12);
        let expiry_s = self.draw.between(1, 30) as u32;
        let (client, Some(line)) = Self::line_of(&mut self.clients, &mut self.lines, who) else {
            return;
        };
        if !client.may_publish() {
            return;
        }
        let limits = &self.plan.settings.limits;
        // 3.1.1 has no way to refuse: who publishes what no table has room for is sent away, and who
        // has more bytes waiting for room than this is not read from.
        let is_tight = limits.retained_messages_max < 100 || limits.retained_bytes_max < 1 << 20;
        let may_retain = client.profile.is_v5() || !is_tight;
        if is_retained && !may_retain {
            return;
        }
        let is_small = !client.profile.is_v5() && limits.output_bytes_max < 1 << 20;
        let bytes = if is_small { bytes.min(100) } else { bytes };
        let mut message = Message::new(who, topic, qos, bytes as usize);
        message.expiry_s = (expires && client.profile.is_v5()).then_some(expiry_s);
        message.is_erasing = is_retained && self.draw.one_in(6);
        let index = self.oracle.messages.add(message);
        client.publish(line, &self.oracle, index);
        self.tell(format_args!("{who} publishes {index} to {topic}, {qos:?}, {bytes} bytes"));
    }

    fn subscribe(&mut self, who: usize) {
        let filter = self.draw.of(&FILTERS);
        let (client, Some(line)) = Self::line_of(&mut self.clients, &mut self.lines, who) else {
            return;
        };
        let may = filter != SHARED_FILTER || client.profile.may_share();
        if may && client.is_accepted {
            client.subscribe(line, filter);
            self.tell(format_args!("{who} subscribes to {filter}"));
        }
    }

    fn unsubscribe(&mut self, who: usize) {
        let filter = self.draw.of(&FILTERS);
        let (client, Some(line)) = Self::line_of(&mut self.clients, &mut self.lines, who) else {
            return;
        };
        if filter != SHARED_FILTER && client.is_accepted {
            client.unsubscribe(line, filter);
            self.tell(format_args!("{who} unsubscribes from {filter}"));
        }
    }

    fn ping(&mut self, who: usize) {
        if let (client, Some(line)) = Self::line_of(&mut self.clients, &mut self.lines, who)
            && client.is_accepted
        {
            client.ping(line);
        }
    }

    /// A client leaves in order.
    fn part(&mut self, who: usize) {
        let with_will = self.draw.one_in(4);
        let (client, Some(line)) = Self::line_of(&mut self.clients, &mut self.lines, who) else {
            return;
        };
        if !client.is_accepted {
            return;
        }
        client.disconnect(line, with_will);
        line.up.end();
        line.is_open = false;
        let id = client.line;
        client.lost();
        self.tell(format_args!("{who} parts, with its will: {with_will}"));
        id.into_iter().for_each(|id| self.schedule(id));
    }

    /// A client closes its connection, or takes it for lost. The broker hears of it, or learns it late.
    pub(crate) fn drop_line(&mut self, who: usize) {
        let Some(id) = self.clients[who].line else { return };
        let is_silent = self.draw.one_in(4);
        // A clean start that comes late would end a session that its client relies on: the network is
        // not as bad as that.
        let loses = self.draw.one_in(2) || self.clients[who].wants_clean_start;
        self.coverage.hit("connections cut");
        self.tell(format_args!("{who} drops {id}"));
        self.clients[who].lost();
        let Some(line) = self.lines.get_mut(&id) else { return };
        line.is_open = false;
        line.down.lose();
        if loses {
            line.up.lose();
        }
        line.up.end();
        if is_silent {
            line.delay_ms = 20_000;
        }
        self.schedule(id);
        self.forget_if_over(id);
    }

    fn be_rude(&mut self, who: usize, id: LineId) {
        let rudeness = self.draw.of(&RUDENESS);
        let packet_bytes_max = self.plan.settings.limits.packet_bytes_max;
        let Some(line) = self.lines.get_mut(&id) else { return };
        let client = &mut self.clients[who];
        rudeness.show(client, line, packet_bytes_max, &mut self.draw);
        self.coverage.hit("rude acts");
        self.tell(format_args!("{who} is rude: {rudeness:?}"));
    }

    /// Bytes of the broker arrive at a client.
    pub(crate) fn arrive_down(&mut self, id: LineId) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        line.down.is_scheduled = false;
        let who = line.who;
        if !line.is_open {
            line.down.lose();
        } else if line.down.is_at_end() {
            line.is_open = false;
            self.clients[who].lost();
            self.tell(format_args!("{who} has lost {id}"));
        } else {
            let bytes = line.down.arrive(&mut self.draw);
            self.clients[who].hear(&bytes);
            if self.clients[who].profile.is_prompt {
                self.read_inbox(who);
            }
        }
        if self.lines.get(&id).is_some_and(|line| matches!(line.broker, BrokerEnd::Open(_))) {
            // There is room again.
            self.serve(id);
        }
        self.schedule(id);
        self.forget_if_over(id);
    }

    /// A client handles what has arrived: all of it, or some.
    fn read_inbox(&mut self, who: usize) {
        if self.clients[who].deaf_for > 0 {
            self.clients[who].deaf_for -= 1;
            return;
        }
        let is_prompt = self.clients[who].profile.is_prompt;
        let packets = if is_prompt { u64::MAX } else { self.draw.between(1, 6) };
        for _ in 0..packets {
            let now = self.now;
            let (client, Some(line)) = Self::line_of(&mut self.clients, &mut self.lines, who)
            else {
                return;
            };
            if !client.has_inbox() {
                break;
            }
            let taken = client.take_next(now, line, &mut self.oracle);
            self.trace.tell(now, format_args!("{who} takes {taken}"));
        }
        if let Some(id) = self.clients[who].line {
            self.schedule(id);
        }
    }

    fn line_of<'a>(
        clients: &'a mut [Client],
        lines: &'a mut std::collections::BTreeMap<LineId, Line>,
        who: usize,
    ) -> (&'a mut Client, Option<&'a mut Line>) {
        let client = &mut clients[who];
        let line = client.line.and_then(|id| lines.get_mut(&id));
        (client, line)
    }
}
