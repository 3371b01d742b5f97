//! Drives rumqttc's client for MQTT 3.1.1.

use std::ops::ControlFlow;

use outpost_tests::Driver;
use rumqttc::mqttbytes::qos;
use rumqttc::{
    AsyncClient, Event, EventLoop, LastWill, MqttOptions, Outgoing, Packet, QoS,
    SubscribeReasonCode,
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::rumqttc_flows::{self, Flows, REQUESTS, number, text};

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
    options.set_max_packet_size(1 << 20, 1 << 20);
    options.set_clean_session(command["clean"].as_bool().unwrap_or(true));
    if let Some(user_name) = command["user_name"].as_str() {
        options.set_credentials(user_name, text(command, "password"));
    }
    let will = &command["will"];
    if will.is_object() {
        let retain = will["retain"] == true;
        let (topic, payload) = (text(will, "topic"), text(will, "payload"));
        options.set_last_will(LastWill::new(topic, payload, qos_of(will), retain));
    }
    options
}

fn request(client: &AsyncClient, command: &Value, flows: &Flows) {
    let done = match text(command, "do") {
        "subscribe" => client.try_subscribe(text(command, "filter"), qos_of(command)),
        "unsubscribe" => client.try_unsubscribe(text(command, "filter")),
        "publish" => {
            flows.handle_request(number(&command["tag"]).expect("a number"));
            let (topic, retain) = (text(command, "topic"), command["retain"] == true);
            client.try_publish(topic, qos_of(command), retain, text(command, "payload"))
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
        Packet::Publish(publish) => flows.tell(json!({
            "event": "message",
            "topic": publish.topic,
            "payload": String::from_utf8_lossy(&publish.payload),
            "qos": publish.qos as u8,
            "retain": publish.retain,
        })),
        Packet::PubAck(ack) => flows.handle_done(ack.pkid),
        Packet::PubComp(ack) => flows.handle_done(ack.pkid),
        Packet::SubAck(ack) => {
            let codes = ack.return_codes.iter().map(|code| match code {
                SubscribeReasonCode::Success(qos) => *qos as u8,
                SubscribeReasonCode::Failure => 0x80,
            });
            flows.tell(json!({"event": "subscribed", "codes": codes.collect::<Vec<_>>()}));
        }
        Packet::UnsubAck(_) => flows.tell(json!({"event": "unsubscribed"})),
        Packet::PubRec(_) | Packet::PubRel(_) | Packet::PingResp => {}
        other => panic!("a broker never sends {other:?}"),
    }
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
