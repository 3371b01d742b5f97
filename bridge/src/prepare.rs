//! The local session before there is a link: subscriptions, so that what is published waits in it.
//!
//! What the broker sends meanwhile is not acknowledged, and so comes again over the link; messages of
//! QoS 0 may drop as long as there is none.

use std::future::poll_fn;
use std::time::Duration;

use outpost_protocol::{
    Disconnect, Packet, Properties, ProtocolVersion, QoS, ReasonCode, RetainHandling,
};

use tokio::time::timeout;

use crate::connect::BoxedStream;
use crate::end::MqttEnd;
use crate::link_error::LinkError;
use crate::mapping::Rule;
use crate::output::Output;
use crate::relay::{FILTERS_PER_PACKET, subscribe_filter, subscribe_packet};

/// For DISCONNECT to be taken and the connection to be closed.
const LEAVE_LIMIT: Duration = Duration::from_secs(2);

const GROWS: &str = "an output grows, and the filters are valid";

/// Subscribes to what these rules ask for. The link subscribes again, and so says what was refused,
/// and has retained messages sent.
pub(crate) async fn subscribe(
    end: &mut MqttEnd<BoxedStream>,
    version: ProtocolVersion,
    rules: &[Rule],
) -> Result<(), LinkError> {
    for rules in rules.chunks(FILTERS_PER_PACKET) {
        let filter = |rule| subscribe_filter(rule, QoS::ExactlyOnce, RetainHandling::DoNotSend);
        let filters: Vec<_> = rules.iter().map(filter).collect();
        let mut out = Output::default();
        subscribe_packet(&filters).encode(version, &mut out).expect(GROWS);
        while !takes_sub_ack(end)? {
            read_on(end, &mut out).await?;
        }
    }
    Ok(())
}

/// Says DISCONNECT, and waits until the broker has closed, but not for long. A broker that is cut off
/// while it still sends what the session holds may not know afterwards what it has sent: Mosquitto
/// 2.0.11 then begins QoS 2 exchanges anew that the other end has ended.
pub(crate) async fn leave(mut end: MqttEnd<BoxedStream>, version: ProtocolVersion) {
    let disconnect = Disconnect { reason: ReasonCode::Success, properties: Properties::EMPTY };
    let mut out = Output::default();
    Packet::Disconnect(disconnect).encode(version, &mut out).expect(GROWS);
    let closed = async {
        while read_on(&mut end, &mut out).await.is_ok() {
            while let Ok(Some((_, len))) = end.next_packet() {
                end.consume(len);
            }
        }
    };
    // One that does not close is left all the same.
    let _ = timeout(LEAVE_LIMIT, closed).await;
}

/// Writes what waits, and reads once.
async fn read_on(end: &mut MqttEnd<BoxedStream>, out: &mut Output) -> Result<(), LinkError> {
    poll_fn(|cx| {
        end.poll_write(out, cx)?;
        end.poll_read(cx)
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
