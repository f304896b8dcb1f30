//! Text of a model card.

use std::borrow::Cow;
use std::path::Path;

use polymath_base::counted;
use polymath_data::DomainManifest;
use polymath_report::untrusted::{block, code, inline, printable};

use super::facts::Facts;
use super::metadata::is_on_the_hub;
use super::paths::{shown, without_local_paths};
use crate::shell_word;
use polymath_report::duration;

/// Returns the text of the card, from the title to the commands that use the model.
pub fn render(facts: &Facts) -> String {
    let mut text = format!("# {}\n\n{}\n", inline(name(facts)), description(facts));
    text += &training(facts);
    text += &scores(facts);
    text += &usage(facts);
    text += &reproduction(facts);
    text
}

/// Returns the title: the run's name if the folder is a checkpoint of a run, or else the last part of its location.
pub fn name(facts: &Facts) -> &str {
    let parts = facts.place.trim_end_matches('/').rsplit('/');
    let is_checkpoint =
        |part: &&str| ["best", "latest"].contains(part) || part.starts_with("step-");
    parts
        .clone()
        .find(|part| !is_checkpoint(part))
        .unwrap_or(&facts.place)
}

/// Returns the name of the base, as a link if it is on the hub.
fn base_name(facts: &Facts) -> Option<String> {
    let base = facts.base.as_ref()?;
    if !is_on_the_hub(&base.name) {
        return Some(code(&shown(Path::new(&base.name))));
    }
    // A repository id consists of letters, digits and `-_.`, so the link is safe.
    let link = format!(
        "[{}](https://huggingface.co/{})",
        inline(&base.name),
        base.name
    );
    Some(match &base.revision {
        Some(revision) => format!("{link} at {}", code(revision)),
        None => link,
    })
}

fn description(facts: &Facts) -> String {
    let model = &facts.model;
    let shape = format!(
        "{} parameters: {} of width {}, {} query and {} key/value heads, a vocabulary of {} tokens, a context of {}",
        millions(model.parameter_count()),
        counted(model.num_hidden_layers as u64, "layer"),
        model.hidden_size,
        model.num_attention_heads,
        model.num_key_value_heads,
        model.vocab_size,
        model.max_position_embeddings
    );
    let base = base_name(facts).unwrap_or_else(|| "a base".into());
    match (&facts.adapter, &facts.lineage) {
        (Some(adapter), _) => {
            let kind = if adapter.dora { "DoRA" } else { "LoRA" };
            let parameters = adapter.parameter_shapes(model);
            let own: usize = parameters
                .iter()
                .map(|(_, shape)| shape.iter().product::<usize>())
                .sum();
            let niche = match &facts.lineage {
                Some(lineage) => format!(" It was trained on *{}*.", inline(&lineage.niche)),
                None => String::new(),
            };
            format!(
                "A {kind} adapter of rank {} ({} parameters) for {base}, a language model of {shape}.{niche}",
                adapter.rank,
                millions(own as u64)
            )
        }
        (None, Some(lineage)) => format!(
            "A language model of {shape}. It was fine-tuned ({}) from {base} on *{}*.",
            inline(&lineage.method),
            inline(&lineage.niche)
        ),
        (None, None) => format!("A language model of {shape}."),
    }
}

/// Formats a count, rounded to thousands, millions or billions.
fn millions(count: u64) -> String {
    match count {
        0..10_000 => count.to_string(),
        10_000..1_000_000 => format!("{:.0} thousand", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} million", count as f64 / 1e6),
        _ => format!("{:.1} billion", count as f64 / 1e9),
    }
}

fn training(facts: &Facts) -> String {
    let mut text = String::new();
    let mut rows = String::new();
    for dataset in &facts.datasets {
        for (domain, manifest) in &dataset.manifest().domains {
            rows += &row(facts, domain, manifest);
        }
    }
    if let Some(state) = &facts.state {
        text += &format!(
            "\nThis checkpoint was saved at step {}, after {} tokens and {} of training, with seed {}.\n",
            state.step,
            millions(state.tokens),
            duration(state.seconds),
            state.seed
        );
    }
    if !rows.is_empty() {
        text += "\n| domain | | training text | tokens | held-out |\n|---|---|--:|--:|--:|\n";
        text += &rows;
    }
    match text.is_empty() {
        true => text,
        false => format!("\n## Training data\n{text}"),
    }
}

/// Returns the table row of a domain: its role in the run and the size of its splits.
fn row(facts: &Facts, domain: &str, manifest: &DomainManifest) -> String {
    let share = facts.shares.iter().find(|(name, _)| name == domain);
    let role = match (&facts.lineage, share) {
        (Some(lineage), _) if lineage.niche == domain => "niche".into(),
        (Some(_), _) => "retained".into(),
        (None, Some((_, share))) => format!("{:.1} % of the training tokens", share * 100.0),
        (None, None) => "not trained on".to_owned(),
    };
    format!(
        "| {} | {role} | {} | {} | {} |\n",
        inline(domain),
        polymath_base::bytes_text(manifest.train.bytes),
        millions(manifest.train.tokens),
        counted(manifest.heldout.documents, "document")
    )
}

