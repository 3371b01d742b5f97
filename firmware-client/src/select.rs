//! Waiting for the first of two futures.

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;

pub(crate) enum Either<A, B> {
    First(A),
    Second(B),
}

/// The first of the two that is ready; the first one if both are. The other one is dropped.
pub(crate) async fn select<A, B>(
    first: impl Future<Output = A>,
    second: impl Future<Output = B>,
) -> Either<A, B> {
    let mut first = pin!(first);
    let mut second = pin!(second);
    poll_fn(|context| {
        if let Poll::Ready(value) = first.as_mut().poll(context) {
            return Poll::Ready(Either::First(value));
        }
        second.as_mut().poll(context).map(Either::Second)
    })
    .await
}
