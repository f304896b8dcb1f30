//! Arguments of `polymath audit`.

use std::path::PathBuf;

use clap::Args;
use polymath_finetune::name_of_texts;
use polymath_model::Precision;
use polymath_study::audit::{OwnText, PROMPTS, TOKENS};

use super::Tasks;
use super::values::at_least_one;

#[derive(Debug, Args)]
pub struct Audit {
    /// Model that the tuned ones started from: a model folder, a run folder, a GGUF file, or a name on the hub.
    pub base: PathBuf,
    /// One or more models or adapters tuned from it, by any program.
    #[arg(required = true)]
    pub tuned: Vec<PathBuf>,
    /// Increase in bits per byte above which a domain counts as forgotten. Exit code 0 if all domains are shown to be
    /// kept, 3 if one is shown to be forgotten, 4 if the text is too little to decide.
    #[arg(long, default_value_t = 0.02)]
    pub limit: f64,
    /// Maximum number of tokens scored per domain. For each 250 of them, the bundled text gives the beginning of one
    /// document. Your own texts give whole documents in a seeded order, up to the first that does not fit.
    #[arg(long, default_value_t = TOKENS, value_name = "N", value_parser = at_least_one::<u64>)]
    pub tokens: u64,
    /// Text of your own as a further domain: a file, folder or glob, named after the file or by `NAME=`. May be given
    /// several times.
    #[arg(long, value_name = "[NAME=]PATH", value_parser = own_text)]
    pub texts: Vec<OwnText>,
    /// Name of the text in `--texts` that the models were tuned for. Its change counts as a gain, not as forgetting.
    #[arg(long, value_name = "NAME")]
    pub niche: Option<String>,
    #[command(flatten)]
    pub tasks: Tasks,
    /// Number of tokens of text that the base generates, as a further domain `self`: its change estimates
    /// KL(base ‖ tuned).
    #[arg(long, value_name = "TOKENS", value_parser = at_least_one::<u64>)]
    pub generate: Option<u64>,
    /// Number of format instructions, and of requests (half of which should be refused), that the models answer if they
    /// have a chat template; 0 for none.
    #[arg(long, default_value_t = PROMPTS, value_name = "N")]
    pub prompts: usize,
    /// Precision of scoring: `f32` or `bf16`; default: `bf16` if the processor has an instruction for it.
    #[arg(long, value_name = "PRECISION")]
    pub precision: Option<Precision>,
    /// Random seed of the bootstrap and of generated text.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Print the content of `audit.json` instead of a table.
    #[arg(long)]
    pub json: bool,
    /// Folder for `audit.html`, `audit.md` and `audit.json`, and for the text.
    #[arg(long, short, value_name = "DIR", default_value = "audit")]
    pub output: PathBuf,
}

/// Parses `NAME=PATH`, or a path that gives the name.
fn own_text(text: &str) -> Result<OwnText, String> {
    let (name, path) = match text.split_once('=') {
        Some((name, path)) if !name.contains(['/', '\\']) => (name.to_owned(), path),
        _ => (name_of_texts(&[text.to_owned()]), text),
    };
    if name.is_empty() || path.is_empty() {
        return Err("expected a path, or `NAME=PATH`".into());
    }
    Ok(OwnText {
        name,
        path: path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_named_or_named_after_its_file() {
        let name = |text: &str| own_text(text).map(|text| (text.name, text.path));
        let named = |name: &str, path: &str| Ok((name.to_owned(), path.to_owned()));
        assert_eq!(name("law=a/b.txt"), named("law", "a/b.txt"));
        assert_eq!(
            name("a/recipes.jsonl.gz"),
            named("recipes", "a/recipes.jsonl.gz")
        );
        assert_eq!(name("a/b=c/mails/"), named("mails", "a/b=c/mails/"));
        assert_eq!(name("a/mails/*.txt"), named("mails", "a/mails/*.txt"));
        for refused in ["", "law=", "=a.txt"] {
            assert!(
                name(refused).unwrap_err().contains("NAME=PATH"),
                "{refused}"
            );
        }
    }
}
