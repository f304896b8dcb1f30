//! Test of a whole model card, line by line.

use serde_json::Value;

use crate::support::fixture::{finetune, polymath, prepare, read_json, records, succeed};

/// Checks every line of the card of a fine-tuning: the front matter, the run, its data, the report, the commands and
/// the config.
#[test]
fn a_card_tells_the_whole_run() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    finetune(at, "full", &[]).assert().success();
    let report = [
        "report",
        "runs/base",
        "runs/full",
        "-o",
        "report",
        "--tolerance",
        "0.07",
    ];
    succeed(at, &report);
    let export = [
        "export",
        "runs/full",
        "--card",
        "card.md",
        "--report",
        "report",
        "--license",
        "mit",
    ];
    succeed(at, &export);
    let card = std::fs::read_to_string(at.join("card.md")).unwrap();

    let output = polymath(at)
        .args([
            "evaluate",
            "runs/full",
            "--dataset",
            "data",
            "--split",
            "test",
            "--json",
        ])
        .output()
        .unwrap();
    let scores: Value = serde_json::from_slice(&output.stdout).unwrap();
    let manifest = read_json(&at.join("data/dataset.json"));
    let domains = ["asked", "counting", "letters"];
    let indexed: String = domains
        .iter()
        .map(|name| {
            let bits = scores["domains"][*name]["bits_per_byte"].as_f64().unwrap();
            let value = (bits * 1e4).round() / 1e4;
            format!(
                "  - task:\n      type: text-generation\n    dataset:\n      type: {name}\n      name: {name}, held-out documents\n    \
                 metrics:\n    - type: bits_per_byte\n      name: bits per byte\n      value: {value}\n"
            )
        })
        .collect();
    let rows: String = domains
        .iter()
        .map(|name| {
            let domain = &manifest["domains"][*name];
            let count = |value: &Value| value.as_f64().unwrap();
            let tokens = match count(&domain["train"]["tokens"]) {
                few if few < 1e4 => few.to_string(),
                many => format!("{:.0} thousand", many / 1e3),
            };
            let role = if *name == "asked" {
                "niche"
            } else {
                "retained"
            };
            format!(
                "| {name} | {role} | {:.0} kB | {tokens} | {} documents |\n",
                count(&domain["train"]["bytes"]) / 1e3,
                domain["heldout"]["documents"]
            )
        })
        .collect();
    let markdown = std::fs::read_to_string(at.join("report/report.md")).unwrap();
    let table = |from: &str| {
        let lines = markdown.lines().skip_while(|line| !line.starts_with(from));
        lines
            .take_while(|line| line.starts_with('|'))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let table = table("| domain | base | tuned |");
    let headline = read_json(&at.join("report/report.json"))["runs"][0].clone();
    let summary = &headline["summary"];
    let signed = |value: &Value| format!("{:+.3}", value.as_f64().unwrap()).replace('-', "−");
    let ends = |value: &Value| format!("[{}, {}]", signed(&value[0]), signed(&value[1]));
    let (gain, mean, worst) = (
        &summary["niche_gain"],
        &summary["mean_forgetting"],
        &summary["worst_forgetting"],
    );
    let config = std::fs::read_to_string(at.join("runs/full/run.toml")).unwrap();
    let seconds = read_json(&at.join("runs/full/best/state.json"))["seconds"]
        .as_f64()
        .unwrap();

    let (before, rest) = card.split_once("## Gain and forgetting\n\n").unwrap();
    assert_eq!(
        before,
        format!(
            "---\nlicense: mit\nlibrary_name: transformers\npipeline_tag: text-generation\ntags:\n- polymath\n- full\n- asked\n\
             - forgetting\nmodel-index:\n- name: full\n  results:\n{indexed}---\n\n# full\n\n\
             A language model of 36 thousand parameters: 2 layers of width 32, 4 query and 4 key/value heads, a vocabulary of 300 \
             tokens, a context of 48. It was fine-tuned (full) from `runs/base/best` on *asked*.\n\n\
             ## Training data\n\nThis checkpoint was saved at step 20, after 3840 tokens and {seconds:.0} s of training, with seed 1.\n\n\
             | domain | | training text | tokens | held-out |\n|---|---|--:|--:|--:|\n{rows}\n"
        )
    );
    let (headline, rest) = rest.split_once("\n\n").unwrap();
    assert!(
        headline.starts_with("full gained ") && headline.contains("asked"),
        "{headline}"
    );
    let (report, rest) = rest.split_once("\n\n## Usage\n\n").unwrap();
    let begin = "Bits per byte on held-out documents, lower is better, each document scored by the base and by this model with a \
                 context of 48 tokens. The intervals are paired bootstraps over groups of documents; *kept* and *forgotten* hold at a \
                 tolerance of 0.07 bits per byte, with Holm's correction over all tests of the report.";
    let sums = format!(
        "Niche gain: {} {} bits per byte.\n\nMean forgetting: {} {} bits per byte.\n\nWorst: {} {}, no retained domain above {} (95 %).",
        signed(&gain["value"]),
        ends(&gain["interval"]),
        signed(&mean["value"]),
        ends(&mean["interval"]),
        worst["domain"].as_str().unwrap(),
        signed(&worst["change"]),
        signed(&worst["bound"])
    );
    assert_eq!(report, format!("{begin}\n\n{table}\n\n{sums}"));
    let (usage, rest) = rest.split_once("\n\n## Reproduction\n\n").unwrap();
    assert_eq!(
        usage,
        "```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n\
         model = AutoModelForCausalLM.from_pretrained(\"runs/full/best\")\n\
         tokenizer = AutoTokenizer.from_pretrained(\"runs/full/best\")\nprompt = \"…\"\n\
         inputs = tokenizer(tokenizer.bos_token + prompt, add_special_tokens=False, return_tensors=\"pt\")\n\
         print(tokenizer.decode(model.generate(**inputs, max_new_tokens=64)[0]))\n```\n\n\
         ```sh\npolymath generate runs/full/best --prompt \"…\"\n```\n\n\
         Every training document began with `<|endoftext|>`, so begin prompts with it."
    );
    let (commands, rest) = rest.split_once("`run.toml`:\n\n```toml\n").unwrap();
    assert_eq!(
        commands,
        "```sh\npolymath finetune run.toml\npolymath report runs/base/best runs/full -o report\n```\n\n"
    );
    let (shown, end) = rest.split_once("```\n").unwrap();
    assert_eq!(
        shown.parse::<toml::Table>().unwrap(),
        config.parse::<toml::Table>().unwrap()
    );
    let digest = manifest["source"].as_str().unwrap();
    assert_eq!(
        end,
        format!(
            "\nThe dataset `data` was prepared from sources and settings with the digest `{digest}`.\n\n\
             Made with Polymath 0\\.1.0, which gives bit-identical results for the same configuration, data and machine.\n"
        )
    );
}

