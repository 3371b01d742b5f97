//! Payloads in postcard's format.

use outpost_protocol::Publish;
use serde::Deserialize;

/// The value that a message holds, encoded by [`crate::Client::publish_postcard`] or by
/// `postcard::to_slice`.
///
/// # Errors
/// The payload is no such value.
pub fn decode_postcard<'a, V: Deserialize<'a>>(
    message: &Publish<'a>,
) -> Result<V, postcard::Error> {
    postcard::from_bytes(message.payload)
}
