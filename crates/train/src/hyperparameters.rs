//! Configuration of a run as TensorBoard hyperparameters: messages of TensorBoard's `hparams` plugin.

use std::collections::BTreeMap;
use std::path::Path;

use prost::{Message, Oneof};
use toml::{Table, Value};

/// Tag of the TensorBoard summary that holds a run's hyperparameters.
pub const TAG: &str = "_hparams_/session_start_info";
const PLUGIN: &str = "hparams";

/// `tensorflow.SummaryMetadata` message.
#[derive(Clone, PartialEq, Message)]
pub struct Metadata {
    #[prost(message, optional, tag = "1")]
    plugin: Option<Plugin>,
}

/// `tensorflow.SummaryMetadata.PluginData` message.
#[derive(Clone, PartialEq, Message)]
struct Plugin {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "vec", tag = "2")]
    content: Vec<u8>,
}

/// `tensorboard.hparams.HParamsPluginData` message.
#[derive(Clone, PartialEq, Message)]
struct Content {
    #[prost(message, optional, tag = "3")]
    start: Option<SessionStart>,
}

/// `tensorboard.hparams.SessionStartInfo` message.
#[derive(Clone, PartialEq, Message)]
struct SessionStart {
    #[prost(btree_map = "string, message", tag = "1")]
    settings: BTreeMap<String, Setting>,
    #[prost(double, tag = "5")]
    seconds: f64,
}

/// `google.protobuf.Value` message with a number, a text or a Boolean.
#[derive(Clone, PartialEq, Message)]
struct Setting {
    #[prost(oneof = "Kind", tags = "2, 3, 4")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Kind {
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(bool, tag = "4")]
    Truth(bool),
}

/// Returns the hyperparameters in the `run.toml` beside the file `metrics`, as the metadata of a TensorBoard summary,
/// for a run that was started at `seconds` since 1970. Returns `None` if there is no `run.toml`.
pub fn metadata(metrics: &Path, seconds: f64) -> Option<Metadata> {
    let text = polymath_base::read_to_string(metrics.with_file_name("run.toml")).ok()?;
    let table: Table = text.parse().ok()?;
    let settings = polymath_config::values_by_key(&table).into_iter();
    let start = SessionStart {
        settings: settings
            .map(|(key, value)| (key, setting(&value)))
            .collect(),
        seconds,
    };
    let content = Content { start: Some(start) };
    Some(Metadata {
        plugin: Some(Plugin {
            name: PLUGIN.into(),
            content: content.encode_to_vec(),
        }),
    })
}

fn setting(value: &Value) -> Setting {
    let kind = match value {
        Value::Integer(number) => Kind::Number(*number as f64),
        Value::Float(number) => Kind::Number(*number),
        Value::Boolean(truth) => Kind::Truth(*truth),
        Value::String(text) => Kind::Text(text.clone()),
        other => Kind::Text(other.to_string()),
    };
    Setting { kind: Some(kind) }
}

#[cfg(test)]
impl Metadata {
    /// Returns the hyperparameters of a config as text.
    pub fn settings(&self) -> BTreeMap<String, String> {
        let plugin = self.plugin.as_ref().unwrap();
        assert_eq!(plugin.name, PLUGIN);
        let content = Content::decode(&plugin.content[..]).unwrap();
        let text = |setting: Setting| match setting.kind.unwrap() {
            Kind::Number(number) => number.to_string(),
            Kind::Text(text) => text,
            Kind::Truth(truth) => truth.to_string(),
        };
        let settings = content.start.unwrap().settings.into_iter();
        settings.map(|(key, value)| (key, text(value))).collect()
    }
}
