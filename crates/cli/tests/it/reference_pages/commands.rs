//! Reference page of commands and flags.

use std::fmt::Write;

use clap::{Arg, ArgAction, Command};

/// Returns the text of the page of commands, made from clap's description of the parser.
pub fn page() -> String {
    let mut root = polymath_cli::command();
    root.build();
    let mut text = String::from(
        "# Commands and flags\n\n<!-- Generated from the parser by `just reference`; a test fails while it is stale. -->\n\n\
         Where a command takes a checkpoint, it takes a checkpoint folder, a run folder (its best checkpoint), or `owner/name[@revision]` of\n\
         the Hugging Face hub. [Exit codes](exit-codes.md) and [environment variables](environment.md) have pages of their own.\n\n\
         ## Flags of every command\n\n",
    );
    let global: Vec<&Arg> = root
        .get_arguments()
        .filter(|arg| arg.is_global_set())
        .collect();
    table(&mut text, "flag", global.iter().copied());
    for command in root.get_subcommands().filter(|command| is_shown(command)) {
        section(&mut text, command, "", 2);
    }
    text
}

fn is_shown(command: &Command) -> bool {
    command.get_name() != "help" && !command.is_hide_set()
}

fn section(text: &mut String, command: &Command, before: &str, level: usize) {
    let name = format!("{before}{}", command.get_name());
    write!(text, "\n{} `{name}`\n\n", "#".repeat(level)).unwrap();
    let about = command.get_long_about().or(command.get_about());
    let about = about.map(ToString::to_string).unwrap_or_default();
    writeln!(
        text,
        "{}.\n",
        about.trim_end_matches('.').replace('\n', " ")
    )
    .unwrap();
    let aliases: Vec<String> = command
        .get_all_aliases()
        .map(|alias| format!("`{alias}`"))
        .collect();
    if !aliases.is_empty() {
        write!(text, "Old name: {}.\n\n", aliases.join(", ")).unwrap();
    }
    let usage = command.clone().render_usage().to_string();
    let usage: Vec<&str> = usage
        .trim_start_matches("Usage: ")
        .lines()
        .map(str::trim)
        .collect();
    write!(text, "```text\n{}\n```\n\n", usage.join("\n")).unwrap();
    let shown = |arg: &&Arg| !arg.is_hide_set() && !arg.is_global_set() && !is_builtin(arg);
    let places: Vec<&Arg> = command.get_positionals().filter(shown).collect();
    if !places.is_empty() {
        table(text, "argument", places.into_iter());
        text.push('\n');
    }
    let flags: Vec<&Arg> = command
        .get_opts()
        .chain(command.get_arguments().filter(|arg| is_switch(arg)))
        .filter(shown)
        .collect();
    if !flags.is_empty() {
        table(text, "flag", flags.into_iter());
    }
    for command in command
        .get_subcommands()
        .filter(|command| is_shown(command))
    {
        section(text, command, &format!("{name} "), level + 1);
    }
    while text.ends_with("\n\n") {
        text.pop();
    }
}

fn is_switch(arg: &Arg) -> bool {
    !arg.is_positional() && !arg.get_action().takes_values()
}

fn is_builtin(arg: &Arg) -> bool {
    matches!(
        arg.get_action(),
        ArgAction::Help | ArgAction::HelpLong | ArgAction::HelpShort | ArgAction::Version
    )
}

fn table<'a>(text: &mut String, first: &str, arguments: impl Iterator<Item = &'a Arg>) {
    writeln!(text, "| {first} | default | meaning |\n|---|---|---|").unwrap();
    for arg in arguments {
        let help = arg.get_long_help().or(arg.get_help());
        let mut help = help.map(ToString::to_string).unwrap_or_default();
        let values: Vec<String> = arg
            .get_possible_values()
            .iter()
            .filter(|value| !value.is_hide_set() && arg.get_action().takes_values())
            .map(|value| format!("`{}`", value.get_name()))
            .collect();
        if !values.is_empty() {
            write!(help, ". One of {}", values.join(", ")).unwrap();
        }
        let defaults: Vec<String> = match arg.get_action().takes_values() {
            true => arg
                .get_default_values()
                .iter()
                .map(|value| value.to_string_lossy().into_owned())
                .collect(),
            false => Vec::new(),
        };
        let default = match defaults.join(",") {
            value if value.is_empty() => String::new(),
            value => format!("`{value}`"),
        };
        let help = help.replace('\n', " ").replace('|', "\\|");
        writeln!(
            text,
            "| {} | {default} | {}. |",
            name(arg),
            help.trim_end_matches('.')
        )
        .unwrap();
    }
}

fn name(arg: &Arg) -> String {
    let values: Vec<String> = arg
        .get_value_names()
        .unwrap_or_default()
        .iter()
        .map(|name| format!("<{name}>"))
        .collect();
    if arg.is_positional() {
        return format!("`{}`", values.join(" "));
    }
    let mut names: Vec<String> = arg
        .get_short()
        .map(|short| format!("-{short}"))
        .into_iter()
        .collect();
    names.extend(arg.get_long().map(|long| format!("--{long}")));
    match values.is_empty() || !arg.get_action().takes_values() {
        true => format!("`{}`", names.join("`, `")),
        false => format!("`{} {}`", names.join("`, `"), values.join(" ")),
    }
}
