//! Test of the methods that a frontier compares if its config names none.

use std::collections::BTreeMap;

use polymath_study::frontier::default_methods;
use toml::Table;

/// Checks the name and the settings of every method, and that the limit is that of the frontier.
#[test]
fn usual_methods_have_their_settings() {
    let expected = [
        (
            "distill",
            "retention.replay = 0.05\nretention.distill.strength = 1.0",
        ),
        ("ewc", "retention.ewc.strength = 10.0"),
        ("full", "method = \"full\""),
        (
            "head",
            "method = \"frozen\"\nfrozen.train_last_layers = 0\nfrozen.train = [\"lm_head\"]",
        ),
        ("l2sp", "retention.l2sp = 0.01"),
        (
            "last-2",
            "method = \"frozen\"\nfrozen.train_last_layers = 2",
        ),
        ("limits", "retention.limits.default = 0.07"),
        (
            "lora-16",
            "method = \"lora\"\nlora.rank = 16\nlora.alpha = 32",
        ),
        ("lora-4", "method = \"lora\"\nlora.rank = 4\nlora.alpha = 8"),
        ("replay-1", "retention.replay = 0.01"),
        ("replay-20", "retention.replay = 0.2"),
        ("replay-5", "retention.replay = 0.05"),
    ];
    let expected: BTreeMap<String, Table> = expected
        .into_iter()
        .map(|(name, text)| (name.to_owned(), text.parse().unwrap()))
        .collect();
    assert_eq!(default_methods(0.07), expected);
}
