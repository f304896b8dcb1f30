//! Hint for a flag that is a key of the config, such as `--epochs 1`.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use polymath_config::known_keys;
use polymath_finetune::FinetuneConfig;
use polymath_model::{ArchitectureConfig, LoraConfig};
use polymath_pretrain::PretrainConfig;
use polymath_train::{CheckpointConfig, EvaluationConfig, TrainingConfig};

/// Commands whose configs have keys that may be mistaken for flags.
const COMMANDS: [&str; 2] = ["pretrain", "finetune"];

/// Returns a message if the unknown flag is a key of a run's config, or `None`.
pub fn of(error: &clap::Error, arguments: impl Iterator<Item = String>) -> Option<String> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let arguments: Vec<String> = arguments.skip(1).collect();
    if !arguments
        .iter()
        .any(|argument| COMMANDS.contains(&&**argument))
    {
        return None;
    }
    let key = key(flag.split('=').next()?)?;
    let value = value(flag, &arguments).unwrap_or_else(|| "…".to_owned());
    Some(format!(
        "there is no flag `{}`; it is a key of the config, which is changed by `{key}={value}`",
        flag.split('=').next().unwrap_or(flag)
    ))
}

/// Returns the dotted key that a flag stands for.
fn key(flag: &str) -> Option<String> {
    let name = flag.strip_prefix("--")?.replace('-', "_");
    let tables = [
        ("training.", known_keys::<TrainingConfig>()),
        ("evaluation.", known_keys::<EvaluationConfig>()),
        ("checkpoint.", known_keys::<CheckpointConfig>()),
        ("model.", known_keys::<ArchitectureConfig>()),
        ("lora.", known_keys::<LoraConfig>()),
        ("", known_keys::<FinetuneConfig>()),
        ("", known_keys::<PretrainConfig>()),
    ];
    let found = tables.iter().find(|(_, keys)| keys.contains(&name));
    found.map(|(table, _)| format!("{table}{name}"))
}

/// Returns the value given to a flag on the command line: `--flag=value` or `--flag value`.
fn value(flag: &str, arguments: &[String]) -> Option<String> {
    if let Some((_, value)) = flag.split_once('=') {
        return Some(value.to_owned());
    }
    let at = arguments
        .iter()
        .position(|argument| argument.split('=').next() == Some(flag))?;
    if let Some((_, value)) = arguments[at].split_once('=') {
        return Some(value.to_owned());
    }
    let next = arguments.get(at + 1)?;
    (!next.starts_with('-') && !next.contains('=')).then(|| next.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(line: &str) -> Option<String> {
        let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let error = crate::command().try_get_matches_from(&arguments).err()?;
        of(&error, arguments.into_iter())
    }

    #[test]
    fn a_flag_that_is_a_key_is_answered_with_the_key() {
        for (line, expected) in [
            ("polymath finetune a.toml --epochs 1", "`training.epochs=1`"),
            (
                "polymath finetune a.toml --learning-rate=1e-4",
                "`training.learning_rate=1e-4`",
            ),
            (
                "polymath pretrain a.toml --hidden-size 64",
                "`model.hidden_size=64`",
            ),
            ("polymath finetune a.toml --method lora", "`method=lora`"),
            ("polymath finetune a.toml --rank --resume", "`lora.rank=…`"),
        ] {
            let hint = hint(line).unwrap();
            assert!(hint.contains(expected), "{hint}");
        }
        assert_eq!(hint("polymath finetune a.toml --nonsense 1"), None);
        assert_eq!(hint("polymath evaluate a --epochs 1"), None);
    }
}
