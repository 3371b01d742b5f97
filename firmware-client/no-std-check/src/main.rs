//! The firmware client in a program without std and without an allocator: were either needed, this
//! would not link. It goes through connect, publish, subscribe, receive, an offline queue and a
//! resumed session against a small server in memory, and ends with 0, or with the number of the step
//! that went wrong.
#![no_std]
#![no_main]

mod server;

use core::future::{Future, ready};
use core::panic::PanicInfo;
use core::pin::pin;
use core::task::{Context, Poll, Waker};

use outpost_firmware_client::{
    Clock, ConnectOptions, Event, Message, ProtocolVersion, QoS, RetainHandling, Settings,
    SmallClient, SubscribeFilter, SubscriptionOptions, WhenFull, decode_postcard,
};
use server::Server;

unsafe extern "C" {
    safe fn abort() -> !;
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    abort()
}

/// The core library that comes with the toolchain was compiled for unwinding, and names this. Nothing
/// unwinds here.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    let versions = [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5];
    for version in versions {
        if let Err(step) = block_on(run(version)) {
            return step;
        }
    }
    0
}

/// A clock that stands still, whose alarms never ring.
struct Stopped;

impl Clock for Stopped {
    fn now_ms(&self) -> u64 {
        0
    }

    fn wait_until(&self, deadline_ms: u64) -> impl Future<Output = ()> {
        let is_due = deadline_ms == 0;
        async move {
            if !is_due {
                core::future::pending().await
            }
        }
    }
}

async fn run(version: ProtocolVersion) -> Result<(), i32> {
    let settings = Settings { version, when_full: WhenFull::DropOldest, ..Settings::default() };
    let mut client = SmallClient::new(settings, Stopped);
    let mut server = Server::new(version);
    let reading = (42_u32, -7_i16);
    // One more than there is room for: the oldest is dropped.
    for token in 0..17 {
        let published = client.publish_postcard("t", &reading, QoS::ExactlyOnce, token);
        published.map_err(|_| 1)?;
    }
    check(client.queued() == 16 && client.dropped() == 1, 2)?;
    let options = ConnectOptions::new("c");
    {
        let mut link = client.connect(&mut server, &options).await.map_err(|_| 3)?;
        let options = SubscriptionOptions {
            qos: QoS::ExactlyOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::SendAtSubscribe,
        };
        let filters = [SubscribeFilter { filter: "t", options }];
        link.subscribe(&filters).await.map_err(|_| 4)?;
        let (mut published, mut received) = (0, 0);
        while published < 16 || received < 16 {
            match link.receive().await.map_err(|_| 5)? {
                Event::Published(end) => {
                    published += 1;
                    check(end.token == published && end.outcome.is_success(), 6)?;
                }
                Event::Message(message) => {
                    received += 1;
                    let value: (u32, i16) = decode_postcard(&message).map_err(|_| 7)?;
                    check(value == reading, 8)?;
                }
                Event::Subscribed(_) => {}
                _ => return Err(9),
            }
        }
        link.publish(&Message::new("t", b"lost", QoS::AtMostOnce)).await.map_err(|_| 10)?;
        server_goes_away(&mut link).await?;
    }
    client.publish_postcard("t", &reading, QoS::AtLeastOnce, 99).map_err(|_| 12)?;
    server.comes_back();
    let mut link = client.connect(&mut server, &options).await.map_err(|_| 13)?;
    check(version == ProtocolVersion::V31 || link.terms().is_some_and(|t| t.session_present), 14)?;
    loop {
        match link.receive().await.map_err(|_| 15)? {
            Event::Published(end) if end.token == 99 => break,
            Event::Message(_) => {}
            _ => return Err(16),
        }
    }
    link.disconnect().await.map_err(|_| 17)
}

type CheckLink<'c, 's> =
    outpost_firmware_client::Link<'c, &'s mut Server, Stopped, 256, 256, 1024, 8, 4, 16, 64>;

/// The server closes on this topic; the client must notice.
async fn server_goes_away(link: &mut CheckLink<'_, '_>) -> Result<(), i32> {
    link.publish(&Message::new("close", b"", QoS::AtMostOnce)).await.map_err(|_| 11)?;
    while link.receive().await.is_ok() {}
    ready(Ok(())).await
}

fn check(is_right: bool, step: i32) -> Result<(), i32> {
    if is_right { Ok(()) } else { Err(step) }
}

/// The server answers at once, so that nothing ever waits.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    match future.as_mut().poll(&mut context) {
        Poll::Ready(output) => output,
        Poll::Pending => abort(),
    }
}
