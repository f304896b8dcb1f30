//! Selection of the trainable parameters by the fine-tuning method and the `[frozen]` table.

use std::collections::BTreeSet;

use polymath_model::{HEAD, layer_of};
use serde::{Deserialize, Serialize};

use crate::FinetuneError;

/// Fine-tuning method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Trains all parameters.
    Full,
    /// Trains the parameters selected by `[frozen]`. The others stay unchanged, bit for bit.
    Frozen,
    /// LoRA: trains low-rank matrices beside the projections selected by `[lora]`.
    Lora,
    /// DoRA: like LoRA, and also trains the magnitude of each row separately from its direction.
    Dora,
}

impl Method {
    /// Returns the name of the method in the config.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Frozen => "frozen",
            Self::Lora => "lora",
            Self::Dora => "dora",
        }
    }

    /// Returns true if the method trains an adapter and freezes the base.
    pub fn adapts(self) -> bool {
        matches!(self, Self::Lora | Self::Dora)
    }
}

/// Parameters that are trained while all others are frozen. The selections of both keys are combined.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrozenConfig {
    /// Number of last layers that are trained, together with the final norm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_last_layers: Option<usize>,
    /// Names of the trained parameters, in Llama's naming also for a GPT-2. `*` matches anything, and a name also
    /// selects everything below it: `lm_head`, `model.norm*`, `model.layers.0.mlp`, `*.q_proj.weight`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub train: Vec<String>,
}

/// Returns those of the parameters `names` that the method trains; none if it trains an adapter. `lm_head.weight` can
/// be selected even if the base ties it to the embedding: fine-tuning then unties it, so that training the head leaves
/// the embedding unchanged.
///
/// # Errors
/// Fails if `[frozen]` is given with another method, selects nothing, has a pattern that matches nothing, or names
/// more layers than the base has.
pub fn select(
    method: Method,
    frozen: Option<&FrozenConfig>,
    names: &[String],
) -> Result<BTreeSet<String>, FinetuneError> {
    let refuse = |message: String| Err(FinetuneError::Config(message));
    let config = match (method, frozen) {
        (Method::Lora | Method::Dora, None) => return Ok(BTreeSet::new()),
        (Method::Full, None) => return Ok(names.iter().cloned().collect()),
        (Method::Full | Method::Lora | Method::Dora, Some(_)) => {
            return refuse(format!(
                "`[frozen]` is given but `method` is `{}`: set `method = \"frozen\"`, or remove the table",
                method.name()
            ));
        }
        (Method::Frozen, None) => {
            return refuse(
                "`method` is `frozen` but nothing says what is trained: give `[frozen]` with `train_last_layers` \
                 or `train`"
                    .into(),
            );
        }
        (Method::Frozen, Some(config)) => config,
    };
    let mut selected = BTreeSet::new();
    if let Some(last) = config.train_last_layers {
        select_last_layers(last, names, &mut selected)?;
    }
    select_matching(&config.train, names, &mut selected)?;
    if selected.is_empty() {
        return refuse(
            "`[frozen]` leaves nothing to train: raise `train_last_layers`, or name parameters in `train`".into(),
        );
    }
    Ok(selected)
}

/// Selects the parameters of the last layers and of the final norm.
fn select_last_layers(
    last: usize,
    names: &[String],
    selected: &mut BTreeSet<String>,
) -> Result<(), FinetuneError> {
    let layers = names
        .iter()
        .filter_map(|name| layer_of(name))
        .max()
        .map_or(0, |last| last + 1);
    if last > layers {
        return Err(FinetuneError::Config(format!(
            "`frozen.train_last_layers` = {last}: the base has {layers} layers"
        )));
    }
    let trained = |name: &String| {
        layer_of(name).is_some_and(|layer| layer >= layers - last)
            || name.starts_with("model.norm.")
    };
    if last > 0 {
        selected.extend(names.iter().filter(|name| trained(name)).cloned());
    }
    Ok(())
}

/// Selects the parameters whose names match a pattern.
fn select_matching(
    patterns: &[String],
    names: &[String],
    selected: &mut BTreeSet<String>,
) -> Result<(), FinetuneError> {
    let head = HEAD.to_owned();
    let choices: Vec<&String> = names
        .iter()
        .chain((!names.contains(&head)).then_some(&head))
        .collect();
    for pattern in patterns {
        let before = selected.len();
        let matching = choices.iter().filter(|name| matches(pattern, name));
        let mut found = false;
        for name in matching {
            found = true;
            // `*` and `*.weight` select the base's parameters; only a pattern for the head unties it.
            if names.contains(name) || pattern.starts_with("lm_head") {
                selected.insert((*name).clone());
            }
        }
        if !found && selected.len() == before {
            return Err(FinetuneError::Config(format!(
                "`frozen.train` has `{pattern}`, which matches no parameter of the base; they are named like `{}`",
                names.get(1).map_or("model.norm.weight", String::as_str)
            )));
        }
    }
    Ok(())
}

