//! The whole bridge between two fake brokers, in virtual time; and its ways to the remote broker over the
//! loopback.

mod fake;
mod tls;
mod ways;

use std::sync::Arc;
use std::time::Duration;

use outpost_protocol::{ProtocolVersion, QoS, ReasonCode};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::config::{BridgeConfig, ClassConfig, Direction, LocalConfig, MqttVersion, TopicConfig};
use crate::connect::{Connecting, Connector};
use crate::model::{Message, Model};
use crate::side::{PerSide, Side};
use crate::status::{BridgeState, BridgeStatus};
use crate::{Setup, run};
use fake::{FakeBroker, numbers, until, without_repetitions};

/// A bridge that runs between two fake brokers.
struct Bench {
    brokers: PerSide<FakeBroker>,
    status: Arc<BridgeStatus>,
    shutdown: oneshot::Sender<()>,
    bridge: JoinHandle<()>,
}

impl Bench {
    fn start(config: BridgeConfig, brokers: PerSide<FakeBroker>) -> Self {
        config.validate().expect("a valid configuration");
        let status = Arc::new(BridgeStatus::new(&config.name));
        let (shutdown, shut_down) = oneshot::channel::<()>();
        let setup = setup(config, brokers.local.connector(), brokers.remote.connector(), &status);
        let running = run(setup, async move { drop(shut_down.await) });
        Self { brokers, status, shutdown, bridge: tokio::spawn(running) }
    }

    /// With both sessions made and subscribed.
    async fn started(config: BridgeConfig) -> Self {
        let mut brokers = models(config.version.into());
        if let Some(local) = &config.local {
            brokers.local = FakeBroker::new(Model::new(local.version.into()));
        }
        let bench = Self::start(config, brokers);
        bench.subscribed().await;
        bench
    }

    async fn subscribed(&self) {
        let subscribed = |side: Side| self.brokers[side].model().subscribes > 0;
        until("subscribed", || Side::BOTH.into_iter().all(subscribed)).await;
    }

    fn publish(&self, side: Side, qos: QoS, payload: &str) {
        let topic = if side == Side::Local { "up/x" } else { "site7/down/x" };
        self.brokers[side].publish(Message::new(topic, qos, payload));
    }

    fn is_idle(&self) -> bool {
        Side::BOTH.into_iter().all(|side| self.brokers[side].model().is_idle())
    }

    fn payloads(&self, side: Side) -> Vec<String> {
        self.brokers[side].model().payloads()
    }

    fn last_error(&self) -> String {
        self.status.snapshot().last_error.map(|error| error.what).unwrap_or_default()
    }

    async fn stop(self) {
        self.shutdown.send(()).expect("it runs");
        self.bridge.await.expect("it does not panic");
        assert_eq!(self.status.snapshot().state, BridgeState::Stopped);
    }
}

fn setup(
    config: BridgeConfig,
    local: Box<dyn Connector>,
    remote: Box<dyn Connector>,
    status: &Arc<BridgeStatus>,
) -> Setup {
    let (status, turns, retired) = (status.clone(), Default::default(), Default::default());
    Setup { config, local, remote, status, turns, retired, seed: 1 }
}

fn models(remote: ProtocolVersion) -> PerSide<FakeBroker> {
    PerSide {
        local: FakeBroker::new(Model::new(ProtocolVersion::V5)),
        remote: FakeBroker::new(Model::new(remote)),
    }
}

fn config(qos: u8) -> BridgeConfig {
    let topic = |filter: &str, direction| TopicConfig {
        qos,
        remote_prefix: "site7/".into(),
        ..TopicConfig::new(filter, direction)
    };
    BridgeConfig {
        name: "central".into(),
        address: "192.0.2.1:1883".into(),
        client_id: None,
        version: MqttVersion::V5,
        user_name: None,
        password: None,
        keep_alive_s: 60,
        tls: None,
        websocket: None,
        proxy: None,
        inflight_max: 10,
        maximum_qos: 2,
        packet_bytes_max: 1 << 20,
        origin: true,
        fallback_addresses: Vec::new(),
        address_policy: Default::default(),
        failback_after_s: 60,
        variables: Default::default(),
        compression: Default::default(),
        compression_level: 3,
        batch_delay_ms: 0,
        topic_alias_max: 100,
        reconnect_min_ms: 10,
        reconnect_max_ms: 60_000,
        ack_timeout_s: 60,
        interest: false,
        notification_topic: None,
        class: Vec::new(),
        link_class: None,
        topic: vec![topic("up/#", Direction::Out), topic("down/#", Direction::In)],
        local: None,
    }
}

