//! Builds legal packets out of arbitrary bytes. The tables of properties and reason codes are
//! written down a second time here, from the specification, so that a slip in those of the codec
//! shows.

use std::string::String;
use std::vec::Vec;

use crate::{
    Auth, ConnAck, Connect, Disconnect, Packet, PacketId, Properties, Property, ProtocolVersion,
    PubAck, PubComp, PubRec, PubRel, Publish, QoS, ReasonCode, ReasonCodes, RetainHandling, SubAck,
    Subscribe, SubscribeFilter, SubscribeFilters, SubscriptionOptions, UnsubAck, Unsubscribe,
    UnsubscribeFilters, Will,
};

/// Gives `check` a packet that is legal in `version`, built out of `data`. Nothing happens where
/// `version` does not have the type of packet that `data` asks for.
pub fn with_packet(data: &[u8], version: ProtocolVersion, check: impl FnOnce(&Packet<'_>)) {
    let text: String = String::from_utf8_lossy(data).chars().filter(|c| is_text(*c)).collect();
    let topics: String = text.chars().filter(|c| !matches!(c, '+' | '#')).collect();
    let source = &mut Source { data, at: 0, text: &text, topics: &topics };
    let kind = 1 + source.byte() % 15;
    let is_v5 = version == ProtocolVersion::V5;
    if kind == 15 && !is_v5 {
        return;
    }
    let list = source.properties(if is_v5 { allowed(kind) } else { &[] });
    let properties = Properties::list(&list);
    let will_list = source.properties(if is_v5 { WILL } else { &[] });
    let filters = source.filters(is_v5);
    let names: Vec<&str> = filters.iter().map(|filter| filter.filter).collect();
    let reasons = source.reasons(kind, is_v5);
    let packet_id = PacketId::new(source.u16().max(1)).expect("it is not 0");
    let reason = reasons[0];
    let packet = match kind {
        1 => Packet::Connect(source.connect(version, properties, &will_list)),
        2 => Packet::ConnAck(ConnAck {
            session_present: source.flag()
                && reason == ReasonCode::Success
                && version != ProtocolVersion::V31,
            reason,
            properties,
        }),
        3 => Packet::Publish(source.publish(packet_id, properties)),
        4 => Packet::PubAck(PubAck { packet_id, reason, properties }),
        5 => Packet::PubRec(PubRec { packet_id, reason, properties }),
        6 => Packet::PubRel(PubRel { packet_id, reason, properties }),
        7 => Packet::PubComp(PubComp { packet_id, reason, properties }),
        8 => Packet::Subscribe(Subscribe {
            packet_id,
            properties,
            filters: SubscribeFilters::List(&filters),
        }),
        9 => Packet::SubAck(SubAck { packet_id, properties, reasons: ReasonCodes::List(&reasons) }),
        10 => Packet::Unsubscribe(Unsubscribe {
            packet_id,
            properties,
            filters: UnsubscribeFilters::List(&names),
        }),
        11 => {
            let reasons = ReasonCodes::List(if is_v5 { &reasons } else { &[] });
            Packet::UnsubAck(UnsubAck { packet_id, properties, reasons })
        }
        12 => Packet::PingReq,
        13 => Packet::PingResp,
        14 => Packet::Disconnect(Disconnect { reason, properties }),
        _ => Packet::Auth(Auth { reason, properties }),
    };
    check(&packet);
}

/// What may stand in a UTF-8 encoded string.
fn is_text(c: char) -> bool {
    !matches!(c as u32, 0..=0x1F | 0x7F..=0x9F | 0xFDD0..=0xFDEF) && c as u32 & 0xFFFE != 0xFFFE
}

const WILL: &[u8] = &[1, 2, 3, 8, 9, 24, 38];

/// The properties of a packet type, from table 2-4 of the specification.
fn allowed(kind: u8) -> &'static [u8] {
    match kind {
        1 => &[17, 21, 22, 23, 25, 33, 34, 38, 39],
        2 => &[17, 18, 19, 21, 22, 26, 28, 31, 33, 34, 36, 37, 38, 39, 40, 41, 42],
        3 => &[1, 2, 3, 8, 9, 11, 35, 38],
        4..=7 | 9 | 11 => &[31, 38],
        8 => &[11, 38],
        10 => &[38],
        14 => &[17, 28, 31, 38],
        15 => &[21, 22, 31, 38],
        _ => &[],
    }
}

