//! Grouped list of commands in `polymath --help`.

use clap::{Command, CommandFactory};

use super::Arguments;

/// Heading with the commands below it.
struct Group {
    heading: &'static str,
    commands: &'static [&'static str],
}

/// All commands that the help lists, in order.
const GROUPS: [Group; 5] = [
    Group {
        heading: "Pipeline",
        commands: &[
            "tune", "init", "prepare", "pretrain", "finetune", "evaluate", "report", "demo",
        ],
    },
    Group {
        heading: "Inference",
        commands: &["generate", "chat", "serve"],
    },
    Group {
        heading: "Analysis",
        commands: &["audit", "frontier", "transfer", "interpolate", "reset"],
    },
    Group {
        heading: "Sharing",
        commands: &["merge", "export", "import"],
    },
    Group {
        heading: "Tools",
        commands: &[
            "runs",
            "dataset",
            "tokenizer",
            "bench",
            "config",
            "completions",
        ],
    },
];

/// Returns the command tree, with its commands grouped in the help.
pub fn command() -> Command {
    let command = Arguments::command();
    let style = *command.get_styles().get_header();
    let list = list(&command);
    command
        .help_template(format!(
            "{{before-help}}{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{list}\
         {style}Options:{style:#}\n{{options}}{{after-help}}"
        ))
        .after_help("`polymath help <COMMAND>` prints the options of a command and an example.")
}

/// Returns the grouped list of commands, styled for terminals.
fn list(command: &Command) -> String {
    let (heading, literal) = (
        *command.get_styles().get_header(),
        *command.get_styles().get_literal(),
    );
    let names = GROUPS.iter().flat_map(|group| group.commands);
    let width = names.map(|name| name.len()).max().unwrap_or_default();
    let mut text = String::new();
    for group in &GROUPS {
        text += &format!("{heading}{}:{heading:#}\n", group.heading);
        for name in group.commands {
            let Some(found) = command.find_subcommand(name) else {
                continue;
            };
            let about = found.get_about().map(ToString::to_string);
            text += &format!(
                "  {literal}{name}{literal:#}{:pad$}  {}",
                "",
                about.unwrap_or_default(),
                pad = width - name.len()
            );
            for alias in found.get_visible_aliases() {
                text += &format!(" [alias: {alias}]");
            }
            text.push('\n');
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::FromArgMatches;

    use super::*;

    /// Checks that every visible command is listed in exactly one group, with its description.
    #[test]
    fn the_help_lists_every_command_once() {
        let command = command();
        let visible = command
            .get_subcommands()
            .filter(|found| !found.is_hide_set());
        let expected: BTreeSet<&str> = visible.map(Command::get_name).collect();
        let listed: Vec<&str> = GROUPS
            .iter()
            .flat_map(|group| group.commands)
            .copied()
            .collect();
        assert_eq!(listed.iter().copied().collect::<BTreeSet<_>>(), expected);
        assert_eq!(listed.len(), expected.len());
        let help = command.clone().render_help().to_string();
        for name in listed {
            let about = command.find_subcommand(name).unwrap().get_about().unwrap();
            let line = help
                .lines()
                .find(|line| line.trim_start().starts_with(&format!("{name} ")));
            let line = line.unwrap_or_else(|| panic!("{name} is missing in:\n{help}"));
            assert!(line.contains(&about.to_string()), "{line}");
            assert!(line.chars().count() <= 100, "{line}");
        }
        assert!(help.contains("--device <DEVICE>"), "{help}");
    }

    /// Checks that earlier names of commands, flags and values are still accepted.
    #[test]
    fn earlier_names_still_parse() {
        let same = |earlier: &str, now: &str| {
            let parse = |line: &str| {
                let matches = super::command().try_get_matches_from(line.split(' '));
                let matches = matches.unwrap_or_else(|error| panic!("{line}: {error}"));
                format!("{:?}", Arguments::from_arg_matches(&matches).unwrap())
            };
            assert_eq!(parse(earlier), parse(now));
        };
        same(
            "polymath forget a b -o c --half development",
            "polymath report a b -o c --split dev",
        );
        same("polymath revert a b -o c", "polymath reset a b -o c"); // earlier name
        same(
            "polymath evaluate a --split all --ops composed",
            "polymath evaluate a --split heldout --ops reference",
        );
        same(
            "polymath interpolate a b -o c --per-block",
            "polymath interpolate a b -o c --per-layer",
        );
        let train = super::command()
            .try_get_matches_from(["polymath", "evaluate", "a", "--split", "train"]);
        let error = train.unwrap_err().to_string();
        assert!(error.contains("heldout, dev, test, audit"), "{error}");
    }

    /// Checks that the help of every command ends with an example that parses as this command.
    #[test]
    fn every_command_has_an_example_that_parses() {
        let mut checked = 0;
        for found in command().get_subcommands() {
            check(found, &["polymath", found.get_name()], &mut checked);
        }
        assert_eq!(checked, command().get_subcommands().count() + 2);
    }

    fn check(command: &Command, path: &[&str], checked: &mut usize) {
        let help = command.get_after_help().map(ToString::to_string);
        let help = help.unwrap_or_default();
        let example = help
            .strip_prefix("Example:\n  ")
            .and_then(|rest| rest.lines().next());
        let example = example.unwrap_or_else(|| panic!("{path:?}: no example in {help:?}"));
        let words = words(example.split(" > ").next().unwrap_or_default());
        assert_eq!(words[..path.len()], *path, "{example}");
        let matches = super::command().try_get_matches_from(&words);
        let matches = matches.unwrap_or_else(|error| panic!("{example}: {error}"));
        Arguments::from_arg_matches(&matches).unwrap();
        *checked += 1;
        for inner in command.get_subcommands() {
            check(inner, &[path, &[inner.get_name()]].concat(), checked);
        }
    }

    /// Splits a command line into words. Text in single quotes is one word.
    fn words(line: &str) -> Vec<String> {
        let parts = line.split('\'').enumerate();
        let words = parts.flat_map(|(number, part)| match number % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        });
        words.collect()
    }
}
