//! The command line, and the bounds of what it can ask for.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};
use outpost_protocol::{ProtocolVersion, QoS};

/// What is done to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Many publishers, a topic each; one subscriber with a wildcard.
    Fanin,
    /// One publisher, many subscribers to its topic.
    Fanout,
    /// As many publishers as subscribers, a topic each.
    Pairs,
    /// Many publishers, one group with a shared subscription.
    Shared,
    /// Many filters with wildcards; each message matches one of them.
    Wildcards,
    /// Connections that do nothing.
    Idle,
    /// Connections that come and go.
    Connects,
    /// Retained messages: stored, then delivered to a new subscriber.
    Retained,
    /// Messages for an absent session, which then returns.
    Offline,
    /// One publisher to a connected session that outlives its connection.
    Durable,
}

/// Which part of a scenario with two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Messages are published and stay with the broker.
    Store,
    /// What an earlier run with the same options has published is delivered.
    Deliver,
    /// One after the other.
    Both,
}

/// Drives an MQTT broker on this machine and prints what it saw as one line of JSON.
#[derive(Clone, Debug, Parser)]
#[command(name = "outpost-load")]
pub(crate) struct Args {
    /// What is done to the broker.
    pub(crate) scenario: Scenario,
    /// Where the broker listens; a loopback address.
    #[arg(long, default_value = "127.0.0.1:1883")]
    pub(crate) address: SocketAddr,
    /// The broker's process, for its CPU time, memory and writes.
    #[arg(long)]
    pub(crate) pid: Option<u32>,
    /// The version of MQTT to speak.
    #[arg(long, default_value = "3.1.1", value_parser = ["3.1.1", "5"])]
    mqtt: String,
    /// The QoS of the messages and of the subscriptions [default: 0; 1 for retained, offline and durable].
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: Option<u8>,
    /// How many publishers [default: fanin, pairs 50; shared, wildcards 10].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    publishers: Option<u32>,
    /// How many subscribers [default: fanout 100; shared 4; wildcards 10].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    subscribers: Option<u32>,
    /// Stop after so many messages; 0: after --seconds [default: retained 10000; offline 20000; 0 else].
    #[arg(long, value_parser = clap::value_parser!(u64).range(0..=100_000_000))]
    messages: Option<u64>,
    /// retained and offline: which part, so that something can be done to the broker in between.
    #[arg(long, value_enum, default_value_t = Part::Both)]
    pub(crate) part: Part,
    /// offline: how many absent sessions the messages wait for.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) sessions: u32,
    /// Publish for so long; idle: watch for so long.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// At most so many messages published and not delivered; 0: no bound [default: 5000 at QoS 0, fanout 100; no bound else].
    #[arg(long, value_parser = clap::value_parser!(u64).range(0..=100_000_000))]
    ahead: Option<u64>,
    /// QoS 1 and 2: at most so many messages of one publisher that are not acknowledged.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=30_000))]
    pub(crate) window: u16,
    /// Publish so many messages a second in all instead of as many as the broker takes.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) rate: Option<u64>,
    /// Bytes of a message's payload.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(16..=65_536))]
    payload: u32,
    /// idle and connects: how many connections [default: 5000; connects 10000].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    connections: Option<u32>,
    /// wildcards: how many filters in all.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) filters: u32,
    /// How long anything but publishing may take before the run is given up, in seconds.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
}

impl Args {
    /// What clap cannot check.
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(
            self.address.ip().is_loopback(),
            "--address {}: only loopback addresses may be put under load",
            self.address
        );
        ensure!(
            self.messages().is_some()
                || (self.part != Part::Deliver && self.scenario != Scenario::Retained),
            "--messages 0: what is retained, or has been published before, has to be counted"
        );
        Ok(())
    }

    pub(crate) fn version(&self) -> ProtocolVersion {
        if self.mqtt == "5" { ProtocolVersion::V5 } else { ProtocolVersion::V311 }
    }

    pub(crate) fn qos(&self) -> QoS {
        let default = match self.scenario {
            Scenario::Retained | Scenario::Offline | Scenario::Durable => QoS::AtLeastOnce,
            _ => QoS::AtMostOnce,
        };
        self.qos.and_then(|qos| QoS::try_from(qos).ok()).unwrap_or(default)
    }

    pub(crate) fn publishers(&self) -> u32 {
        self.publishers.unwrap_or(match self.scenario {
            Scenario::Fanin | Scenario::Pairs => 50,
            Scenario::Shared | Scenario::Wildcards => 10,
            _ => 1,
        })
    }

    pub(crate) fn subscribers(&self) -> u32 {
        self.subscribers.unwrap_or(match self.scenario {
            Scenario::Fanout => 100,
            Scenario::Shared => 4,
            Scenario::Wildcards => 10,
            _ => 1,
        })
    }

    pub(crate) fn connections(&self) -> u32 {
        self.connections.unwrap_or(match self.scenario {
            Scenario::Connects => 10_000,
            _ => 5_000,
        })
    }

    pub(crate) fn messages(&self) -> Option<u64> {
        let default = match self.scenario {
            Scenario::Retained => 10_000,
            Scenario::Offline => 20_000,
            _ => 0,
        };
        Some(self.messages.unwrap_or(default)).filter(|messages| *messages > 0)
    }

    /// None: no bound.
    pub(crate) fn ahead(&self) -> Option<u64> {
        let default = match (self.qos(), self.scenario) {
            (QoS::AtMostOnce, Scenario::Fanout) => 100,
            (QoS::AtMostOnce, _) => 5_000,
            _ => 0,
        };
        Some(self.ahead.unwrap_or(default)).filter(|ahead| *ahead > 0)
    }

    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    pub(crate) fn payload_bytes(&self) -> usize {
        self.payload as usize
    }
}