/// The reason codes of a packet type, from table 2-6 of the specification and the packets' own.
fn reason_codes(kind: u8, is_v5: bool) -> &'static [u8] {
    match (kind, is_v5) {
        (2, true) => &[
            0, 128, 129, 130, 131, 132, 133, 134, 135, 136, 137, 138, 140, 144, 149, 151, 153, 154,
            155, 156, 157, 159,
        ],
        // The return codes 1 to 5 of 3.1.1.
        (2, false) => &[0, 132, 133, 136, 134, 135],
        (4 | 5, true) => &[0, 16, 128, 131, 135, 144, 145, 151, 153],
        (6 | 7, true) => &[0, 146],
        (9, true) => &[0, 1, 2, 128, 131, 135, 143, 145, 151, 158, 161, 162],
        (9, false) => &[0, 1, 2, 128],
        (11, true) => &[0, 17, 128, 131, 135, 143, 145],
        (14, true) => &[
            0, 4, 128, 129, 130, 131, 135, 137, 139, 141, 142, 143, 144, 147, 148, 149, 150, 151,
            152, 153, 154, 155, 156, 157, 158, 159, 160, 161, 162,
        ],
        (15, true) => &[0, 24, 25],
        _ => &[0],
    }
}

/// Bytes that choices are made from. Where they end, zeros follow.
struct Source<'a> {
    data: &'a [u8],
    at: usize,
    text: &'a str,
    topics: &'a str,
}

impl<'a> Source<'a> {
    fn byte(&mut self) -> u8 {
        let byte = self.data.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        byte
    }

    fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    fn u32(&mut self) -> u32 {
        u32::from(self.u16()) << 16 | u32::from(self.u16())
    }

