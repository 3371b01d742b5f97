//! Connections of this program's own parts: a bridge is a client like any other, over a pipe in
//! memory instead of a socket.

use std::sync::Arc;

use outpost_bridge::connect::{BoxedStream, Connecting, Connector, TopicTest};
use outpost_bridge::peering::NodeId;

use super::connection::linger;
use super::handshake::{Caller, Door, shake_hands};
use super::stream::Stream;
use crate::auth::ListenerAuth;
use crate::core::Takes;

/// Bytes that may be on their way in each direction.
const PIPE_BYTES: usize = 64 * 1024;

/// Connects a part of this program to the core.
pub(crate) struct LocalConnector {
    pub(crate) door: Arc<Door>,
    /// As the configuration has it.
    pub(crate) client_id: String,
    /// For the log, such as `bridge central`.
    pub(crate) name: Box<str>,
}

impl Connector for LocalConnector {
    fn node(&self) -> Option<NodeId> {
        Some(self.door.shared.enter(None, |core| core.broker.node()))
    }

    fn narrow(&mut self, takes: TopicTest, newly: TopicTest) {
        self.door.shared.enter(None, |core| {
            core.broker.narrow_internal_session(&self.client_id, Some(Takes(takes)));
            core.broker.renew_internal_retained(core.now, &self.client_id, Takes(newly));
        });
    }

    fn connect(&mut self) -> Connecting<'_> {
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        let door = self.door.clone();
        let caller = Caller {
            address: self.name.clone(),
            policy: ListenerAuth { allow_anonymous: true, cn_as_user_name: false },
            certificate_cn: None,
            is_internal: true,
        };
        tokio::spawn(async move {
            match shake_hands(&door, caller, Stream::Internal(Box::new(theirs))).await {
                Ok(connection) => connection.run().await,
                Err(stream) => linger(stream).await,
            }
        });
        Box::pin(async move { Ok(Box::new(ours) as BoxedStream) })
    }
}