/// Returns true if `pattern` matches `name` or a module that contains it.
fn matches(pattern: &str, name: &str) -> bool {
    glob(pattern.as_bytes(), name.as_bytes())
        || glob(format!("{pattern}.*").as_bytes(), name.as_bytes())
}

/// Returns true if the text matches a pattern, in which `*` stands for any number of characters.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|skip| glob(rest, &text[skip..])),
        Some((letter, rest)) => text.first() == Some(letter) && glob(rest, &text[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        let mut names = vec!["model.embed_tokens.weight".to_owned()];
        for layer in 0..12 {
            for part in ["self_attn.q_proj", "mlp.up_proj", "input_layernorm"] {
                names.push(format!("model.layers.{layer}.{part}.weight"));
            }
        }
        names.push("model.norm.weight".to_owned());
        names
    }

    fn frozen(last: Option<usize>, train: &[&str]) -> Result<BTreeSet<String>, FinetuneError> {
        let config = FrozenConfig {
            train_last_layers: last,
            train: train.iter().map(ToString::to_string).collect(),
        };
        select(Method::Frozen, Some(&config), &names())
    }

    #[test]
    fn last_layers_are_the_last_ones_and_the_norm() {
        let chosen = frozen(Some(2), &[]).unwrap();
        assert_eq!(chosen.len(), 2 * 3 + 1);
        assert!(chosen.contains("model.layers.10.mlp.up_proj.weight"));
        assert!(!chosen.contains("model.layers.1.mlp.up_proj.weight"));
    }

    /// Checks that training the last layers trains weight and bias of the final norm (GPT-2 has both), but not the
    /// position embedding.
    #[test]
    fn weight_and_bias_of_the_last_norm_are_trained() {
        let mut names = names();
        names.extend(["model.norm.bias", "model.embed_positions.weight"].map(str::to_owned));
        let config = FrozenConfig {
            train_last_layers: Some(1),
            train: Vec::new(),
        };
        let chosen = select(Method::Frozen, Some(&config), &names).unwrap();
        assert!(chosen.contains("model.norm.bias") && chosen.contains("model.norm.weight"));
        assert!(!chosen.contains("model.embed_positions.weight"));
    }

    #[test]
    fn selections_of_patterns_are_combined() {
        let chosen = frozen(Some(1), &["model.layers.0.mlp", "*.q_proj.weight"]).unwrap();
        assert_eq!(chosen.len(), 3 + 1 + 1 + 11);
        // `model.layers.1` is layer 1, and not a prefix of layers 10 and 11.
        assert_eq!(frozen(None, &["model.layers.1"]).unwrap().len(), 3);
    }

    #[test]
    fn a_tied_head_is_selected_by_name_only() {
        assert!(
            frozen(None, &["lm_head", "model.norm*"])
                .unwrap()
                .contains(HEAD)
        );
        assert!(!frozen(None, &["*"]).unwrap().contains(HEAD));
    }

    /// Checks patterns: `*` stands for any text and none, and every other letter for itself.
    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, expected) in [
            ("a", "a", true),
            ("a", "b", false),
            ("a", "", false),
            ("", "a", false),
            ("", "", true),
            ("*", "", true),
            ("a*c", "ac", true),
            ("a*c", "abbc", true),
            ("a*c", "abcd", false),
            ("*b*", "abc", true),
            ("ab", "a", false),
        ] {
            let found = glob(pattern.as_bytes(), name.as_bytes());
            assert_eq!(found, expected, "{pattern} {name}");
        }
        assert!(matches("a.b", "a.b.c") && matches("a.b", "a.b") && !matches("a.b", "a.bc"));
    }

    /// Checks that all layers may be trained, and nothing beside them but the norm; that a method without `[frozen]`
    /// trains everything or nothing; and the names of the methods.
    #[test]
    fn every_method_selects_its_parameters() {
        let last = frozen(Some(12), &[]).unwrap();
        assert_eq!(last.len(), 12 * 3 + 1);
        assert!(!last.contains("model.embed_tokens.weight"));
        let alone = |method| select(method, None, &names()).unwrap();
        assert_eq!(alone(Method::Full).len(), names().len());
        assert!(alone(Method::Lora).is_empty() && alone(Method::Dora).is_empty());
        for (method, name, adapts) in [
            (Method::Full, "full", false),
            (Method::Frozen, "frozen", false),
            (Method::Lora, "lora", true),
            (Method::Dora, "dora", true),
        ] {
            assert_eq!((method.name(), method.adapts()), (name, adapts));
        }
    }

    #[test]
    fn patterns_without_a_match_are_refused() {
        let error = frozen(None, &["model.layer.0"]).unwrap_err().to_string();
        assert!(error.contains("`model.layer.0`"), "{error}");
        assert!(
            frozen(Some(13), &[])
                .unwrap_err()
                .to_string()
                .contains("12 layers")
        );
        assert!(
            frozen(Some(0), &[])
                .unwrap_err()
                .to_string()
                .contains("nothing to train")
        );
        assert!(select(Method::Full, Some(&FrozenConfig::default()), &names()).is_err());
        assert!(select(Method::Frozen, None, &names()).is_err());
    }
}
