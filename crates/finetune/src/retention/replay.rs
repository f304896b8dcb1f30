//! Replay: a share of each batch's rows comes from the base's training data, or from text that the base generates.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::FinetuneError;

/// Source of the text that is replayed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplaySource {
    /// Text of the retained domains in `retain`.
    #[default]
    Data,
    /// Text that the base generates before the run, for a base whose training data are not available.
    #[serde(rename = "self")]
    Generated,
}

/// Replay: a share (`0.05`), `"self"`, or a table.
///
/// The derived serde implementations are those of the table; the ones below call them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields, default)]
pub struct ReplayConfig {
    /// Source of the replayed rows: text of `retain`, or text that the base generates.
    pub source: ReplaySource,
    /// Share of each batch's rows that are replayed.
    pub share: f64,
    /// Number of tokens that the base generates, with `source = "self"`; default: as many as the run replays, from
    /// 6250 to 200 000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Temperature. With `source = "data"`, the share of a domain is ∝ tokens^temperature, with a temperature from 0
    /// to 1. With `"self"`, the sampling temperature of the base.
    pub temperature: f64,
    /// If true, replayed rows are added to the niche's, so that the batch grows; otherwise they replace some.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub beside: bool,
    /// Weight of a replayed token's loss, relative to a token of the niche.
    #[serde(skip_serializing_if = "is_one")]
    pub weight: f64,
}

fn is_one(weight: &f64) -> bool {
    *weight == 1.0
}

const SHARE: f64 = 0.05;
/// Maximum number of tokens that the config may ask the base to generate. Generating them takes days on a CPU.
const MOST_GENERATED: u64 = 10_000_000;
/// Number of generated tokens in runs of earlier versions, whose `run.toml` has none.
pub(crate) const EARLIER_TOKENS: u64 = 200_000;

impl Default for ReplayConfig {
    fn default() -> Self {
        Self {
            source: ReplaySource::Data,
            share: SHARE,
            tokens: None,
            temperature: 1.0,
            beside: false,
            weight: 1.0,
        }
    }
}

impl ReplayConfig {
    /// Checks every value of the replay settings.
    pub(crate) fn validate(&self) -> Result<(), FinetuneError> {
        let refuse = |message: String| Err(FinetuneError::Config(message));
        if !(0.005..=0.5).contains(&self.share) {
            return refuse(format!(
                "`retention.replay.share` = `{}`: expected a share of the batch from 0.005 to 0.5",
                self.share
            ));
        }
        if !(self.weight.is_finite() && self.weight > 0.0) {
            return refuse(format!(
                "`retention.replay.weight` = `{}`: expected a number above 0; at 1 a replayed token counts as one of the \
                 niche does",
                self.weight
            ));
        }
        let generated = self.source == ReplaySource::Generated;
        if self.tokens.is_some() && !generated {
            return refuse(
                "`retention.replay.tokens` says how much the base generates, but `retention.replay.source` is `data`: \
                 remove it, or set `source = \"self\"`"
                    .into(),
            );
        }
        if let Some(tokens) = self.tokens {
            check_generated("retention.replay.tokens", tokens)?;
        }
        let (highest, expected) = if generated {
            (f64::MAX, "above 0")
        } else {
            (1.0, "from 0 to 1")
        };
        let lowest = if generated { f64::MIN_POSITIVE } else { 0.0 };
        if !(lowest..=highest).contains(&self.temperature) {
            return refuse(format!(
                "`retention.replay.temperature` = `{}`: expected a number {expected}",
                self.temperature
            ));
        }
        Ok(())
    }

    /// Returns the number of tokens that the base generates for replay.
    pub(crate) fn tokens(&self) -> u64 {
        self.tokens.unwrap_or(EARLIER_TOKENS)
    }
}

/// Fails if `tokens` is outside the range of numbers of tokens to generate. `name` is the key or flag that set it, for
/// the error.
pub(super) fn check_generated(name: &str, tokens: u64) -> Result<(), FinetuneError> {
    match (1..=MOST_GENERATED).contains(&tokens) {
        true => Ok(()),
        false => Err(FinetuneError::Config(format!(
            "`{name}` = `{tokens}`: expected a number of tokens from 1 to {MOST_GENERATED}"
        ))),
    }
}

