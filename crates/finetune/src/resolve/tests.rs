//! Tests of the defaults that a config of a fine-tuning gets.

use polymath_train::{Interval, Length, OptimizerChoice};

use super::*;
use crate::training_defaults::STEPS;

const FACTS: BaseFacts = BaseFacts {
    context: 512,
    parameters: 1_000_000,
    optimizer: None,
    fitting: None,
    epoch_tokens: 100_000,
    scored_tokens: 0,
    padding: 0.0,
};

fn read(text: &str) -> FinetuneConfig {
    toml::from_str(&format!(
        "base = \"b\"\ntexts = [\"t\"]\nrun = \"r\"\n{text}"
    ))
    .unwrap()
}

/// Checks that a config needs only three keys: length, batch size and learning rate follow from the niche and the
/// base.
#[test]
fn a_config_of_three_lines_suffices() {
    let small = read("").resolve(&FACTS).unwrap();
    assert_eq!(small.training.length, Length::Tokens(300_000));
    assert_eq!(
        (small.training.batch_size, small.training.sequence_length),
        (8, 256)
    );
    assert_eq!(small.training.learning_rate, 1e-3);
    assert!(small.choices[0].starts_with("length: 300000 tokens"));
    let total = small.training.total_steps(0.0);
    assert!(total >= STEPS, "{total}");
    assert_eq!(small.evaluation.every, Interval::Steps(total / 20));
    let large = BaseFacts {
        parameters: 135_000_000,
        epoch_tokens: 20_000_000,
        context: 128,
        ..FACTS
    };
    let large = read("method = \"lora\"").resolve(&large).unwrap();
    assert_eq!(large.training.length, Length::Tokens(20_000_000));
    assert_eq!(
        (large.training.batch_size, large.training.sequence_length),
        (16, 128)
    );
    assert_eq!(large.training.learning_rate, 1e-3);
    assert_eq!(large.lora, Some(LoraConfig::default()));
}

/// Checks that a milestone after the last step is told at the start.
#[test]
fn unreached_milestones_are_told() {
    let told = |milestone: u64| {
        let text = format!("[training]\nsteps = 40\n[checkpoint]\nmilestones = [{milestone}]");
        let choices = read(&text).resolve(&FACTS).unwrap().choices;
        choices
            .iter()
            .any(|said| said.contains("checkpoint.milestones"))
    };
    assert!(told(41) && !told(40));
}

/// Checks that a config that sets tokens or steps gets the fixed default batch size, for any base and niche, and
/// the same learning rate as a config that sets no length.
#[test]
fn a_given_length_keeps_rows() {
    let facts = BaseFacts {
        parameters: 135_000_000,
        ..FACTS
    };
    for length in ["steps = 40", "tokens = 9000"] {
        let config = read(&format!("[training]\n{length}"))
            .resolve(&facts)
            .unwrap();
        let training = &config.training;
        assert_eq!((training.batch_size, training.learning_rate), (16, 1e-4));
        assert!(!config.choices.iter().any(|said| said.starts_with("length")));
    }
}

/// Checks that a number of passes over a small niche leaves as many steps as it can: its rows are those of a config
/// without a length.
#[test]
fn passes_choose_rows_by_the_niche() {
    let facts = BaseFacts {
        epoch_tokens: 5_000,
        ..FACTS
    };
    let rows = |text: &str| {
        let config = read(text).resolve(&facts).unwrap();
        config.training.batch_size
    };
    assert_eq!(rows(""), 4);
    assert_eq!(rows("[training]\nepochs = 1"), 4);
    assert_eq!(rows("[training]\nepochs = 200"), 16);
    assert_eq!(rows("[training]\nepochs = 1\nbatch_size = 2"), 2);
}

/// Checks how often a run of 400 steps of 16 rows of 64 tokens is evaluated by default: twenty times if an evaluation
/// is cheap, five times if it takes long, and as often as a quarter of the time allows in between. With limits it is
/// sixteen and eight times. An interval that the config sets is kept.
#[test]
fn expensive_evaluations_are_rare() {
    let every = |scored_tokens: u64, text: &str| {
        let facts = BaseFacts {
            scored_tokens,
            ..FACTS
        };
        let lines = format!("[training]\nsteps = 400\nsequence_length = 64\n{text}");
        read(&lines).resolve(&facts).unwrap().evaluation.every
    };
    let limits = "[retention.limits]\ndefault = 0.02";
    // 3 · 409 600 tokens make a quarter of 307 200; an evaluation of 25 920 tokens and a checkpoint of 1800 fit 11
    // times.
    for (scored, text, steps) in [
        (0, "", 20),
        (25_920, "", 36),
        (900_000, "", 80),
        (0, limits, 25),
        (25_920, limits, 36),
        (900_000, limits, 50),
        (900_000, "[evaluation]\nevery = 3", 3),
    ] {
        assert_eq!(
            every(scored, text),
            Interval::Steps(steps),
            "{scored} {text}"
        );
    }
}

