//! `polymath completions` and `polymath man-pages`: shell completions and man pages, made from the parser.

use anyhow::Context;

use crate::arguments::{self, help};
use crate::failure::Failure;
use crate::results;

/// Prints the completion script for a shell.
pub fn print(arguments: &arguments::Completions) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut help::command(),
        "polymath",
        &mut script,
    );
    results::print(&String::from_utf8_lossy(&script))
}

/// Writes a man page for each command.
pub fn write_man_pages(arguments: &arguments::ManPages) -> Result<(), Failure> {
    let folder = &arguments.output;
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(help::command(), folder))
        .with_context(|| format!("can't write the pages to `{}`", folder.display()))?;
    results::announce(&folder.display().to_string());
    Ok(())
}
