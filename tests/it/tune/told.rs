//! Checks of every line that `polymath tune` prints about its steps, files and configs.

use std::path::Path;

use assert_cmd::assert::Assert;
use toml::Table;

/// Returns the lines of stderr that announce a step.
fn steps(ended: &Assert) -> Vec<String> {
    let text = String::from_utf8(ended.get_output().stderr.clone()).unwrap();
    let lines = text.lines().filter(|line| line.get(1..3) == Some("/5"));
    lines.map(str::to_owned).collect()
}

/// Returns what stdout says below the path of the report.
fn ending(ended: &Assert, page: &str) -> String {
    let text = String::from_utf8(ended.get_output().stdout.clone()).unwrap();
    let (_, ending) = text.split_once(&format!("\n{page}\n")).unwrap();
    ending.to_owned()
}

fn table(at: &Path, name: &str) -> Table {
    let text = std::fs::read_to_string(at.join(name)).unwrap();
    text.parse().unwrap()
}

/// Asserts the steps, the ending and the config of the tuning of all weights of `small` on `chat.jsonl`.
pub fn check_full(at: &Path, ended: &Assert) {
    assert_eq!(
        steps(ended),
        [
            "1/5  Base: open `small`.",
            "2/5  Text: prepare `chat.jsonl` to learn, by `small-chat/prepare.toml`.",
            "3/5  Training: fine-tune all weights on chat, within a forgetting budget of 0.02 bits per byte on text that the \
             base generates, by `small-chat/finetune.toml`.",
            "4/5  Report: score the base and the tuned model on held-out text of chat and of the text that the base generated.",
            "5/5  Files: write `small-chat/small-chat.gguf` for llama.cpp and Ollama.",
        ]
    );
    let said = ending(ended, "small-chat/report/report.html");
    let (verdict, said) = said.split_at(said.find("`--retain").unwrap());
    let limited = "the limits apply to text that the base generated (`self`)";
    assert!(verdict.contains(limited), "{verdict}");
    assert_eq!(
        said,
        "`--retain TEXT` applies the budget to text of yours.\n\n\
         Talk with it and its base side by side, or with it alone:\n  polymath chat small-chat small\n  \
         polymath chat small-chat\nIn llama.cpp:\n  llama-cli -m small-chat/small-chat.gguf\n\
         In Ollama (the Modelfile is one line: `FROM ./small-chat.gguf`):\n  \
         ollama create small-chat -f small-chat/Modelfile && ollama run small-chat\n\
         Go on from here with the ordinary commands: small-chat/prepare.toml, small-chat/finetune.toml\n"
    );
    let modelfile = std::fs::read_to_string(at.join("small-chat/Modelfile")).unwrap();
    assert_eq!(
        modelfile,
        "# ollama create small-chat -f small-chat/Modelfile\nFROM ./small-chat.gguf\n"
    );
    let expected: Table = "base = \"small\"\ndataset = \"small-chat/data\"\ndomain = \"chat\"\nrun = \"small-chat/run\"\n\
         method = \"full\"\n[retention.limits]\ndefault = 0.02\n[retention.replay]\nsource = \"self\"\n\
         share = 0.3333333333333333\ntemperature = 1.0\nbeside = true\ntokens = 300\n[retention.distill]\nstrength = 16.0\ntemperature = 1.0\ncache = \"live\"\n[training]\n\
         steps = 6\nbatch_size = 2\nlearning_rate = 1e-2\n[evaluation]\nmax_tokens = 4000\n"
        .parse()
        .unwrap();
    assert_eq!(table(at, "small-chat/finetune.toml"), expected);
}

/// Asserts the steps and the ending of the tuning of an adapter of `base.gguf` in the folder `my tune`.
pub fn check_adapter(at: &Path, ended: &Assert) {
    assert_eq!(
        steps(ended),
        [
            "1/5  Base: import `base.gguf` into `my tune/base`.",
            "2/5  Text: prepare `chat.jsonl` to learn, by `my tune/prepare.toml`.",
            "3/5  Training: fine-tune an adapter on chat, within a forgetting budget of 0.02 bits per byte on text that the \
             base generates, by `my tune/finetune.toml`.",
            "4/5  Report: score the base and the tuned model on held-out text of chat and of the text that the base generated.",
            "5/5  Files: merge the adapter into `my tune/model`, write `my tune/my tune.gguf` for llama.cpp and Ollama.",
        ]
    );
    assert!(
        ending(ended, "my tune/report/report.html").ends_with(
            "\n  polymath chat 'my tune' 'my tune/base'\n  polymath chat 'my tune'\nIn llama.cpp:\n  \
             llama-cli -m 'my tune/my tune.gguf'\nIn Ollama (the Modelfile is one line: `FROM ./my tune.gguf`):\n  \
             ollama create my-tune -f 'my tune/Modelfile' && ollama run my-tune\n\
             Go on from here with the ordinary commands: my tune/prepare.toml, my tune/finetune.toml\n"
        )
    );
    let modelfile = std::fs::read_to_string(at.join("my tune/Modelfile")).unwrap();
    assert_eq!(
        modelfile,
        "# ollama create my-tune -f 'my tune/Modelfile'\nFROM ./my tune.gguf\n"
    );
    let config = table(at, "my tune/finetune.toml");
    let names = ["base", "dataset", "domain", "run", "method"].map(|key| config[key].as_str());
    let expected = [
        "my tune/base",
        "my tune/data",
        "chat",
        "my tune/run",
        "lora",
    ];
    assert_eq!(names, expected.map(Some));
}

/// Asserts the steps of a tuning in `folder` on `chat.jsonl` with text to keep, given as `kept`, within a budget.
pub fn check_budget(ended: &Assert, folder: &str, kept: &str, budget: &str) {
    assert_eq!(
        steps(ended)[1..4],
        [
            format!("2/5  Text: prepare `chat.jsonl` to learn{kept}, by `{folder}/prepare.toml`."),
            format!(
                "3/5  Training: fine-tune all weights on chat, within a forgetting budget of {budget} bits per byte, by \
                 `{folder}/finetune.toml`."
            ),
            "4/5  Report: score the base and the tuned model on held-out text of chat and of the retained domains."
                .to_owned(),
        ]
    );
    let text = String::from_utf8(ended.get_output().stdout.clone()).unwrap();
    assert!(!text.contains("`--retain TEXT`"), "{text}");
    // A limit may also be broken by a model that was within it on the way.
    let is_closest =
        text.contains("No model was within the limits: the one in the folder is the closest.");
    assert!(
        !is_closest || ended.get_output().status.code() == Some(3),
        "{text}"
    );
}
