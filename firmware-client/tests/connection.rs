//! Connections as they come and go: refusals, silence, bad servers, DISCONNECT.

mod common;

use common::{client, incoming, options, pipe};
use outpost_firmware_client::{
    ConnectionError, Error, Event, Properties, Property, ProtocolVersion, QoS, ReasonCode,
    RetainHandling, Settings, SubscribeFilter, SubscriptionOptions,
};
use outpost_protocol::{ConnAck, Disconnect, Packet, ReasonCodes, SubAck};
use tokio::join;

const VERSIONS: [ProtocolVersion; 3] =
    [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5];

fn settings(version: ProtocolVersion) -> Settings {
    Settings { version, ..Settings::default() }
}

#[tokio::test(start_paused = true)]
async fn subscribe_receive_and_disconnect_in_all_versions() {
    for version in VERSIONS {
        let mut client = client(settings(version));
        let (transport, mut peer) = pipe(version, 1024);
        let sensor = async {
            let mut link = client.connect(transport, &options()).await.unwrap();
            let options = SubscriptionOptions {
                qos: QoS::ExactlyOnce,
                no_local: false,
                retain_as_published: false,
                retain_handling: RetainHandling::SendAtSubscribe,
            };
            let filters = [SubscribeFilter { filter: "in/#", options }];
            let id = link.subscribe(&filters).await.unwrap();
            let Event::Subscribed(answer) = link.receive().await.unwrap() else { panic!() };
            assert_eq!(answer.packet_id, id);
            assert!(answer.reasons.iter().eq([ReasonCode::GrantedQoS2]));
            for payload in [b"0", b"1", b"2"] {
                let Event::Message(message) = link.receive().await.unwrap() else { panic!() };
                assert_eq!((message.topic, message.payload), ("in", &payload[..]));
            }
            // Coming back for more acknowledges the last one.
            assert!(matches!(link.receive().await, Err(Error::Closed)));
        };
        let server = async {
            peer.accept(false, &[]).await;
            let Some(Packet::Subscribe(packet)) = peer.next().await else { panic!() };
            let packet_id = packet.packet_id;
            let reasons = ReasonCodes::List(&[ReasonCode::GrantedQoS2]);
            let properties = Properties::EMPTY;
            peer.send(Packet::SubAck(SubAck { packet_id, properties, reasons })).await;
            peer.send(incoming(b"0", QoS::AtMostOnce, 0)).await;
            peer.send(incoming(b"1", QoS::AtLeastOnce, 1)).await;
            peer.send(incoming(b"2", QoS::ExactlyOnce, 2)).await;
            assert!(
                matches!(peer.next().await, Some(Packet::PubAck(p)) if p.packet_id.value() == 1)
            );
            assert!(
                matches!(peer.next().await, Some(Packet::PubRec(p)) if p.packet_id.value() == 2)
            );
            drop(peer);
        };
        join!(sensor, server);
    }
}