/// Checks that a saved config contains every default, so that resolving it again changes nothing, for any base and
/// data, and also for a run with limits.
#[test]
fn a_resolved_config_resolves_to_itself() {
    for text in [
        "",
        "method = \"lora\"",
        "[retention.limits]\ndefault = 0.02",
    ] {
        let saved = read(text).resolve(&FACTS).unwrap().to_toml();
        for key in [
            "sequence_length",
            "warmup_steps",
            "learning_rate",
            "max_tokens",
        ] {
            assert!(saved.contains(&format!("{key} = ")), "{key}: {saved}");
        }
        let again: FinetuneConfig = toml::from_str(&saved).unwrap();
        let facts = BaseFacts {
            parameters: 135_000_000,
            optimizer: Some(OptimizerChoice::Muon),
            epoch_tokens: 7,
            scored_tokens: 99_000,
            padding: 0.5,
            fitting: Some(64),
            ..FACTS
        };
        assert_eq!(again.resolve(&facts).unwrap().to_toml(), saved);
    }
}

/// Checks that the saved config has every key that says which text is the niche, with the value that was given.
/// Otherwise a run that is resumed by its `run.toml` would read other text.
#[test]
fn a_saved_config_keeps_every_key_of_the_niche() {
    let config = read(
        "extensions = [\"log\"]\nseparator = \"%\"\non_bad_record = \"skip\"\ngroup = \"record\"\ngroup_field = \"work\"\n\
         heldout_groups = 9\npairs = \"chat\"\nfields = { prompt = \"ask\", response = \"say\" }",
    );
    let given = toml::Table::try_from(&config).unwrap();
    let saved: toml::Table = config.resolve(&FACTS).unwrap().to_toml().parse().unwrap();
    let filled = ["training", "evaluation", "checkpoint"];
    let given = given
        .iter()
        .filter(|(key, _)| !filled.contains(&key.as_str()));
    let keys: Vec<_> = given.collect();
    assert_eq!(keys.len(), 13, "{keys:?}");
    for (key, value) in keys {
        assert_eq!(saved.get(key), Some(value), "{key}");
    }
}

/// Checks that an adapter's step is computed in several parts by default, a step of full fine-tuning in one, and
/// that the config can set the number of parts for both.
#[test]
fn an_adapters_step_is_computed_in_parts() {
    let parts = |text: &str| {
        let config = read(text).resolve(&FACTS).unwrap();
        config.training.accumulation_steps
    };
    let steps = "[training]\nsteps = 40\n";
    assert_eq!(parts(&format!("method = \"lora\"\n{steps}")), 2);
    assert_eq!(
        parts(&format!("method = \"dora\"\n{steps}batch_size = 4")),
        1
    );
    assert_eq!(parts(steps), 1);
    let given = format!("method = \"lora\"\n{steps}accumulation_steps = 8");
    assert_eq!(parts(&given), 8);
}

/// Checks that rows longer than the base's context are refused with an error that gives both lengths.
#[test]
fn rows_longer_than_the_context_are_refused() {
    let config = read("[training]\nsteps = 3\nsequence_length = 600");
    let error = config.resolve(&FACTS).unwrap_err().to_string();
    assert!(
        error.contains("600 is longer than the base's context of 512"),
        "{error}"
    );
}