/// Checks the description, the shares of the training text and the scores of the cards of a pretraining and of an
/// adapter, without a report, against manifest and metrics.
#[test]
fn cards_without_a_report_have_the_scores_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let lora = ["method=lora", "lora.rank=2", "training.steps=10"];
    finetune(at, "lora", &lora).assert().success();
    let manifest = read_json(&at.join("data/dataset.json"));
    let count = |name: &str, key: &str| {
        let value = &manifest["domains"][name]["train"][key];
        value.as_f64().unwrap()
    };
    let trained = count("counting", "tokens") + count("letters", "tokens");
    let share = |name: &str| {
        let share = count(name, "tokens") / trained * 100.0;
        format!("{share:.1} % of the training tokens")
    };
    let of_base = [
        ("asked", "not trained on".to_owned()),
        ("counting", share("counting")),
        ("letters", share("letters")),
    ];
    let of_adapter = [
        ("asked", "niche"),
        ("counting", "retained"),
        ("letters", "retained"),
    ];
    let of_adapter = of_adapter.map(|(name, role)| (name, role.to_owned()));
    let shape = "36 thousand parameters: 2 layers of width 32, 4 query and 4 key/value heads, a vocabulary of 300 tokens, a \
                 context of 48.";
    // In 2 layers, two matrices of rank 2 beside each of the 3 projections between 32 and 96.
    let adapter = 2 * 2 * 3 * (32 + 96);
    let described = format!(
        "A LoRA adapter of rank 2 ({adapter} parameters) for `runs/base/step-000030`, a language model of {shape} It was trained \
         on *asked*."
    );
    for (run, steps, described, roles, class) in [
        (
            "base",
            30,
            format!("A language model of {shape}"),
            of_base,
            "AutoModelForCausalLM",
        ),
        (
            "lora",
            10,
            described,
            of_adapter,
            "AutoPeftModelForCausalLM",
        ),
    ] {
        let file = format!("{run}.md");
        succeed(at, &["export", &format!("runs/{run}"), "--card", &file]);
        let card = std::fs::read_to_string(at.join(file)).unwrap();
        let rows: String = roles
            .iter()
            .map(|(name, role)| {
                let tokens = match count(name, "tokens") {
                    few if few < 1e4 => few.to_string(),
                    many => format!("{:.0} thousand", many / 1e3),
                };
                format!(
                    "| {name} | {role} | {:.0} kB | {tokens} | {} documents |\n",
                    count(name, "bytes") / 1e3,
                    manifest["domains"][*name]["heldout"]["documents"]
                )
            })
            .collect();
        let last = records(&at.join("runs").join(run)).pop().unwrap();
        let scores: String = roles
            .iter()
            .map(|(name, _)| {
                let bits = last["heldout_bits_per_byte"][*name].as_f64().unwrap();
                format!("| {name} | {bits:.3} |\n")
            })
            .collect();
        let state = read_json(&at.join("runs").join(run).join("best/state.json"));
        let seconds = state["seconds"].as_f64().unwrap();
        let (_, text) = card.split_once("---\n\n").unwrap();
        let (text, usage) = text.split_once("\n## Usage\n").unwrap();
        assert_eq!(
            text,
            format!(
                "# {run}\n\n{described}\n\n## Training data\n\nThis checkpoint was saved at step {steps}, after {} tokens and \
                 {seconds:.0} s of training, with seed 1.\n\n| domain | | training text | tokens | held-out |\n\
                 |---|---|--:|--:|--:|\n{rows}\n## Scores\n\nBits per byte on held-out documents when the checkpoint was saved on \
                 at most 500 held-out tokens per domain. Lower is better.\n\n| domain | bits per byte |\n|---|--:|\n{scores}",
                steps * 4 * 48
            )
        );
        let load = format!("model = {class}.from_pretrained(\"runs/{run}/best\")\n");
        assert!(usage.contains(&load), "{usage}");
        let library = if run == "lora" {
            "peft"
        } else {
            "transformers"
        };
        assert!(
            card.contains(&format!("\nlibrary_name: {library}\n")),
            "{card}"
        );
    }
}
