//! PUBLISH: the topic is mapped, the rest goes on as it came, within what the other broker takes.

use std::sync::Arc;

use outpost_protocol::{Packet, Properties, Property, PubAck, PubRec, Publish, QoS, ReasonCode};

use super::{Notice, OUTPUT_BYTES_SOFT, Relay, aliases, protocol_error, put};
use crate::config::RetainRule;
use crate::interest::{self, Interest};
use crate::link_error::LinkError;
use crate::mapping::Rule;
use crate::origin::{self, Origin, is_origin};
use crate::output::{Output, Outputs};
use crate::side::Side;

impl Relay {
    pub(super) fn handle_publish(
        &mut self,
        from: Side,
        publish: &Publish<'_>,
        now_ms: u64,
        out: &mut Outputs,
    ) -> Result<(), LinkError> {
        if from == Side::Remote && publish.topic == interest::TOPIC && self.has_interest() {
            return self.handle_interest(publish.payload, now_ms, out);
        }
        let Some(alias) = publish.properties.topic_alias() else {
            if publish.topic.is_empty() {
                return Err(protocol_error(from, "a message without a topic"));
            }
            return self.take_in_turn(from, publish, now_ms, out);
        };
        let topic = self.aliases_taken[from].resolve(alias, publish.topic);
        let topic = topic.ok_or_else(|| protocol_error(from, "a topic alias that is none"))?;
        self.take_in_turn(from, &Publish { topic: &topic, ..publish.clone() }, now_ms, out)
    }

    /// Whether the remote broker says what it has subscribers for.
    fn has_interest(&self) -> bool {
        self.peers.remote.peering.is_some_and(|peering| peering.features.interest)
    }

    fn handle_interest(
        &mut self,
        payload: &[u8],
        now_ms: u64,
        out: &mut Outputs,
    ) -> Result<(), LinkError> {
        let interest = Interest::parse(payload);
        let interest = interest.ok_or_else(|| protocol_error(Side::Remote, "no interest"))?;
        let interest = Arc::new(interest);
        self.interest = Some(interest.clone());
        self.notices.push(Notice::Interest(interest));
        self.paced.handle_interest();
        self.release(now_ms, out)
    }

    fn take_in_turn(
        &mut self,
        from: Side,
        publish: &Publish<'_>,
        now_ms: u64,
        out: &mut Outputs,
    ) -> Result<(), LinkError> {
        if from == Side::Remote || !self.hold(publish, now_ms)? {
            self.take_within_window(from, publish, now_ms, out)?;
        }
        Ok(())
    }

    /// Takes a message whose topic is known.
    pub(super) fn take(
        &mut self,
        from: Side,
        publish: &Publish<'_>,
        now_ms: u64,
        out: &mut Outputs,
    ) {
        let rule = self.mapping.map_arrived(from, publish.topic, &mut self.mapped);
        let Some(retain) = rule.map(Rule::retain) else {
            self.counts.unmapped[from] += 1;
            self.answer(from, publish, ReasonCode::NoMatchingSubscribers, out);
            return;
        };
        let is_wanted = |interest: &Arc<Interest>| interest.wants(&self.mapped);
        if from == Side::Local && !self.interest.as_ref().is_none_or(is_wanted) {
            self.counts.unwanted[from] += 1;
            self.answer(from, publish, ReasonCode::NoMatchingSubscribers, out);
            return;
        }
        let retain = publish.retain && retain == RetainRule::Keep;
        let publish = &Publish { retain, ..publish.clone() };
        if publish.qos == QoS::AtMostOnce && out[from.other()].len() > OUTPUT_BYTES_SOFT {
            self.counts.dropped[from] += 1;
            return;
        }
        self.forward(from, publish, now_ms, out);
    }

