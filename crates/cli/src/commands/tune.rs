//! `polymath tune`: from a base and text to a model to talk with.

use std::error::Error;
use std::path::Path;

use polymath_data::{Dataset, PreparationProgress};
use polymath_eval::statistics::LimitVerdict;
use polymath_finetune::{Finetuning, Method};
use polymath_study::tune::{Tune, TuneEnd, TuneRequest, TuneRunner, ollama_name};
use polymath_study::{Runner, shell_word};
use polymath_train::{Launch, Observer};

use super::sweep::ConsoleRunner;
use super::{finetune, prepare, pretrain};
use crate::arguments;
use crate::console::StudyConsole;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::results;

/// Runs the steps of the tuning; with `--dry-run`, only prints their cost.
pub fn run(arguments: &arguments::Tune, environment: &Environment) -> Result<(), Failure> {
    let tune = Tune::open(request(arguments), arguments.output.clone())?;
    let runner = TuneConsole {
        console: ConsoleRunner::new(environment, false),
        environment,
    };
    if arguments.dry_run {
        let inspected = tune.inspect(&runner)?;
        return finetune::print_cost(&inspected.finetuning, &tune.folder().run(), environment);
    }
    let progress = StudyConsole::new(environment);
    let setup = environment.setup(&progress);
    let end = tune.run(&runner, &setup)?;
    announce(&tune, &end, environment);
    let is_asked = arguments.limits.is_some() || !tune.request().retain.is_empty();
    decide(end.verdict.map(|verdict| verdict.verdict()), is_asked)
}

/// Returns the failure that a verdict means. The verdict on the default budget, on text that the base generates, is
/// printed alone: nobody asked for that budget, and the model is complete.
fn decide(verdict: Option<LimitVerdict>, is_asked: bool) -> Result<(), Failure> {
    match verdict {
        Some(LimitVerdict::Broken) if is_asked => Err(Failure::LimitBroken),
        Some(LimitVerdict::Undecided) if is_asked => Err(Failure::LimitUndecided),
        _ => Ok(()),
    }
}

/// Makes the request from the arguments. An argument `key=value` that is not a path changes the config, at any
/// position.
fn request(arguments: &arguments::Tune) -> TuneRequest {
    let is_setting = |text: &&String| text.contains('=') && !Path::new(text).exists();
    let paths = |texts: &[String]| {
        texts
            .iter()
            .filter(|text| !is_setting(text))
            .cloned()
            .collect()
    };
    let all = arguments.data.iter().chain(&arguments.retain);
    TuneRequest {
        base: arguments.base.clone(),
        data: paths(&arguments.data),
        retain: paths(&arguments.retain),
        limits: arguments.limits.clone().unwrap_or_default(),
        method: match arguments.lora {
            true => Method::Lora,
            false => Method::Full,
        },
        settings: all.filter(is_setting).cloned().collect(),
    }
}

/// Prints the gain and forgetting of the tuned model, and the command to chat with it.
fn announce(tune: &Tune, end: &TuneEnd, environment: &Environment) {
    let folder = tune.folder();
    let mut text = format!("{}\n{}\n", end.report.table(), end.page.display());
    if let Some(verdict) = &end.verdict {
        text += &format!("\n{verdict}\n");
        if !verdict.is_inside() {
            text += "No model was within the limits: the one in the folder is the closest.\n";
        }
    }
    if end.has_no_text {
        text += "`--retain TEXT` applies the budget to text of yours.\n";
    }
    let root = shell_word(&folder.root().display().to_string());
    text += &match (end.chats, end.has_parted_prompts) {
        (true, _) => format!(
            "\nTalk with it and its base side by side, or with it alone:\n  polymath chat {root} {}\n  polymath chat {root}\n",
            shell_word(&end.base)
        ),
        // Without a chat template, a model continues text and knows no turns.
        (false, true) => format!(
            "\nAsk it (a prompt ends in a line break, as in the text):\n  polymath generate {root} --prompt $'…\\n'\n"
        ),
        (false, false) => {
            format!("\nContinue a text with it:\n  polymath generate {root} --prompt \"…\"\n")
        }
    };
    for note in &end.files.notes {
        environment.say(&format!("note: {note}"));
    }
    match &end.files.gguf {
        Ok(file) => {
            let name = ollama_name(folder);
            text += &format!(
                "In llama.cpp:\n  llama-cli -m {}\nIn Ollama (the Modelfile is one line: `FROM ./{}`):\n  ollama create \
                 {name} -f {} && ollama run {name}\n",
                shell_word(&file.display().to_string()),
                file.file_name().unwrap_or_default().to_string_lossy(),
                shell_word(&folder.modelfile().display().to_string())
            );
        }
        Err(reason) => text += &format!("There is no GGUF file of it: {reason}.\n"),
    }
    text += &format!(
        "Go on from here with the ordinary commands: {}, {}",
        folder.prepare_config().display(),
        folder.finetune_config().display()
    );
    results::announce(&text);
}