/// A local broker over the network.
fn local(version: MqttVersion) -> Option<LocalConfig> {
    let address = "192.0.2.2:1883".into();
    Some(LocalConfig { address, version, user_name: None, password: None, tls: None })
}

/// The local broker that the bridge runs in, and those over the network, with a version for the other.
fn pairs() -> [(Option<LocalConfig>, MqttVersion); 5] {
    [
        (None, MqttVersion::V5),
        (None, MqttVersion::V311),
        (local(MqttVersion::V5), MqttVersion::V311),
        (local(MqttVersion::V311), MqttVersion::V5),
        (local(MqttVersion::V311), MqttVersion::V311),
    ]
}

fn expected(word: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{word} {number}")).collect()
}

#[tokio::test(start_paused = true)]
async fn messages_of_every_qos_go_both_ways() {
    for (local, version) in pairs() {
        let bench = Bench::started(BridgeConfig { local, version, ..config(2) }).await;
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            bench.publish(Side::Local, qos, "out");
            bench.publish(Side::Remote, qos, "in");
        }
        until("all arrived", || {
            bench.payloads(Side::Remote).len() == 3
                && bench.payloads(Side::Local).len() == 3
                && bench.is_idle()
        })
        .await;
        let topics = |side: Side| bench.brokers[side].model().delivered[0].topic.clone();
        assert_eq!(topics(Side::Remote), "site7/up/x");
        assert_eq!(topics(Side::Local), "down/x");
        let counted =
            || bench.status.snapshot().counts.forwarded == PerSide { local: 3, remote: 3 };
        until("counted", counted).await;
        let snapshot = bench.status.snapshot();
        assert_eq!(snapshot.state, BridgeState::Connected);
        assert!(snapshot.acknowledged.local.is_some() && snapshot.acknowledged.remote.is_some());
        bench.stop().await;
    }
}