    fn forward(&mut self, from: Side, publish: &Publish<'_>, now_ms: u64, out: &mut Outputs) {
        let to = from.other();
        let peer = &self.peers[to];
        // [MQTT-3.2.2-11]
        let qos = publish.qos.min(peer.maximum_qos);
        let acknowledged = qos != QoS::AtMostOnce;
        let told = match (peer.peering, self.peers[from].peering) {
            (None, _) if !self.tells_origin => Told::Nothing,
            (_, None) => Told::NoNumber,
            _ => Told::All,
        };
        let mut forwarded = Publish {
            dup: publish.dup && acknowledged,
            qos,
            // [MQTT-3.2.2-14]
            retain: publish.retain && peer.retain_available,
            topic: &self.mapped,
            packet_id: publish.packet_id.filter(|_| acknowledged),
            properties: forwarded_properties(publish.properties, told, &mut self.properties),
            payload: publish.payload,
        };
        // [MQTT-3.2.2-15]
        let fits = |len: usize| u32::try_from(len).is_ok_and(|len| len <= peer.packet_bytes_max);
        let len = forwarded.encoded_len(peer.version).ok().filter(|&len| fits(len));
        let Some(len) = len else {
            self.refused(from, publish.topic.into(), ReasonCode::PacketTooLarge, now_ms);
            self.answer(from, publish, ReasonCode::ImplementationSpecificError, out);
            return;
        };
        let property;
        if fits(len + aliases::BYTES_MAX)
            && let Some(alias) = self.aliases_given[to].give(&self.mapped)
        {
            property = [Property::TopicAlias(alias.number)];
            let encoded = forwarded.properties.as_encoded();
            forwarded.properties = Properties::encoded_and_list(encoded, &property);
            forwarded.topic = if alias.is_known { "" } else { &self.mapped };
        }
        let before = out[to].len();
        put(Packet::Publish(forwarded), peer, &mut out[to]);
        let bytes = out[to].len() - before;
        self.counts.bytes[from] += bytes as u64;
        if from == Side::Local {
            self.paced.charge(bytes, now_ms);
        }
        self.note_forwarded(from, publish, qos, now_ms, out);
    }

    fn note_forwarded(
        &mut self,
        from: Side,
        publish: &Publish<'_>,
        qos: QoS,
        now_ms: u64,
        out: &mut Outputs,
    ) {
        let flow = &mut self.flows[from];
        match publish.packet_id.filter(|_| qos != QoS::AtMostOnce) {
            Some(id) => {
                flow.sent(id, publish.qos, now_ms);
                flow.topics.remember(id, publish.topic);
            }
            None => {
                self.counts.forwarded[from] += 1;
                self.answer(from, publish, ReasonCode::Success, out);
            }
        }
    }

    /// Acknowledges a message that does not go on, or for which the other end sends no
    /// acknowledgement. With QoS 2, the PUBREL that may follow is passed on, and the other end
    /// answers it although it does not know the identifier [MQTT-4.3.3-11].
    fn answer(&self, to: Side, publish: &Publish<'_>, reason: ReasonCode, out: &mut Outputs) {
        let Some(packet_id) = publish.packet_id else { return };
        let properties = Properties::EMPTY;
        let answer = match publish.qos {
            QoS::AtMostOnce => return,
            QoS::AtLeastOnce => Packet::PubAck(PubAck { packet_id, reason, properties }),
            QoS::ExactlyOnce => Packet::PubRec(PubRec { packet_id, reason, properties }),
        };
        put(answer, &self.peers[to], &mut out[to]);
    }
}

/// What is told of the origin of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    All,
    /// It comes from a broker of another make, whose clients can write there what they like: by a
    /// number they could have messages of others taken for repetitions.
    NoNumber,
    Nothing,
}

/// All properties but those that belong to one connection or one subscription. They are forwarded
/// in wire form; `scratch` is used where something has to be changed.
fn forwarded_properties<'a>(
    properties: Properties<'a>,
    told: Told,
    scratch: &'a mut Output,
) -> Properties<'a> {
    let is_local = |property: &Property<'_>| {
        matches!(property, Property::SubscriptionIdentifier(_) | Property::TopicAlias(_))
    };
    let changes =
        |property: Property<'_>| is_local(&property) || told != Told::All && is_origin(&property);
    if properties.is_empty() || !properties.iter().any(changes) {
        return properties;
    }
    let origin = Origin::of(&properties).and_then(|origin| match told {
        Told::All => Some(origin),
        Told::NoNumber => Some(Origin { number: None, ..origin }),
        Told::Nothing => None,
    });
    scratch.advance(scratch.len());
    origin::write(properties.iter().filter(|p| !is_local(p)), origin, scratch);
    Properties::encoded(scratch.pending())
}
