//! Readings: sent, queued while offline, resumed; and futures that are dropped.

mod common;

use common::{client, incoming, options, pipe, poll_once};
use outpost_firmware_client::{
    Error, Event, Message, Outcome, Properties, Property, ProtocolVersion, PublishError, QoS,
    ReasonCode, RequestError, Settings, WhenFull, decode_postcard,
};
use outpost_protocol::{Packet, PubAck, PubComp, PubRec};
use serde::{Deserialize, Serialize};
use tokio::join;
use tokio::time::{Duration, advance};

const V5: ProtocolVersion = ProtocolVersion::V5;

fn reading(token: u32, payload: &[u8]) -> Message<'_> {
    Message { token, ..Message::new("t", payload, QoS::AtLeastOnce) }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Climate<'a> {
    room: &'a str,
    millidegrees: i32,
}

#[tokio::test(start_paused = true)]
async fn a_value_goes_out_and_comes_in_by_postcard() {
    let mut client = client(Settings::default());
    let (transport, mut peer) = pipe(V5, 1024);
    let climate = Climate { room: "cellar", millidegrees: -1_500 };
    let sensor = async {
        let mut link = client.connect(transport, &options()).await.unwrap();
        link.publish_postcard("t", &climate, QoS::AtLeastOnce, 1).await.unwrap();
        let Event::Message(message) = link.receive().await.unwrap() else { panic!() };
        assert_eq!(decode_postcard::<Climate<'_>>(&message).unwrap(), climate);
        let long = [u64::MAX; 16];
        let too_long = link.publish_postcard("t", &long, QoS::AtMostOnce, 1).await;
        assert!(matches!(too_long, Err(Error::Publish(PublishError::Payload))));
    };
    let server = async {
        peer.accept(false, &[]).await;
        let (payload, _, _) = peer.publish().await;
        peer.send(incoming(&payload, QoS::AtMostOnce, 0)).await;
        peer
    };
    join!(sensor, server);
}

#[tokio::test(start_paused = true)]
async fn all_qos_are_published_and_their_ends_told() {
    let mut client = client(Settings::default());
    let (transport, mut peer) = pipe(V5, 1024);
    let sensor = async {
        let mut link = client.connect(transport, &options()).await.unwrap();
        for (token, qos) in [(1, QoS::AtMostOnce), (2, QoS::AtLeastOnce), (3, QoS::ExactlyOnce)] {
            let message = Message { token, ..Message::new("t", b"x", qos) };
            link.publish(&message).await.unwrap();
        }
        for token in [2, 3] {
            let Event::Published(published) = link.receive().await.unwrap() else { panic!() };
            assert_eq!(published.token, token);
            assert_eq!(published.outcome, Outcome::Acknowledged(ReasonCode::Success));
        }
        assert_eq!(link.client().in_flight(), 0);
    };
    let server = async {
        peer.accept(false, &[]).await;
        assert_eq!(peer.publish().await.1, None);
        peer.publish_and_ack().await;
        let id = peer.publish().await.1.unwrap();
        peer.send(Packet::PubRec(PubRec::success(id))).await;
        assert!(matches!(peer.next().await, Some(Packet::PubRel(_))));
        peer.send(Packet::PubComp(PubComp::success(id))).await;
        peer
    };
    join!(sensor, server);
}

#[tokio::test(start_paused = true)]
async fn readings_taken_while_offline_go_out_in_order() {
    let mut client = client(Settings::default());
    for token in 0..3 {
        client.publish(&reading(token, &[token as u8])).unwrap();
    }
    assert_eq!(client.publish(&reading(3, b"")), Err(PublishError::QueueFull));
    assert_eq!((client.queued(), client.in_flight()), (3, 0));
    let (transport, mut peer) = pipe(V5, 1024);
    let sensor = async {
        let mut link = client.connect(transport, &options()).await.unwrap();
        // This one comes last, although the connection is there.
        link.publish(&reading(3, &[3])).await.unwrap();
        for token in 0..4 {
            let Event::Published(published) = link.receive().await.unwrap() else { panic!() };
            assert_eq!(published.token, token);
        }
        assert_eq!(link.client().queued(), 0);
    };
    let server = async {
        peer.accept(false, &[]).await;
        for number in 0..4 {
            assert_eq!(peer.publish_and_ack().await, [number]);
        }
        peer
    };
    join!(sensor, server);
}

#[tokio::test(start_paused = true)]
async fn the_oldest_reading_makes_room_and_is_counted() {
    let settings = Settings { when_full: WhenFull::DropOldest, ..Settings::default() };
    let mut client = client(settings);
    for number in 0..5 {
        client.publish(&reading(number, &[number as u8])).unwrap();
    }
    assert_eq!((client.queued(), client.dropped()), (3, 2));
    let (transport, mut peer) = pipe(V5, 1024);
    let options = options();
    let server = async {
        peer.accept(false, &[]).await;
        for number in 2..5 {
            assert_eq!(peer.publish().await.0, [number]);
        }
    };
    let sensor = async {
        let mut link = client.connect(transport, &options).await.unwrap();
        let _ = link.receive().await;
    };
    tokio::select! {
        () = server => {}
        () = sensor => panic!("the connection ended"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_queued_reading_keeps_all_that_it_was_published_with() {
    let mut client = client(Settings::default());
    let properties = [Property::UserProperty("k", "v"), Property::MessageExpiryInterval(9)];
    client
        .publish(&Message {
            retain: true,
            properties: Properties::list(&properties),
            ..Message::new("a/b", b"payload", QoS::ExactlyOnce)
        })
        .unwrap();
    let (transport, mut peer) = pipe(V5, 1024);
    let sensor = async {
        let mut link = client.connect(transport, &options()).await.unwrap();
        let _ = link.receive().await;
    };
    let server = async {
        peer.accept(false, &[]).await;
        let Some(Packet::Publish(packet)) = peer.next().await else { panic!() };
        assert_eq!((packet.topic, packet.payload), ("a/b", &b"payload"[..]));
        assert_eq!((packet.qos, packet.retain, packet.dup), (QoS::ExactlyOnce, true, false));
        assert!(packet.properties.iter().eq(properties));
    };
    tokio::select! {
        () = server => {}
        () = sensor => panic!("the connection ended"),
    }
}

#[test]
fn what_can_never_be_sent_is_refused_before_it_is_queued() {
    let mut client = client(Settings::default());
    let wildcard = Message::new("a/+", b"", QoS::AtLeastOnce);
    let refused = client.publish(&wildcard);
    assert!(matches!(refused, Err(PublishError::Request(RequestError::Topic(_)))));
    let long = client.publish(&reading(0, &[0; 48]));
    assert_eq!(long, Err(PublishError::TooLong));
    assert_eq!(client.queued(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_queued_reading_that_the_server_does_not_take_is_told() {
    let mut client = client(Settings::default());
    client.publish(&Message { retain: true, ..reading(7, b"x") }).unwrap();
    client.publish(&reading(8, b"y")).unwrap();
    let (transport, mut peer) = pipe(V5, 1024);
    let sensor = async {
        let mut link = client.connect(transport, &options()).await.unwrap();
        let event = link.receive().await.unwrap();
        assert_eq!(event, Event::NotSent { token: 7, error: RequestError::RetainNotSupported });
        let Event::Published(published) = link.receive().await.unwrap() else { panic!() };
        assert_eq!(published.token, 8);
    };
    let server = async {
        peer.accept(false, &[Property::RetainAvailable(0)]).await;
        assert_eq!(peer.publish_and_ack().await, b"y");
        peer
    };
    join!(sensor, server);
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_resumes_where_it_was() {
    for (version, session_present) in
        [(V5, true), (V5, false), (ProtocolVersion::V311, true), (ProtocolVersion::V311, false)]
    {
        let mut client = client(Settings { version, ..Settings::default() });
        let (transport, mut peer) = pipe(version, 1024);
        let sensor = async {
            let mut link = client.connect(transport, &options()).await.unwrap();
            for token in 0..4 {
                link.publish(&reading(token, &[token as u8])).await.unwrap();
            }
            let Event::Published(published) = link.receive().await.unwrap() else { panic!() };
            assert_eq!(published.token, 0);
            assert!(matches!(link.receive().await, Err(Error::Closed)));
        };
        let server = async {
            peer.accept(false, &[]).await;
            peer.publish_and_ack().await;
            for _ in 0..3 {
                peer.publish().await;
            }
            drop(peer);
        };
        join!(sensor, server);

        client.publish(&reading(4, &[4])).unwrap();
        let (transport, mut peer) = pipe(version, 1024);
        let sensor = async {
            let mut link = client.connect(transport, &options()).await.unwrap();
            assert_eq!(link.terms().unwrap().session_present, session_present);
            for token in 1..5 {
                let Event::Published(published) = link.receive().await.unwrap() else { panic!() };
                assert_eq!(published.token, token);
            }
        };
        let server = async {
            peer.accept(session_present, &[]).await;
            for number in 1..5 {
                let (payload, id, dup) = peer.publish().await;
                assert_eq!(payload, [number]);
                assert_eq!(dup, session_present && number < 4, "{version:?} {number}");
                peer.send(Packet::PubAck(PubAck::success(id.unwrap()))).await;
            }
            peer
        };
        join!(sensor, server);
    }
}

/// Every future is dropped after it has been polled once, over a transport that takes and gives no
/// more than three bytes at a time.
#[tokio::test(start_paused = true)]
async fn dropped_futures_lose_nothing() {
    let mut client = client(Settings::default());
    let (transport, mut peer) = pipe(V5, 3);
    let options = options();
    let server = async {
        peer.accept(false, &[]).await;
        let (mut published, mut acknowledged) = (0, 0);
        while published < 20 || acknowledged < 20 {
            match peer.next().await {
                Some(Packet::Publish(packet)) => {
                    assert_eq!(packet.payload, [published; 9]);
                    let id = packet.packet_id.unwrap();
                    peer.send(Packet::PubAck(PubAck::success(id))).await;
                    let message = [published; 7];
                    published += 1;
                    let id = u16::from(published);
                    peer.send(incoming(&message, QoS::AtLeastOnce, id)).await;
                }
                Some(Packet::PubAck(packet)) => {
                    acknowledged += 1;
                    assert_eq!(packet.packet_id.value(), acknowledged);
                }
                other => panic!("{other:?}"),
            }
        }
        drop(peer);
    };
    let sensor = async {
        let mut link = client.connect(transport, &options).await.unwrap();
        let (mut sent, mut published, mut received) = (0_u32, 0, 0_u8);
        while published < 20 || received < 20 {
            if sent < 20 {
                let payload = [sent as u8; 9];
                match poll_once(link.publish(&reading(sent, &payload))) {
                    // Polled once it is taken, or it is refused.
                    None | Some(Ok(())) => sent += 1,
                    Some(Err(Error::Publish(PublishError::QueueFull))) => {}
                    Some(Err(error)) => panic!("{error}"),
                }
            }
            match poll_once(link.receive()) {
                Some(Ok(Event::Published(end))) => {
                    assert_eq!(end.token, published);
                    published += 1;
                }
                Some(Ok(Event::Message(message))) => {
                    assert_eq!(message.payload, [received; 7]);
                    received += 1;
                }
                None => advance(Duration::from_millis(1)).await,
                Some(other) => panic!("{other:?}"),
            }
        }
        while poll_once(link.receive()).is_none() {
            advance(Duration::from_millis(1)).await;
        }
    };
    join!(sensor, server);
}

/// As the README says.
#[test]
fn a_small_client_has_about_4_kib() {
    let size = size_of::<outpost_firmware_client::SmallClient<()>>();
    assert!((3_500..4_500).contains(&size), "{size}");
}