/// 400 messages each way while one end or the other is cut off every few virtual milliseconds.
#[tokio::test(start_paused = true)]
async fn exactly_once_through_many_cuts() {
    for (local, version) in pairs() {
        let config = BridgeConfig { local, version, reconnect_max_ms: 10, ..config(2) };
        let bench = Bench::started(config).await;
        let mut random = numbers(7);
        for number in 0..400 {
            bench.publish(Side::Local, QoS::ExactlyOnce, &format!("out {number}"));
            bench.publish(Side::Remote, QoS::ExactlyOnce, &format!("in {number}"));
            for _ in 0..random.next().expect("endless") % 40 {
                tokio::task::yield_now().await;
            }
            match random.next().expect("endless") % 6 {
                0 => bench.brokers.local.cut(),
                1 => bench.brokers.remote.cut(),
                2 => tokio::time::sleep(Duration::from_millis(11)).await,
                _ => {}
            }
        }
        until("all arrived", || bench.is_idle()).await;
        assert_eq!(bench.payloads(Side::Remote), expected("out", 400));
        assert_eq!(bench.payloads(Side::Local), expected("in", 400));
        let connects = bench.brokers.remote.model().connects;
        assert!(connects > 20, "the cuts were felt: {connects} connections");
        bench.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_hour_without_uplink_loses_nothing_and_keeps_order() {
    let bench = Bench::started(config(1)).await;
    bench.brokers.remote.set_reachable(false);
    for number in 0..3000 {
        bench.publish(Side::Local, QoS::AtLeastOnce, &format!("out {number}"));
        tokio::time::sleep(Duration::from_millis(1200)).await;
    }
    let BridgeState::Waiting { .. } = bench.status.snapshot().state else {
        panic!("not waiting: {:?}", bench.status.snapshot())
    };
    assert_eq!(bench.last_error(), "TCP failed: 192.0.2.1:1883: connection refused");
    bench.brokers.remote.set_reachable(true);
    until("all arrived", || bench.is_idle()).await;
    assert_eq!(without_repetitions(bench.payloads(Side::Remote)), expected("out", 3000));
    bench.stop().await;
}

/// Both brokers write without reading, the streams hold 1000 bytes, and the messages are larger
/// than what the bridge buffers.
#[tokio::test(start_paused = true)]
async fn large_messages_both_ways_do_not_block_each_other() {
    let bench = Bench::started(config(1)).await;
    let payload = |word: &str, number: u32| format!("{word} {number} {}", "x".repeat(200_000));
    for number in 0..30 {
        bench.publish(Side::Local, QoS::AtLeastOnce, &payload("out", number));
        bench.publish(Side::Remote, QoS::AtLeastOnce, &payload("in", number));
    }
    until("all arrived", || bench.is_idle()).await;
    assert_eq!(bench.payloads(Side::Remote).len(), 30);
    assert_eq!(bench.payloads(Side::Local).len(), 30);
    assert_eq!(bench.last_error(), "", "and the link held");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_connect_is_told_in_words_and_tried_again() {
    let brokers = models(ProtocolVersion::V5);
    brokers.remote.model().refusal = Some(ReasonCode::NotAuthorized);
    let bench = Bench::start(config(1), brokers);
    until("tried again", || bench.brokers.remote.model().connects > 3).await;
    assert_eq!(bench.last_error(), "remote broker refused CONNECT: Not authorized");
    bench.brokers.remote.model().refusal = None;
    bench.subscribed().await;
    bench.stop().await;
}

/// Makes connections only after so many seconds, as several addresses do of which the first are dead.
struct Slow(Box<dyn Connector>, u64);

impl Connector for Slow {
    fn connect(&mut self) -> Connecting<'_> {
        Box::pin(async {
            tokio::time::sleep(Duration::from_secs(self.1)).await;
            self.0.connect().await
        })
    }
}

#[tokio::test(start_paused = true)]
async fn each_address_has_its_time() {
    for (addresses, is_in_time) in [(1, false), (4, true)] {
        let brokers = models(ProtocolVersion::V5);
        let fallback_addresses = vec!["192.0.2.2:1883".to_owned(); addresses - 1];
        let config = BridgeConfig { fallback_addresses, ..config(1) };
        let status = Arc::new(BridgeStatus::new("slow"));
        let remote = Box::new(Slow(brokers.remote.connector(), 200));
        let (local, never) = (brokers.local.connector(), std::future::pending());
        let bridge = tokio::spawn(run(setup(config, local, remote, &status), never));
        let outcome = || status.snapshot().last_error.map(|error| error.what);
        let is_up = || status.snapshot().state == BridgeState::Connected;
        until("tried", || is_up() || outcome().is_some()).await;
        let late = "CONNECT failed: remote broker: no answer within 90 s";
        assert_eq!(outcome().as_deref(), (!is_in_time).then_some(late));
        bridge.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn the_bridge_bit_is_left_out_where_it_is_not_known() {
    let brokers = models(ProtocolVersion::V311);
    brokers.remote.model().refuses_bridge_bit = true;
    let bench = Bench::start(BridgeConfig { version: MqttVersion::V311, ..config(1) }, brokers);
    bench.subscribed().await;
    assert_eq!(bench.brokers.remote.model().connects, 2);
    assert_eq!(bench.last_error(), "", "it is tried at once, and is no failure");
    bench.stop().await;
}

/// The remote broker is connected first; when the local one turns out to take less, it is told. The
/// models panic where their Receive Maximum or Maximum Packet Size is exceeded.
#[tokio::test(start_paused = true)]
async fn the_limits_of_each_end_hold_for_the_other() {
    for (local, remote) in [(3, 8), (8, 3)] {
        let brokers = models(ProtocolVersion::V5);
        brokers.local.model().receive_maximum = local;
        brokers.remote.model().receive_maximum = remote;
        brokers.local.model().packet_bytes_max = 5000;
        brokers.remote.model().packet_bytes_max = 6000;
        let bench = Bench::start(config(2), brokers);
        bench.subscribed().await;
        for number in 0..50 {
            bench.publish(Side::Local, QoS::ExactlyOnce, &format!("out {number}"));
            bench.publish(Side::Remote, QoS::ExactlyOnce, &format!("in {number}"));
        }
        until("all arrived", || bench.is_idle()).await;
        assert_eq!(bench.payloads(Side::Remote), expected("out", 50));
        assert_eq!(bench.payloads(Side::Local), expected("in", 50));
        assert_eq!(bench.brokers.remote.model().client_limits(), Some((local.into(), 5000)));
        // "site7/" makes a topic longer by 6 on its way out.
        let narrower = usize::from(local.min(remote).max(remote));
        assert_eq!(bench.brokers.local.model().client_limits(), Some((narrower, 5994)));
        bench.stop().await;
    }
}

/// Mosquitto 2.0 resets the connection at the 21st QoS 2 message that is not released, although it
/// has no way to say so in 3.1.1; so does the model, in its way.
#[tokio::test(start_paused = true)]
async fn a_3_1_1_broker_gets_no_more_than_20_at_once() {
    let brokers = models(ProtocolVersion::V311);
    brokers.remote.model().receive_maximum = 20;
    let config = BridgeConfig { version: MqttVersion::V311, inflight_max: 100, ..config(2) };
    let bench = Bench::start(config, brokers);
    bench.subscribed().await;
    for number in 0..200 {
        bench.publish(Side::Local, QoS::ExactlyOnce, &format!("out {number}"));
    }
    until("all arrived", || bench.is_idle()).await;
    assert_eq!(bench.payloads(Side::Remote), expected("out", 200));
    let local = bench.brokers.local.model().client_limits();
    assert_eq!(local.map(|(receive_maximum, _)| receive_maximum), Some(20));
    bench.stop().await;
}

/// A 3.1.1 broker has a window of its own, which nobody can tell it to narrow.
#[tokio::test(start_paused = true)]
async fn what_a_3_1_1_broker_sends_beyond_the_window_of_the_other_waits() {
    let mut brokers = models(ProtocolVersion::V5);
    brokers.local = FakeBroker::new(Model::new(ProtocolVersion::V311));
    brokers.remote.model().receive_maximum = 3;
    let local = local(MqttVersion::V311);
    let bench = Bench::start(BridgeConfig { local, ..config(2) }, brokers);
    bench.subscribed().await;
    for number in 0..200 {
        bench.publish(Side::Local, QoS::ExactlyOnce, &format!("out {number}"));
        if number % 40 == 0 {
            bench.brokers.remote.cut();
        }
    }
    until("all arrived", || bench.is_idle()).await;
    assert_eq!(bench.payloads(Side::Remote), expected("out", 200));
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_local_3_1_1_broker_gets_no_more_than_20_at_once() {
    let mut brokers = models(ProtocolVersion::V5);
    brokers.local = FakeBroker::new(Model::new(ProtocolVersion::V311));
    brokers.local.model().receive_maximum = 20;
    brokers.remote.model().receive_maximum = 100;
    let local = local(MqttVersion::V311);
    let bench = Bench::start(BridgeConfig { local, inflight_max: 100, ..config(2) }, brokers);
    bench.subscribed().await;
    for number in 0..200 {
        bench.publish(Side::Remote, QoS::ExactlyOnce, &format!("in {number}"));
    }
    until("all arrived", || bench.is_idle()).await;
    assert_eq!(bench.payloads(Side::Local), expected("in", 200));
    let remote = bench.brokers.remote.model().client_limits();
    assert_eq!(remote.map(|(receive_maximum, _)| receive_maximum), Some(20));
    bench.stop().await;
}

/// The session of a local broker over the network is there before the first link, with either version.
#[tokio::test(start_paused = true)]
async fn what_is_published_before_the_first_link_waits_at_the_local_broker() {
    for version in [MqttVersion::V5, MqttVersion::V311] {
        let mut brokers = models(ProtocolVersion::V5);
        brokers.local = FakeBroker::new(Model::new(version.into()));
        brokers.remote.set_reachable(false);
        let bench = Bench::start(BridgeConfig { local: local(version), ..config(2) }, brokers);
        let local = || bench.brokers.local.model();
        until("tried again and again", || local().connects > 5).await;
        assert_eq!(local().subscribes, 1, "once for a session");
        for number in 0..50 {
            bench.publish(Side::Local, QoS::ExactlyOnce, &format!("out {number}"));
        }
        // Its session is lost, and made again.
        local().session = None;
        until("subscribed again", || local().subscribes == 2).await;
        for number in 0..50 {
            bench.publish(Side::Local, QoS::ExactlyOnce, &format!("out {number}"));
        }
        bench.brokers.remote.set_reachable(true);
        until("all arrived", || bench.is_idle()).await;
        assert_eq!(bench.payloads(Side::Remote), expected("out", 50));
        bench.stop().await;
    }
}

/// The remote session holds identifiers that the local one, made anew before the link, gives again.
#[tokio::test(start_paused = true)]
async fn a_local_session_made_before_the_link_counts_as_new() {
    let bench = Bench::started(BridgeConfig { local: local(MqttVersion::V5), ..config(2) }).await;
    until("settled", || bench.is_idle()).await;
    bench.brokers.remote.set_reachable(false);
    let model = || bench.brokers.remote.model();
    let ids = (1..=5).filter_map(outpost_protocol::PacketId::new);
    model().session.as_mut().expect("it is there").receive(ids);
    bench.brokers.local.cut();
    bench.brokers.local.model().session = None;
    let made = || bench.brokers.local.model().session.is_some();
    until("made again", made).await;
    bench.publish(Side::Local, QoS::ExactlyOnce, "new");
    bench.brokers.remote.set_reachable(true);
    until("arrived", || bench.payloads(Side::Remote) == ["new"] && bench.is_idle()).await;
    bench.stop().await;
}

/// A link that is paid is not made for nothing.
#[tokio::test(start_paused = true)]
async fn while_the_local_broker_is_away_the_remote_one_is_left_alone() {
    let bench = Bench::started(BridgeConfig { local: local(MqttVersion::V5), ..config(2) }).await;
    until("settled", || bench.is_idle()).await;
    bench.brokers.local.set_reachable(false);
    let waiting = || matches!(bench.status.snapshot().state, BridgeState::Waiting { .. });
    until("waiting", waiting).await;
    let connects = bench.brokers.remote.model().connects;
    bench.publish(Side::Remote, QoS::ExactlyOnce, "late");
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(
        bench.last_error(),
        "connecting to the local broker failed: TCP failed: 192.0.2.1:1883: connection refused"
    );
    assert_eq!(bench.brokers.remote.model().connects, connects);
    bench.brokers.local.set_reachable(true);
    until("arrived", || bench.payloads(Side::Local) == ["late"] && bench.is_idle()).await;
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_falls_silent_is_left_and_found_again() {
    let bench = Bench::started(config(2)).await;
    bench.brokers.remote.set_silent(true);
    until("noticed", || bench.last_error() == "remote broker did not answer PINGREQ").await;
    bench.brokers.remote.set_silent(false);
    bench.publish(Side::Local, QoS::ExactlyOnce, "late");
    until("arrived", || bench.payloads(Side::Remote) == ["late"] && bench.is_idle()).await;
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn missing_acknowledgements_are_noticed_before_the_keep_alive() {
    let config = BridgeConfig { ack_timeout_s: 5, ..config(1) };
    let bench = Bench::started(config).await;
    bench.brokers.remote.set_silent(true);
    bench.publish(Side::Local, QoS::AtLeastOnce, "x");
    let words = "no acknowledgement from the remote broker for 5 s while messages wait for it";
    until("noticed", || bench.last_error() == words).await;
    bench.brokers.remote.set_silent(false);
    until("acknowledged", || bench.is_idle()).await;
    bench.stop().await;
}

/// Time stands still in this test while anything can be done.
#[tokio::test(start_paused = true)]
async fn what_goes_out_is_gathered_for_the_time_that_was_asked_for() {
    let config = BridgeConfig { batch_delay_ms: 2000, ack_timeout_s: 1, ..config(1) };
    let bench = Bench::started(config).await;
    until("settled", || bench.is_idle()).await;
    let start = tokio::time::Instant::now();
    bench.publish(Side::Local, QoS::AtMostOnce, "first");
    bench.publish(Side::Local, QoS::AtLeastOnce, "second");
    until("arrived", || bench.payloads(Side::Remote) == ["first", "second"]).await;
    let took_ms = start.elapsed().as_millis();
    assert!((2000..2500).contains(&took_ms), "{took_ms} ms");
    until("acknowledged", || bench.is_idle()).await;
    assert_eq!(bench.last_error(), "", "what is held back is not late");
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_at_the_other_end_holds_the_messages_back() {
    let bench = Bench::started(config(2)).await;
    bench.brokers.remote.model().verdicts.extend([ReasonCode::QuotaExceeded; 4]);
    for number in 0..20 {
        bench.publish(Side::Local, QoS::ExactlyOnce, &format!("out {number}"));
    }
    until("all arrived", || bench.is_idle()).await;
    let mut payloads = bench.payloads(Side::Remote);
    payloads.sort();
    let mut all = expected("out", 20);
    all.sort();
    assert_eq!(payloads, all, "each of them once");
    assert!(bench.last_error().contains("cannot take a message now (Quota exceeded)"));
    assert_eq!(bench.status.snapshot().counts.refused.local, 0);
    bench.stop().await;
}

/// 3.1.1 would bring all retained messages again; 5.0 is told to send them to new subscriptions only.
#[tokio::test(start_paused = true)]
async fn a_resumed_session_is_subscribed_again_only_with_5_0() {
    for (version, subscribes) in [(MqttVersion::V5, 2), (MqttVersion::V311, 1)] {
        let bench = Bench::started(BridgeConfig { version, ..config(1) }).await;
        bench.publish(Side::Remote, QoS::AtLeastOnce, "before");
        until("arrived", || bench.payloads(Side::Local).len() == 1 && bench.is_idle()).await;
        bench.brokers.remote.cut();
        bench.publish(Side::Remote, QoS::AtLeastOnce, "after");
        until("arrived", || bench.payloads(Side::Local).len() == 2 && bench.is_idle()).await;
        let subscribed = || bench.brokers.remote.model().subscribes == subscribes;
        until("subscribed as often as it should be", subscribed).await;
        bench.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn shutdown_says_goodbye_to_both_brokers() {
    let bench = Bench::started(config(1)).await;
    let brokers = bench.brokers.clone();
    let before = tokio::time::Instant::now();
    bench.stop().await;
    assert!(before.elapsed() <= Duration::from_secs(1));
    let said = |side: Side| brokers[side].model().disconnects == 1;
    until("both heard it", || Side::BOTH.into_iter().all(said)).await;
}

#[tokio::test(start_paused = true)]
async fn shutdown_does_not_wait_for_the_next_attempt() {
    let bench = Bench::started(BridgeConfig { reconnect_min_ms: 60_000, ..config(1) }).await;
    bench.brokers.remote.set_reachable(false);
    let waiting = || matches!(bench.status.snapshot().state, BridgeState::Waiting { .. });
    until("waiting", waiting).await;
    let before = tokio::time::Instant::now();
    bench.stop().await;
    assert!(before.elapsed() <= Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn outside_its_hours_a_class_has_no_connection() {
    let mut config = config(1);
    let hours = |from: i8| {
        let at = |hour: i8| format!("{:02}:30", (jiff::Zoned::now().hour() + hour) % 24);
        vec![format!("{}-{}", at(from), at(from + 1))]
    };
    config.class = vec![ClassConfig { allow: hours(3), ..ClassConfig::default() }];
    let bench = Bench::start(config, models(ProtocolVersion::V5));
    let is_outside = || matches!(bench.status.snapshot().state, BridgeState::OutsideHours { .. });
    until("it waits", is_outside).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(bench.brokers.remote.model().connects, 0);
    bench.stop().await;
}