/// Observer that shows the steps of a tuning on the console.
struct TuneConsole<'a> {
    console: ConsoleRunner<'a>,
    environment: &'a Environment,
}

impl Runner for TuneConsole<'_> {
    fn preparation(&self) -> Box<dyn PreparationProgress + '_> {
        self.console.preparation()
    }

    fn begin(&self) -> Launch {
        self.console.begin()
    }

    fn end(&self) {
        self.console.end();
    }

    fn observer(
        &self,
        title: &str,
        tuning: &Finetuning,
    ) -> Result<Box<dyn Observer>, Box<dyn Error + Send + Sync>> {
        for choice in tuning.choices().iter().chain(&tuning.generation()) {
            self.say(choice);
        }
        let plan = pretrain::fitted(tuning.plan(), self.environment);
        self.say(&pretrain::summary(
            tuning.run_folder(),
            &plan,
            &tuning.config().training,
        ));
        self.console.observer(title, tuning)
    }

    fn say(&self, text: &str) {
        self.environment.say(text);
    }

    fn warn(&self, text: &str) {
        self.console.warn(text);
    }
}

impl TuneRunner for TuneConsole<'_> {
    fn prepared(&self, dataset: &Dataset, folder: &Path) {
        self.say(prepare::summary(dataset, folder).trim_end());
    }
}

#[cfg(test)]
mod tests {
    use polymath_finetune::retention::LimitsConfig;

    use super::*;

    /// Checks that a verdict is the exit code if a budget or text to keep was given, and otherwise none.
    #[test]
    fn a_verdict_decides_the_exit_code_where_a_budget_was_asked_for() {
        let code =
            |verdict, is_asked| decide(verdict, is_asked).map_or_else(|end| end.code(), |()| 0);
        let all = [
            LimitVerdict::Kept,
            LimitVerdict::Undecided,
            LimitVerdict::Broken,
        ];
        assert_eq!(all.map(|verdict| code(Some(verdict), true)), [0, 4, 3]);
        assert_eq!(all.map(|verdict| code(Some(verdict), false)), [0, 0, 0]);
        assert_eq!(code(None, true), 0);
    }

    /// Checks that every argument reaches the request, settings from any position, and that a file whose name has an
    /// equals sign is a file.
    #[test]
    fn every_argument_reaches_the_request() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a=b.txt").display().to_string();
        std::fs::write(&file, "text").unwrap();
        let texts =
            |texts: &[&str]| -> Vec<String> { texts.iter().map(|&text| text.into()).collect() };
        let limits = [("default".to_owned(), 0.03)];
        let mut arguments = arguments::Tune {
            base: "base".into(),
            data: texts(&["training.steps=3", "chat.jsonl", &file]),
            output: None,
            retain: texts(&["law", "fields.text=body", &file]),
            limits: Some(limits.clone().into_iter().collect()),
            lora: true,
            dry_run: false,
        };
        let mut expected = TuneRequest {
            base: "base".into(),
            data: texts(&["chat.jsonl", &file]),
            retain: texts(&["law", &file]),
            limits: limits.into_iter().collect(),
            method: Method::Lora,
            settings: texts(&["training.steps=3", "fields.text=body"]),
        };
        assert_eq!(request(&arguments), expected);
        (arguments.limits, arguments.lora) = (None, false);
        (expected.limits, expected.method) = (LimitsConfig::new(), Method::Full);
        assert_eq!(request(&arguments), expected);
    }
}
