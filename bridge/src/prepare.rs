//! The local session before there is a link: subscriptions, so that what is published waits in it.
//!
//! What the broker sends meanwhile is not acknowledged, and so comes again over the link; messages of
//! QoS 0 may drop as long as there is none.

use std::future::poll_fn;
use std::task::Poll;

use outpost_protocol::{
    Disconnect, Packet, PacketId, Properties, ProtocolVersion, ReasonCode, RetainHandling,
    Subscribe, SubscribeFilter, SubscribeFilters, SubscriptionOptions,
};

use crate::connect::BoxedStream;
use crate::end::MqttEnd;
use crate::link_error::LinkError;
use crate::mapping::Rule;
use crate::output::Output;

const FILTERS_PER_PACKET: usize = 16;

const GROWS: &str = "an output grows, and the filters are valid";

/// Subscribes to what these rules ask for. The link subscribes again, and so says what was refused,
/// and has retained messages sent.
pub(crate) async fn subscribe(
    end: &mut MqttEnd<BoxedStream>,
    version: ProtocolVersion,
    rules: &[Rule],
) -> Result<(), LinkError> {
    for rules in rules.chunks(FILTERS_PER_PACKET) {
        let filters: Vec<_> = rules.iter().map(subscribe_filter).collect();
        let subscribe = Subscribe {
            packet_id: PacketId::new(u16::MAX).expect("not 0"),
            properties: Properties::EMPTY,
            filters: SubscribeFilters::List(&filters),
        };
        let mut out = Output::default();
        Packet::Subscribe(subscribe).encode(version, &mut out).expect(GROWS);
        while !takes_sub_ack(end)? {
            poll_fn(|cx| {
                end.poll_write(&mut out, cx)?;
                end.poll_read(cx)
            })
            .await?;
        }
    }
    Ok(())
}

/// Says DISCONNECT.
pub(crate) async fn leave(
    mut end: MqttEnd<BoxedStream>,
    version: ProtocolVersion,
) -> Result<(), LinkError> {
    let disconnect = Disconnect { reason: ReasonCode::Success, properties: Properties::EMPTY };
    let mut out = Output::default();
    Packet::Disconnect(disconnect).encode(version, &mut out).expect(GROWS);
    poll_fn(|cx| {
        end.poll_write(&mut out, cx)?;
        if !out.is_empty() || !end.is_flushed() {
            return Poll::Pending;
        }
        // How the broker closes does not matter any more.
        end.poll_shutdown(cx).map(|_| Ok(()))
    })
    .await
}

/// Passes over what has come, up to a SUBACK.
fn takes_sub_ack(end: &mut MqttEnd<BoxedStream>) -> Result<bool, LinkError> {
    while let Some((packet, len)) = end.next_packet()? {
        let is_sub_ack = matches!(packet, Packet::SubAck(_));
        end.consume(len);
        if is_sub_ack {
            return Ok(true);
        }
    }
    Ok(false)
}

fn subscribe_filter(rule: &Rule) -> SubscribeFilter<'_> {
    SubscribeFilter {
        filter: rule.filter(),
        options: SubscriptionOptions {
            qos: rule.qos(),
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::DoNotSend,
        },
    }
}
