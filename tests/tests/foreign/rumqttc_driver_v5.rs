//! Drives rumqttc's client for MQTT 5.0.

use std::ops::ControlFlow;

use outpost_tests::Driver;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::v5::{
    LastWill, LastWillProperties, Packet, Publish, PublishProperties, SubscribeReasonCode,
};
use rumqttc::v5::mqttbytes::{QoS, qos};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::rumqttc_flows::{self, Flows, REQUESTS, number, pairs, text};

/// A driver.
pub fn start() -> Driver {
    rumqttc_flows::start(|mut commands, flows| async move {
        let mut connection: Option<(AsyncClient, JoinHandle<()>)> = None;
        while let Some(command) = commands.recv().await {
            match text(&command, "do") {
                "connect" => {
                    let (client, event_loop) = AsyncClient::new(options(&command), REQUESTS);
                    connection = Some((client, tokio::spawn(run(event_loop, flows.clone()))));
                }
                "disconnect" => {
                    if let Some((client, task)) = connection.take() {
                        // It fails when the connection is gone already.
                        let _ = client.try_disconnect();
                        task.await.expect("the event loop does not panic");
                    }
                    flows.tell(json!({"event": "disconnected"}));
                }
                _ => {
                    let (client, _) = connection.as_ref().expect("connected");
                    request(client, &command, &flows);
                }
            }
        }
    })
}

fn options(command: &Value) -> MqttOptions {
    let port = number(&command["port"]).expect("a port");
    let mut options = MqttOptions::new(text(command, "client_id"), "127.0.0.1", port);
    options.set_max_packet_size(Some(1 << 20));
    options.set_clean_start(command["clean"].as_bool().unwrap_or(true));
    options.set_session_expiry_interval(number(&command["expiry_s"]));
    if let Some(user_name) = command["user_name"].as_str() {
        options.set_credentials(user_name, text(command, "password"));
    }
    let will = &command["will"];
    if will.is_object() {
        let retain = will["retain"] == true;
        let (topic, payload) = (text(will, "topic"), text(will, "payload"));
        let properties = LastWillProperties {
            delay_interval: number(&will["delay_s"]),
            payload_format_indicator: None,
            message_expiry_interval: None,
            content_type: None,
            response_topic: None,
            correlation_data: None,
            user_properties: pairs(&will["user"]),
        };
        let will = LastWill::new(topic, payload, qos_of(will), retain, Some(properties));
        options.set_last_will(will);
    }
    options
}

fn request(client: &AsyncClient, command: &Value, flows: &Flows) {
    let done = match text(command, "do") {
        "subscribe" => client.try_subscribe(text(command, "filter"), qos_of(command)),
        "unsubscribe" => client.try_unsubscribe(text(command, "filter")),
        "publish" => {
            flows.handle_request(number(&command["tag"]).expect("a number"));
            let (topic, payload) = (text(command, "topic"), text(command, "payload").to_owned());
            let properties = PublishProperties {
                message_expiry_interval: number(&command["expiry_s"]),
                topic_alias: number(&command["alias"]),
                user_properties: pairs(&command["user"]),
                ..PublishProperties::default()
            };
            let retain = command["retain"] == true;
            client.try_publish_with_properties(topic, qos_of(command), retain, payload, properties)
        }
        other => panic!("there is no command {other}"),
    };
    done.expect("there is room for a request");
}

fn qos_of(command: &Value) -> QoS {
    qos(number(&command["qos"]).expect("a number")).expect("a QoS")
}

/// Until the connection ends.
async fn run(mut event_loop: EventLoop, flows: Flows) {
    let mut is_connected = false;
    loop {
        match event_loop.poll().await {
            Ok(Event::Incoming(packet)) => {
                is_connected = true;
                handle_incoming(packet, &flows);
            }
            Ok(Event::Outgoing(outgoing)) => {
                if handle_outgoing(&outgoing, &flows).is_break() {
                    // Once more, so that DISCONNECT is written; the broker closes then.
                    let _ = event_loop.poll().await;
                    return;
                }
            }
            Err(error) => {
                let event = if is_connected { "lost" } else { "refused" };
                return flows.tell(json!({"event": event, "reason": error.to_string()}));
            }
        }
    }
}

fn handle_incoming(packet: Packet, flows: &Flows) {
    match packet {
        Packet::ConnAck(connack) => {
            flows.tell(json!({"event": "connected", "session_present": connack.session_present}))
        }
        Packet::Publish(publish) => flows.tell(message(&publish)),
        Packet::PubAck(ack) => flows.handle_done(ack.pkid),
        Packet::PubComp(ack) => flows.handle_done(ack.pkid),
        Packet::SubAck(ack) => {
            let codes = ack.return_codes.iter().map(|code| match code {
                SubscribeReasonCode::Success(qos) => *qos as u8,
                _ => 0x80,
            });
            flows.tell(json!({"event": "subscribed", "codes": codes.collect::<Vec<_>>()}));
        }
        Packet::UnsubAck(_) => flows.tell(json!({"event": "unsubscribed"})),
        Packet::PubRec(_) | Packet::PubRel(_) | Packet::PingResp(_) => {}
        other => panic!("a broker sends no {other:?} here"),
    }
}

fn message(publish: &Publish) -> Value {
    let properties = publish.properties.clone().unwrap_or_default();
    json!({
        "event": "message",
        "topic": String::from_utf8_lossy(&publish.topic),
        "payload": String::from_utf8_lossy(&publish.payload),
        "qos": publish.qos as u8,
        "retain": publish.retain,
        "expiry_s": properties.message_expiry_interval,
        "user": properties.user_properties,
    })
}

/// Breaks after DISCONNECT.
fn handle_outgoing(outgoing: &Outgoing, flows: &Flows) -> ControlFlow<()> {
    match outgoing {
        Outgoing::Publish(packet_id) => flows.handle_sent(*packet_id),
        Outgoing::Disconnect => return ControlFlow::Break(()),
        _ => {}
    }
    ControlFlow::Continue(())
}
