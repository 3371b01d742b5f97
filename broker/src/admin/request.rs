//! What can be asked for over the control socket, and who does it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::bridges::Bridges;
use crate::reload::Reloader;

/// A request.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// What the bridges are doing, or one of them.
    Status {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// What becomes of a topic.
    Explain {
        topic: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bridge: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
    },
    /// Stops the link of a bridge until it is resumed.
    Pause { name: String },
    /// Starts it again.
    Resume { name: String },
    /// Reads the configuration again.
    Reload {},
    /// Begins to wait until what waits now is gone: the answer is a mark.
    DrainFrom { name: String },
    /// How much of what waited at a mark is left.
    DrainLeft { name: String, mark: u64 },
}

/// An answer.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// It was done.
    Ok(Value),
    /// It was not, in words.
    Error(String),
}

/// Who does what is asked for.
pub(crate) struct Operator {
    pub(crate) bridges: Arc<Bridges>,
    pub(crate) reloader: Arc<Reloader>,
}

impl Operator {
    pub(super) async fn obey(&self, request: Request) -> Answer {
        match self.try_obey(request).await {
            Ok(value) => Answer::Ok(value),
            Err(why) => Answer::Error(why),
        }
    }

    async fn try_obey(&self, request: Request) -> Result<Value, String> {
        let bridges = &self.bridges;
        match request {
            Request::Status { name } => {
                let reports = bridges.report(name.as_deref())?;
                serde_json::to_value(reports).map_err(|error| error.to_string())
            }
            Request::Explain { topic, bridge, from } => bridges
                .explain(&topic, bridge.as_deref(), from.as_deref())
                .map(|lines| json!(lines)),
            Request::Pause { name } => bridges.pause(&name).await.map(|()| Value::Null),
            Request::Resume { name } => bridges.resume(&name).await.map(|()| Value::Null),
            Request::Reload {} => {
                let reloaded = self.reloader.reload().await;
                reloaded.map(|lines| json!(lines)).map_err(|errors| errors.join("\n"))
            }
            Request::DrainFrom { name } => bridges.drain_mark(&name).map(|mark| json!(mark)),
            Request::DrainLeft { name, mark } => {
                bridges.left_below(&name, mark).map(|left| json!(left))
            }
        }
    }
}