#[tokio::test(start_paused = true)]
async fn disconnect_is_said() {
    for version in VERSIONS {
        let mut client = client(settings(version));
        let (transport, mut peer) = pipe(version, 1024);
        let sensor = async {
            let link = client.connect(transport, &options()).await.unwrap();
            link.disconnect().await.unwrap();
        };
        let server = async {
            peer.accept(false, &[]).await;
            assert!(matches!(peer.next().await, Some(Packet::Disconnect(_))));
            assert!(peer.next().await.is_none());
        };
        join!(sensor, server);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told() {
    for version in VERSIONS {
        let mut client = client(settings(version));
        let (transport, mut peer) = pipe(version, 1024);
        let server = async {
            assert!(matches!(peer.next().await, Some(Packet::Connect(_))));
            peer.send(Packet::ConnAck(ConnAck {
                session_present: false,
                reason: ReasonCode::NotAuthorized,
                properties: Properties::EMPTY,
            }))
            .await;
            peer
        };
        let options = options();
        let (connected, _peer) = join!(client.connect(transport, &options), server);
        assert!(matches!(connected.err(), Some(Error::Refused(ReasonCode::NotAuthorized))));
    }
}

#[tokio::test(start_paused = true)]
async fn silence_instead_of_connack_ends_the_attempt() {
    let mut client = client(Settings::default());
    let (transport, _peer) = pipe(ProtocolVersion::V5, 1024);
    let error = client.connect(transport, &options()).await.err().unwrap();
    assert!(matches!(error, Error::Connection(ConnectionError::ConnAckTimeout)), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_read_does_not_hold_the_client_for_ever() {
    let mut client = client(Settings::default());
    let (transport, _peer) = pipe(ProtocolVersion::V5, 4);
    let error = client.connect(transport, &options()).await.err().unwrap();
    assert!(matches!(error, Error::Connection(ConnectionError::ConnAckTimeout)), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn keep_alive_pings_and_notices_a_dead_server() {
    let mut client = client(Settings::default());
    let (transport, mut peer) = pipe(ProtocolVersion::V5, 1024);
    let sensor = async {
        let mut link = client.connect(transport, &options()).await.unwrap();
        link.receive().await.err()
    };
    let server = async {
        peer.accept(false, &[Property::ServerKeepAlive(5)]).await;
        for _ in 0..3 {
            assert!(matches!(peer.next().await, Some(Packet::PingReq)));
            peer.send(Packet::PingResp).await;
        }
        assert!(matches!(peer.next().await, Some(Packet::PingReq)));
        // The answer never comes, and the client goes.
        assert!(peer.next().await.is_none());
    };
    let (error, ()) = join!(sensor, server);
    assert!(matches!(error, Some(Error::Connection(ConnectionError::KeepAliveTimeout))));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_breaks_the_protocol_is_told() {
    let mut client = client(Settings::default());
    let (transport, mut peer) = pipe(ProtocolVersion::V5, 1024);
    let sensor = async {
        let mut link = client.connect(transport, &options()).await.unwrap();
        let error = link.receive().await.err();
        assert!(matches!(error, Some(Error::Connection(ConnectionError::Protocol(_)))));
        assert!(link.terms().is_none());
        assert!(matches!(link.receive().await, Err(Error::Closed)));
    };
    let server = async {
        peer.accept(false, &[]).await;
        peer.send_bytes(&[0xFF]).await;
        let Some(Packet::Disconnect(packet)) = peer.next().await else { panic!() };
        assert_eq!(packet.reason, ReasonCode::MalformedPacket);
    };
    join!(sensor, server);
}

#[tokio::test(start_paused = true)]
async fn a_packet_larger_than_the_input_buffer_ends_the_connection() {
    let mut client = client(Settings::default());
    let (transport, mut peer) = pipe(ProtocolVersion::V5, 1024);
    let sensor = async {
        let mut link = client.connect(transport, &options()).await.unwrap();
        let Some(Error::Connection(error)) = link.receive().await.err() else { panic!() };
        assert_eq!(error.reason(), ReasonCode::PacketTooLarge);
    };
    let server = async {
        peer.accept(false, &[]).await;
        peer.send(incoming(&[0; 300], QoS::AtMostOnce, 0)).await;
        while peer.next().await.is_some() {}
    };
    join!(sensor, server);
}

#[tokio::test(start_paused = true)]
async fn a_packet_that_fills_the_input_buffer_is_taken() {
    let mut client = client(Settings::default());
    let (transport, mut peer) = pipe(ProtocolVersion::V5, 1024);
    // 1 + 2 for the header, 2 + 2 for the topic, 1 for the properties: 256 in all.
    let payload = [b'x'; 248];
    let sensor = async {
        let mut link = client.connect(transport, &options()).await.unwrap();
        for _ in 0..3 {
            let Event::Message(message) = link.receive().await.unwrap() else { panic!() };
            assert_eq!(message.payload, payload);
        }
    };
    let server = async {
        peer.accept(false, &[]).await;
        for _ in 0..3 {
            peer.send(incoming(&payload, QoS::AtMostOnce, 0)).await;
        }
        peer
    };
    join!(sensor, server);
}

#[tokio::test(start_paused = true)]
async fn the_reason_of_a_server_that_goes_is_told() {
    let mut client = client(Settings::default());
    let (transport, mut peer) = pipe(ProtocolVersion::V5, 1024);
    let sensor = async {
        let mut link = client.connect(transport, &options()).await.unwrap();
        let Event::Disconnected(packet) = link.receive().await.unwrap() else { panic!() };
        assert_eq!(packet.reason, ReasonCode::ServerShuttingDown);
        assert!(matches!(link.receive().await, Err(Error::Closed)));
    };
    let server = async {
        peer.accept(false, &[]).await;
        let reason = ReasonCode::ServerShuttingDown;
        let properties = Properties::EMPTY;
        peer.send(Packet::Disconnect(Disconnect { reason, properties })).await;
        peer
    };
    join!(sensor, server);
}