    fn bytes(&mut self) -> &'a [u8] {
        let (start, len) = (usize::from(self.byte()), usize::from(self.byte()));
        let start = start.min(self.data.len());
        &self.data[start..(start + len).min(self.data.len())]
    }

    fn string(&mut self) -> &'a str {
        let (start, len) = (self.byte(), self.byte());
        part(self.text, start, len)
    }

    fn topic(&mut self) -> &'a str {
        let (start, len) = (self.byte(), self.byte());
        match part(self.topics, start, len) {
            "" => "a/b",
            topic => topic,
        }
    }

    fn properties(&mut self, allowed: &[u8]) -> Vec<Property<'a>> {
        let mut list: Vec<Property<'a>> = Vec::new();
        if allowed.is_empty() {
            return list;
        }
        for _ in 0..self.byte() % 8 {
            let id = allowed[usize::from(self.byte()) % allowed.len()];
            let may_repeat = id == 38 || id == 11 && allowed.contains(&35);
            if may_repeat || list.iter().all(|other| other.id() != id) {
                list.push(self.property(id));
            }
        }
        // AUTH must name the method, the others only where there is data (3.15.2.2.2).
        let has = |id| list.iter().any(|property| property.id() == id);
        let needs_method = has(22) || allowed == [21, 22, 31, 38];
        if needs_method && !has(21) {
            list.push(Property::AuthenticationMethod("SCRAM-SHA-1"));
        }
        list
    }

    fn property(&mut self, id: u8) -> Property<'a> {
        match id {
            1 => Property::PayloadFormatIndicator(self.byte() % 2),
            2 => Property::MessageExpiryInterval(self.u32()),
            3 => Property::ContentType(self.string()),
            8 => Property::ResponseTopic(self.topic()),
            9 => Property::CorrelationData(self.bytes()),
            11 => Property::SubscriptionIdentifier((self.u32() % 268_435_455).max(1)),
            17 => Property::SessionExpiryInterval(self.u32()),
            18 => Property::AssignedClientIdentifier(self.string()),
            19 => Property::ServerKeepAlive(self.u16()),
            21 => Property::AuthenticationMethod(self.string()),
            22 => Property::AuthenticationData(self.bytes()),
            23 => Property::RequestProblemInformation(self.byte() % 2),
            24 => Property::WillDelayInterval(self.u32()),
            25 => Property::RequestResponseInformation(self.byte() % 2),
            26 => Property::ResponseInformation(self.string()),
            28 => Property::ServerReference(self.string()),
            31 => Property::ReasonString(self.string()),
            33 => Property::ReceiveMaximum(self.u16().max(1)),
            34 => Property::TopicAliasMaximum(self.u16()),
            35 => Property::TopicAlias(self.u16().max(1)),
            36 => Property::MaximumQoS(self.byte() % 2),
            37 => Property::RetainAvailable(self.byte() % 2),
            38 => Property::UserProperty(self.string(), self.string()),
            39 => Property::MaximumPacketSize(self.u32().max(1)),
            40 => Property::WildcardSubscriptionAvailable(self.byte() % 2),
            41 => Property::SubscriptionIdentifierAvailable(self.byte() % 2),
            _ => Property::SharedSubscriptionAvailable(self.byte() % 2),
        }
    }

    fn qos(&mut self) -> QoS {
        QoS::try_from(self.byte() % 3).expect("it is below 3")
    }

    fn reasons(&mut self, kind: u8, is_v5: bool) -> Vec<ReasonCode> {
        let codes = reason_codes(kind, is_v5);
        let count = 1 + self.byte() % 4;
        let pick = |_| codes[usize::from(self.byte()) % codes.len()];
        (0..count).map(pick).map(|code| ReasonCode::try_from(code).expect("it is one")).collect()
    }

    fn filters(&mut self, is_v5: bool) -> Vec<SubscribeFilter<'a>> {
        let count = 1 + self.byte() % 4;
        (0..count)
            .map(|_| {
                let filter = self.string();
                let mut options = SubscriptionOptions::new(self.qos());
                if is_v5 {
                    options.no_local = self.flag();
                    options.retain_as_published = self.flag();
                    options.retain_handling =
                        RetainHandling::try_from(self.byte() % 3).expect("it is below 3");
                }
                SubscribeFilter { filter, options }
            })
            .collect()
    }

    fn publish<'p>(&mut self, packet_id: PacketId, properties: Properties<'p>) -> Publish<'p>
    where
        'a: 'p,
    {
        let qos = self.qos();
        let topic = match properties.topic_alias() {
            Some(_) if self.flag() => "",
            _ => self.topic(),
        };
        Publish {
            dup: self.flag() && qos != QoS::AtMostOnce,
            qos,
            retain: self.flag(),
            topic,
            packet_id: (qos != QoS::AtMostOnce).then_some(packet_id),
            properties,
            payload: self.bytes(),
        }
    }

    fn connect<'p>(
        &mut self,
        version: ProtocolVersion,
        properties: Properties<'p>,
        will_list: &'p [Property<'p>],
    ) -> Connect<'p>
    where
        'a: 'p,
    {
        let user_name = self.flag().then(|| self.string());
        let may_have_password = user_name.is_some() || version == ProtocolVersion::V5;
        Connect {
            version,
            bridge: self.flag() && version != ProtocolVersion::V5,
            clean_start: self.flag(),
            keep_alive_s: self.u16(),
            properties,
            client_id: self.string(),
            will: self.flag().then(|| Will {
                qos: self.qos(),
                retain: self.flag(),
                properties: Properties::list(will_list),
                topic: self.topic(),
                payload: self.bytes(),
            }),
            user_name,
            password: (self.flag() && may_have_password).then(|| self.bytes()),
        }
    }
}

/// A part of `text`, at the nearest ends of characters.
fn part(text: &str, start: u8, len: u8) -> &str {
    let start = text.floor_char_boundary(usize::from(start));
    let end = text.floor_char_boundary(start + usize::from(len));
    &text[start..end]
}
