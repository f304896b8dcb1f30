//! `polymath init`: first configs of a folder of texts; `polymath config`: the keys of a config.

use std::path::Path;

use anyhow::anyhow;
use polymath_study::init::{Init, Machine, PretrainingSize};
use polymath_study::schema::ConfigKind;
use polymath_study::shell_word;

use crate::arguments::{self, ConfigChoice};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::results;

/// Surveys the folder, measures the machine's speed, and writes the configs.
pub fn run(arguments: &arguments::Init, environment: &Environment) -> Result<(), Failure> {
    let (kinds, folder) = asked(&arguments.what)?;
    let init = Init::look(Path::new(&folder), &arguments.output, &kinds)?;
    for domain in init.found.domains.iter().chain(&init.found.niches) {
        environment.say(&format!("  {}", domain.line()));
        if let Some(bad) = &domain.survey.bad {
            environment.say(&format!(
                "    a record makes no document: {bad}; `prepare` stops there: fix it, or set `on_bad_record = \"skip\"`"
            ));
        }
        for note in domain.survey.notes.lines() {
            environment.say(&format!("    {note}"));
        }
    }
    for note in &init.found.notes {
        environment.say(&format!("  {note}"));
    }
    let mut sized = None;
    if init.kinds().contains(&ConfigKind::Pretrain) {
        environment.say("measuring the speed of training steps");
        let machine = Machine {
            device: &environment.device,
            implementation: environment.implementation,
        };
        let found = init.size(arguments.minutes, &machine)?;
        environment.say(&found.line());
        sized = Some(found);
    }
    init.write(sized.as_ref())?;
    results::announce(&next(&init, sized.as_ref()));
    Ok(())
}

/// Splits the arguments into kinds of configs, given by their names, and the folder of texts, given by its path.
fn asked(what: &[String]) -> Result<(Vec<ConfigKind>, String), Failure> {
    let kind = |word: &String| match word.as_str() {
        "prepare" => Some(ConfigKind::Prepare),
        "pretrain" => Some(ConfigKind::Pretrain),
        "finetune" => Some(ConfigKind::Finetune),
        _ => None,
    };
    let here = || ".".to_owned();
    match what {
        [] => Ok((Vec::new(), here())),
        [only] => Ok(match kind(only) {
            Some(kind) => (vec![kind], here()),
            None => (Vec::new(), only.clone()),
        }),
        [first, folder, ..] => match kind(first) {
            Some(kind) => Ok((vec![kind], folder.clone())),
            None => Err(Failure::usage(anyhow!(
                "`{first}` is not a config: expected `prepare`, `pretrain` or `finetune` before the folder `{folder}`"
            ))),
        },
    }
}

/// Returns the commands to run next on the written configs, as lines of text.
fn next(init: &Init, sized: Option<&PretrainingSize>) -> String {
    let mut text = String::from("Next, after a look at the configs:");
    for (kind, path) in init.kinds().iter().zip(init.paths()) {
        let file = shell_word(&path.display().to_string());
        text += &format!("\n  polymath {} {file}", kind.name());
        match (kind, sized) {
            (ConfigKind::Pretrain, Some(sized)) => text += &format!("    # {}", sized.time()),
            (ConfigKind::Finetune, _) => text += "    # `--dry-run` says how long",
            _ => {}
        }
    }
    if init.kinds().contains(&ConfigKind::Pretrain) && init.found.niches.is_empty() {
        text += &format!(
            "\nNo conversations or prompts were found, so that there is no config of a fine-tuning. After the pretraining, with a \
             text to specialize in:\n  polymath tune {} TEXT --retain {}",
            shell_word(&init.run()),
            shell_word(&init.dataset())
        );
    }
    text
}

/// Prints a config with every key, commented.
pub fn print_schema(arguments: &arguments::Schema) -> Result<(), Failure> {
    let kind = match arguments.command {
        ConfigChoice::Prepare => ConfigKind::Prepare,
        ConfigChoice::Pretrain => ConfigKind::Pretrain,
        ConfigChoice::Finetune => ConfigKind::Finetune,
        ConfigChoice::Frontier => ConfigKind::Frontier,
        ConfigChoice::Transfer => ConfigKind::Transfer,
    };
    results::print(kind.schema())
}