fn scores(facts: &Facts) -> String {
    if let Some((run, settings)) = &facts.report {
        return format!(
            "\n## Gain and forgetting\n\n{}\n\nBits per byte on held-out documents, lower is better, each \
             document scored by the base and by this model with a context of {} tokens. The intervals are paired bootstraps \
             over groups of documents; *kept* and *forgotten* hold at a tolerance of {} bits per byte, with Holm's correction over \
             all tests of the report.\n\n{}",
            inline(&run.headline()),
            settings.context,
            settings.tolerance,
            run.markdown()
        );
    }
    let Some(point) = &facts.scores else {
        return String::new();
    };
    let evaluation = facts
        .config
        .as_ref()
        .and_then(|config| config.get("evaluation"));
    let tokens = evaluation.and_then(|table| table.get("max_tokens")?.as_integer());
    let limit = tokens.map_or(String::new(), |tokens| {
        format!(" on at most {tokens} held-out tokens per domain")
    });
    let mut text = format!(
        "\n## Scores\n\nBits per byte on held-out documents when the checkpoint was saved{limit}. Lower is better.\n\n| domain | bits per byte |\n|---|--:|\n"
    );
    for (domain, bits) in &point.heldout_bits_per_byte {
        text += &format!("| {} | {bits:.3} |\n", inline(domain));
    }
    text
}

fn usage(facts: &Facts) -> String {
    let place = python(&facts.place);
    let load = match &facts.adapter {
        Some(_) => format!(
            "from peft import AutoPeftModelForCausalLM\nfrom transformers import AutoTokenizer\n\n\
             model = AutoPeftModelForCausalLM.from_pretrained({place})\n"
        ),
        None => format!(
            "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n\
             model = AutoModelForCausalLM.from_pretrained({place})\n"
        ),
    };
    let encode = match facts.begin {
        Some(_) => {
            "inputs = tokenizer(tokenizer.bos_token + prompt, add_special_tokens=False, return_tensors=\"pt\")\n"
        }
        None => "inputs = tokenizer(prompt, return_tensors=\"pt\")\n",
    };
    let script = format!(
        "{load}tokenizer = AutoTokenizer.from_pretrained({place})\nprompt = \"…\"\n{encode}\
         print(tokenizer.decode(model.generate(**inputs, max_new_tokens=64)[0]))\n"
    );
    let command = format!(
        "polymath generate {} --prompt \"…\"\n",
        shell_word(&facts.place)
    );
    let mut text = format!(
        "\n## Usage\n\n{}\n{}",
        block("python", &script),
        block("sh", &command)
    );
    if let Some(begin) = &facts.begin {
        text += &format!(
            "\nEvery training document began with {}, so begin prompts with it.\n",
            code(begin)
        );
    }
    if facts.chats {
        text += "\nThe tokenizer has a chat template: `tokenizer.apply_chat_template`.\n";
    }
    text
}

fn reproduction(facts: &Facts) -> String {
    let Some(config) = &facts.config else {
        return String::new();
    };
    let command = match facts.lineage {
        Some(_) => "finetune",
        None => "pretrain",
    };
    let mut commands = format!("polymath {command} run.toml\n");
    if let (Some(base), Some(run)) = (&facts.base, config.get("run").and_then(toml::Value::as_str))
    {
        let [base, run] = [base.name.as_str(), run].map(|path| shell_word(&shown(Path::new(path))));
        commands += &format!("polymath report {base} {run} -o report\n");
    }
    let config = without_local_paths(&toml::Value::Table(config.clone()));
    let mut text = format!(
        "\n## Reproduction\n\n{}\n`run.toml`:\n\n{}",
        block("sh", &commands),
        block("toml", &toml::to_string(&config).unwrap_or_default())
    );
    for dataset in &facts.datasets {
        text += &format!(
            "\nThe dataset {} was prepared from sources and settings with the digest {}.\n",
            code(&shown(dataset.path())),
            code(&dataset.manifest().source)
        );
    }
    let version = facts
        .state
        .as_ref()
        .map(|state| state.program_version.as_str());
    text += &format!(
        "\nMade with Polymath {}, which gives bit-identical results for the same configuration, data and machine.\n",
        inline(version.unwrap_or(env!("CARGO_PKG_VERSION")))
    );
    text
}

/// Quotes a string as a Python literal.
fn python(text: &str) -> String {
    // Python reads JSON's escapes; other unprintable characters are escaped too.
    let quoted = serde_json::Value::from(text).to_string();
    let shown = |sign: char| match printable(sign.encode_utf8(&mut [0; 4])) {
        Cow::Borrowed(_) => sign.to_string(),
        Cow::Owned(_) => format!("\\u{:04x}", u32::from(sign)),
    };
    quoted.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the unit of a count: from ten thousand, a million and a billion on.
    #[test]
    fn counts_have_their_unit() {
        let counts = [
            9999,
            10_000,
            36_384,
            1_000_000,
            1_260_000,
            1_000_000_000,
            2_460_000_000,
        ];
        assert_eq!(
            counts.map(millions),
            [
                "9999",
                "10 thousand",
                "36 thousand",
                "1.0 million",
                "1.3 million",
                "1.0 billion",
                "2.5 billion"
            ]
        );
    }

    /// Checks that any folder name stays one shell word and one Python string.
    #[test]
    fn commands_and_scripts_are_quoted() {
        assert_eq!(shell_word("runs/small/best"), "runs/small/best");
        assert_eq!(shell_word("a b"), "'a b'");
        assert_eq!(shell_word("x'; rm -rf /"), "'x'\\''; rm -rf /'");
        assert_eq!(shell_word("-o"), "'-o'");
        assert_eq!(python("runs/small"), "\"runs/small\"");
        assert_eq!(python("a\"b\n\u{202e}"), "\"a\\\"b\\n\\u202e\"");
    }
}