/// Deserializer of replay settings in any of their three forms (a share, `"self"` or a table), each with its own error.
struct Forms;

impl<'de> Visitor<'de> for Forms {
    type Value = ReplayConfig;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(
            "a share of the batch (`0.05`), `\"self\"`, or a table with `source` and `share`",
        )
    }

    fn visit_f64<E>(self, share: f64) -> Result<ReplayConfig, E> {
        Ok(ReplayConfig {
            share,
            ..ReplayConfig::default()
        })
    }

    fn visit_i64<E: serde::de::Error>(self, share: i64) -> Result<ReplayConfig, E> {
        self.visit_f64(share as f64)
    }

    fn visit_str<E: serde::de::Error>(self, source: &str) -> Result<ReplayConfig, E> {
        let source = match source {
            "self" => ReplaySource::Generated,
            "data" => ReplaySource::Data,
            other => return Err(E::unknown_variant(other, &["self", "data"])),
        };
        Ok(ReplayConfig {
            source,
            ..ReplayConfig::default()
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ReplayConfig, A::Error> {
        ReplayConfig::deserialize(MapAccessDeserializer::new(map)) // the derived one
    }
}

impl Serialize for ReplayConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for ReplayConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Forms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<(), String> {
        let config: ReplayConfig = toml::from_str(text).unwrap();
        config.validate().map_err(|error| error.to_string())
    }

    /// Checks that each bound is the last value that is accepted, and that the next one is refused with its key.
    #[test]
    fn bounds_are_inclusive() {
        for text in [
            "share = 0.005",
            "share = 0.5",
            "weight = 1e-300",
            "temperature = 0.0",
            "temperature = 1.0",
            "source = \"self\"\ntemperature = 1e-300",
            "source = \"self\"\ntemperature = 7.0",
            "source = \"self\"\ntokens = 1",
            "source = \"self\"\ntokens = 10_000_000",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        for (text, expected) in [
            ("share = 0.0049", "`retention.replay.share` = `0.0049`"),
            ("share = 0.501", "`retention.replay.share` = `0.501`"),
            ("weight = 0.0", "`retention.replay.weight` = `0`"),
            ("weight = inf", "`retention.replay.weight` = `inf`"),
            ("temperature = -0.001", "expected a number from 0 to 1"),
            ("temperature = 1.001", "expected a number from 0 to 1"),
            (
                "source = \"self\"\ntemperature = 0.0",
                "expected a number above 0",
            ),
            (
                "source = \"self\"\ntokens = 0",
                "`retention.replay.tokens` = `0`",
            ),
            (
                "source = \"self\"\ntokens = 10_000_001",
                "`retention.replay.tokens` = `10000001`",
            ),
            ("tokens = 5", "`retention.replay.source` is `data`"),
        ] {
            let said = check(text).unwrap_err();
            assert!(said.contains(expected), "{text}: {said}");
        }
    }

    /// Checks the default of each key, and that a table is written without the keys that have no effect.
    #[test]
    fn defaults_are_left_out() {
        let found: ReplayConfig = toml::from_str("").unwrap();
        assert_eq!(found, ReplayConfig::default());
        assert_eq!(
            (found.share, found.temperature, found.weight),
            (0.05, 1.0, 1.0)
        );
        assert_eq!((found.source, found.beside), (ReplaySource::Data, false));
        assert_eq!((found.tokens, found.tokens()), (None, 200_000));
        let text = |config: &ReplayConfig| toml::to_string(config).unwrap();
        let plain = text(&found);
        for key in ["weight", "beside", "tokens"] {
            assert!(!plain.contains(key), "{plain}");
        }
        let other = ReplayConfig {
            weight: 0.5,
            beside: true,
            tokens: Some(7),
            ..found
        };
        let written = text(&other);
        for line in ["weight = 0.5", "beside = true", "tokens = 7"] {
            assert!(written.contains(line), "{written}");
        }
        assert_eq!(other.tokens(), 7);
    }
}