/// Checks the default learning rates of each size of a base, up to the last parameter of a size, by method and
/// optimizer.
#[test]
fn rates_follow_the_size_of_the_base() {
    let rate = |parameters, text: &str, optimizer| {
        let facts = BaseFacts {
            parameters,
            optimizer,
            ..FACTS
        };
        read(text).resolve(&facts).unwrap().training.learning_rate
    };
    let muon = Some(OptimizerChoice::Muon);
    for (parameters, adamw, of_muon, adapter) in [
        (10_000_000, 1e-3, 3e-3, 1e-2),
        (10_000_001, 1e-4, 3e-4, 1e-3),
        (200_000_000, 1e-4, 3e-4, 1e-3),
        (200_000_001, 5e-5, 1.5e-4, 5e-4),
    ] {
        assert_eq!(rate(parameters, "", None), adamw, "{parameters}");
        assert_eq!(rate(parameters, "", muon), of_muon, "{parameters}");
        let set = "[training]\noptimizer = \"adamw\"";
        assert_eq!(rate(parameters, set, muon), adamw, "{parameters}");
        for method in ["method = \"lora\"", "method = \"dora\""] {
            assert_eq!(rate(parameters, method, muon), adapter, "{parameters}");
        }
        let frozen = "method = \"frozen\"\n[frozen]\ntrain_last_layers = 1";
        assert_eq!(rate(parameters, frozen, muon), of_muon, "{parameters}");
    }
}

/// Checks the number of passes over niches of each size, up to the last token of a size.
#[test]
fn passes_follow_the_size_of_the_niche() {
    for (epoch_tokens, passes) in [
        (1_000_000, 3),
        (1_000_001, 2),
        (5_000_000, 2),
        (5_000_001, 1),
    ] {
        let facts = BaseFacts {
            epoch_tokens,
            ..FACTS
        };
        let length = read("").resolve(&facts).unwrap().training.length;
        assert_eq!(length, Length::Tokens(passes * epoch_tokens));
    }
}

/// Checks every sentence about what a config leaves to the program.
#[test]
fn choices_are_told_whole() {
    let told = |text: &str, optimizer| {
        let facts = BaseFacts {
            parameters: 1_260_000,
            optimizer,
            ..FACTS
        };
        read(text).resolve(&facts).unwrap().choices
    };
    let [adamw, muon] = [OptimizerChoice::Adamw, OptimizerChoice::Muon].map(Some);
    let no_decay = "weight decay: none, since it pulls towards zero and not towards the base (`retention.l2sp` pulls towards the \
                    base)";
    assert_eq!(
        told("", muon),
        [
            "length: 300000 tokens, 3 passes over 100000 of the niche (`training.epochs` sets another)",
            "rows: 8 of 256 tokens in a step (`training.batch_size` sets another number)",
            "optimizer: Muon, with which the base was trained (`training.optimizer` sets another)",
            "learning rate: 3e-3, for `full` with Muon on a base of 1.3 million parameters (`training.learning_rate` sets another)",
            no_decay,
        ]
    );
    let set = "[training]\nsteps = 5\nlearning_rate = 0.5\n";
    let first = |more: &str, optimizer| told(&format!("{set}{more}"), optimizer)[0].clone();
    assert_eq!(
        first("", None),
        "optimizer: AdamW, since nothing beside the base says how it was trained (`training.optimizer` sets another)"
    );
    assert_eq!(
        first("optimizer = \"muon\"", adamw),
        "optimizer: Muon, as set; the base was trained with AdamW, and another optimizer forgets more (leave \
         `training.optimizer` out to take the base's)"
    );
    assert_eq!(first("optimizer = \"muon\"", muon), no_decay);
    assert_eq!(
        told(
            &format!("{set}optimizer = \"adamw\"\nweight_decay = 0.1"),
            adamw
        ),
        [
            "weight decay: 0.1, as set; it pulls the base's weights towards zero, and so forgets (`training.weight_decay = 0` \
          turns it off; `retention.l2sp` pulls towards the base)"
        ]
    );
    let adapter = format!("method = \"lora\"\n{set}");
    let lora = LoraConfig::default();
    assert_eq!(
        told(&adapter, muon),
        [
            "optimizer: AdamW, which trains an adapter's matrices".to_owned(),
            no_decay.to_owned(),
            format!(
                "adapter: rank {} beside {} of every layer (`[lora]` sets others)",
                lora.rank,
                lora.targets.join(", ")
            ),
        ]
    );
    assert_eq!(
        told(
            &format!("{adapter}optimizer = \"muon\"\nweight_decay = 0.1\n[lora]\nrank = 2"),
            muon
        ),
        [
            "optimizer: AdamW; `training.optimizer` = `muon` is for the base's own matrices, and an adapter's are trained by \
          AdamW"
        ]
    );
}
