//! What the caller asks for: publish, subscribe, unsubscribe, disconnect.

use crate::{
    Auth, BufferFull, Disconnect, Packet, PacketId, Properties, Publish, QoS, ReasonCode,
    Subscribe, SubscribeFilter, SubscribeFilters, TopicFilter, TopicName, Unsubscribe,
    UnsubscribeFilters,
};

use super::pending::Request;
use super::{Client, ConnectionError, Message, Phase, RequestError};

impl<O, R, const IN_FLIGHT: usize, const RECEIVE: usize> Client<O, R, IN_FLIGHT, RECEIVE>
where
    O: AsRef<[u8]> + AsMut<[u8]>,
    R: AsRef<[u8]> + AsMut<[u8]>,
{
    /// Publishes a message. QoS 0: only while connected, and gives no packet id. QoS 1 and 2: at any
    /// time; the message is kept until [`super::Event::Published`] tells its end.
    ///
    /// # Errors
    /// The message was not taken; see there.
    pub fn publish(&mut self, message: &Message<'_>) -> Result<Option<PacketId>, RequestError> {
        self.check_topic(message)?;
        let mut publish = Publish {
            dup: false,
            qos: message.qos,
            retain: message.retain,
            topic: message.topic,
            packet_id: None,
            properties: message.properties,
            payload: message.payload,
        };
        if message.qos == QoS::AtMostOnce {
            self.check_terms(&publish)?;
            if !self.is_connected() {
                return Err(RequestError::NotConnected);
            }
            self.staged.push(&Packet::Publish(publish), self.config.version)?;
            return Ok(None);
        }
        let packet_id = self.free_packet_id();
        publish.packet_id = Some(packet_id);
        self.check_terms(&publish)?;
        self.retained.push(&publish, self.config.version, message.token)?;
        self.next_packet_id = packet_id.next();
        Ok(Some(packet_id))
    }

    fn check_topic(&self, message: &Message<'_>) -> Result<(), RequestError> {
        let alias = message.properties.topic_alias().filter(|_| self.config.version.is_v5());
        if let Some(alias) = alias {
            let maximum = self.terms().map_or(0, |terms| terms.topic_alias_maximum);
            // [MQTT-3.3.2-8], [MQTT-3.3.2-9]
            if message.qos != QoS::AtMostOnce || alias == 0 || alias > maximum {
                return Err(RequestError::TopicAlias);
            }
            if message.topic.is_empty() {
                return Ok(());
            }
        }
        TopicName::new(message.topic).map_err(RequestError::Topic)?;
        Ok(())
    }

    fn check_terms(&self, publish: &Publish<'_>) -> Result<(), RequestError> {
        let Some(terms) = self.terms() else { return Ok(()) };
        let len = publish.encoded_len(self.config.version);
        let len = len.map_err(|BufferFull| RequestError::TooLarge)?;
        if publish.qos > terms.maximum_qos {
            Err(RequestError::QoSNotSupported)
        } else if publish.retain && !terms.retain_available {
            Err(RequestError::RetainNotSupported)
        } else if len as u64 > u64::from(terms.maximum_packet_size) {
            // [MQTT-3.2.2-15]
            Err(RequestError::TooLarge)
        } else {
            Ok(())
        }
    }

    /// Subscribes; the answer comes as [`super::Event::Subscribed`] with the packet id given here.
    ///
    /// # Errors
    /// Nothing was sent; see there.
    pub fn subscribe(
        &mut self,
        filters: &[SubscribeFilter<'_>],
        properties: Properties<'_>,
    ) -> Result<PacketId, RequestError> {
        check_filters(filters.iter().map(|filter| filter.filter))?;
        let packet_id = self.free_packet_id();
        let filters_len = filters.len();
        let filters = SubscribeFilters::List(filters);
        let subscribe = Subscribe { packet_id, properties, filters };
        self.request(Packet::Subscribe(subscribe), packet_id, Request::Subscribe, filters_len)
    }

    /// Unsubscribes; the answer comes as [`super::Event::Unsubscribed`].
    ///
    /// # Errors
    /// Nothing was sent; see there.
    pub fn unsubscribe(
        &mut self,
        filters: &[&str],
        properties: Properties<'_>,
    ) -> Result<PacketId, RequestError> {
        check_filters(filters.iter().copied())?;
        let packet_id = self.free_packet_id();
        let filters_len = filters.len();
        let filters = UnsubscribeFilters::List(filters);
        let unsubscribe = Unsubscribe { packet_id, properties, filters };
        self.request(Packet::Unsubscribe(unsubscribe), packet_id, Request::Unsubscribe, filters_len)
    }

    fn request(
        &mut self,
        packet: Packet<'_>,
        packet_id: PacketId,
        request: Request,
        filters: usize,
    ) -> Result<PacketId, RequestError> {
        self.stage_within_terms(&packet, self.pending.is_full())?;
        self.pending.insert(packet_id, request, filters);
        self.next_packet_id = packet_id.next();
        Ok(packet_id)
    }

    /// Goes on with enhanced authentication (4.12), during CONNECT or later.
    ///
    /// # Errors
    /// Nothing was sent; see there.
    pub fn authenticate(&mut self, auth: Auth<'_>) -> Result<(), RequestError> {
        match self.phase {
            Phase::AwaitConnAck { .. } if self.config.version.is_v5() => {
                self.staged.push(&Packet::Auth(auth), self.config.version)
            }
            Phase::Connected(_) if self.config.version.is_v5() => {
                self.stage_within_terms(&Packet::Auth(auth), false)
            }
            _ => Err(RequestError::NotConnected),
        }
    }

    fn stage_within_terms(
        &mut self,
        packet: &Packet<'_>,
        is_full: bool,
    ) -> Result<(), RequestError> {
        let terms = self.terms().ok_or(RequestError::NotConnected)?;
        let len = packet.encoded_len(self.config.version);
        let len = len.map_err(|BufferFull| RequestError::TooLarge)?;
        if len as u64 > u64::from(terms.maximum_packet_size) {
            return Err(RequestError::TooLarge);
        }
        if is_full {
            return Err(RequestError::Full);
        }
        self.staged.push(packet, self.config.version)
    }

    /// Says DISCONNECT. Write the output that is left, then close the transport. Messages in flight
    /// stay for the next connection, should there be one.
    ///
    /// # Errors
    /// [`RequestError::NotConnected`], or [`RequestError::Full`] until output has been written.
    pub fn disconnect(
        &mut self,
        reason: ReasonCode,
        properties: Properties<'_>,
    ) -> Result<(), RequestError> {
        self.stage_within_terms(&Packet::Disconnect(Disconnect { reason, properties }), false)?;
        self.phase = Phase::Closing;
        Ok(())
    }

    /// Ends the connection for an error: a 5.0 server is told why, as far as there is room.
    pub(super) fn fail(&mut self, error: ConnectionError) -> ConnectionError {
        if self.is_connected() && self.config.version.is_v5() {
            let disconnect = Disconnect::for_error(error.reason());
            let _ = self.staged.push(&Packet::Disconnect(disconnect), self.config.version);
        }
        self.phase = Phase::Closing;
        error
    }

    /// There always is one, as fewer than 65,535 can be in use.
    fn free_packet_id(&self) -> PacketId {
        let mut packet_id = self.next_packet_id;
        while self.retained.contains(packet_id) || self.pending.contains(packet_id) {
            packet_id = packet_id.next();
        }
        packet_id
    }
}

fn check_filters<'f>(filters: impl Iterator<Item = &'f str>) -> Result<(), RequestError> {
    let mut is_empty = true;
    for filter in filters {
        is_empty = false;
        TopicFilter::new(filter).map_err(RequestError::Topic)?;
    }
    if is_empty { Err(RequestError::NoFilter) } else { Ok(()) }
}
