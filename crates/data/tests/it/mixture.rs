//! Tests of resolving a mixture.

use polymath_data::{DomainSize, MixtureConfig};
use proptest::prelude::*;

fn sizes(tokens: &[u64]) -> Vec<DomainSize> {
    let named = tokens.iter().zip('a'..);
    named
        .map(|(&tokens, name)| DomainSize {
            name: name.into(),
            tokens,
        })
        .collect()
}

/// Returns the shares of the domains `a`, `b`, … with these numbers of tokens, under the config in `json`, for a run
/// of `planned` tokens.
fn shares(json: &str, tokens: &[u64], planned: u64) -> Result<Vec<f64>, String> {
    let config: MixtureConfig = serde_json::from_str(json).unwrap();
    let shares = config.resolve(&sizes(tokens), planned);
    let shares = shares.map_err(|error| error.to_string())?;
    Ok(shares.iter().map(|share| share.weight).collect())
}

/// Checks that shares are proportional by default, equal with temperature 0, and proportional to square roots with
/// temperature 1/2.
#[test]
fn temperature_runs_from_alike_to_proportional() {
    assert_eq!(shares("{}", &[100, 300], 1), Ok(vec![0.25, 0.75]));
    let alike = shares(r#"{"temperature": 0.0}"#, &[100, 300], 1);
    assert_eq!(alike, Ok(vec![0.5, 0.5]));
    let roots = shares(r#"{"temperature": 0.5}"#, &[100, 900], 1);
    assert_eq!(roots, Ok(vec![0.25, 0.75]));
}

/// Checks that explicit weights are relative and leave out domains that they do not name, and that `domains` selects
/// domains.
#[test]
fn domains_are_chosen_by_name() {
    let config: MixtureConfig = serde_json::from_str(r#"{"weights": {"c": 2, "a": 6}}"#).unwrap();
    let shares = config.resolve(&sizes(&[10, 10, 10]), 40).unwrap();
    let named: Vec<(&str, f64, f64)> = shares
        .iter()
        .map(|share| (share.name.as_str(), share.weight, share.repetitions))
        .collect();
    assert_eq!(named, [("a", 0.75, 3.0), ("c", 0.25, 1.0)]);
    let config: MixtureConfig = serde_json::from_str(r#"{"domains": ["b"]}"#).unwrap();
    let shares = config.resolve(&sizes(&[10, 20]), 40).unwrap();
    assert_eq!((shares.len(), shares[0].name.as_str()), (1, "b"));
}

/// Checks that the excess of a capped domain goes to the others in proportion, within their own caps.
#[test]
fn the_cap_overflows_into_the_others() {
    // With equal shares, each domain would have 100 of 300 tokens. The caps are 20 for `a` and 60 for `b`, so `c`
    // gets the rest.
    let capped = r#"{"temperature": 0.0, "max_repetitions": 2}"#;
    let shares = shares(capped, &[10, 30, 500], 300).unwrap();
    for (share, expected) in shares.iter().zip([20.0, 60.0, 220.0]) {
        assert!((share * 300.0 - expected).abs() < 1e-9, "{shares:?}");
    }
}

/// Checks that contradictions, unknown names and impossible caps are refused, each with its key and a remedy.
#[test]
fn impossible_mixtures_name_the_key() {
    for (json, expected) in [
        (
            r#"{"weights": {"a": 1}, "temperature": 1.0}"#,
            "`mixture.weights`: given together with `mixture.temperature`",
        ),
        (
            r#"{"weights": {"a": 1}, "domains": ["a"]}"#,
            "`mixture.weights`: given together with `mixture.domains`",
        ),
        (r#"{"temperature": 1.5}"#, "`mixture.temperature`: `1.5`"),
        (
            r#"{"max_repetitions": 0}"#,
            "`mixture.max_repetitions`: `0`",
        ),
        (r#"{"max_repetitions": 1}"#, "at least 2.50 repetitions"),
        (
            r#"{"domains": ["d"]}"#,
            "`mixture.domains`: no domain `d` in the dataset, which has `a`, `b`",
        ),
        (r#"{"domains": []}"#, "`mixture.domains`: names no domain"),
        (r#"{"weights": {"a": -1}}"#, "`mixture.weights`: `a = -1`"),
        (r#"{"weights": {"a": 0}}"#, "nothing is left to train on"),
        (r#"{"weights": {"chemistry": 1}}"#, "no domain `chemistry`"),
    ] {
        let error = shares(json, &[10, 30], 100).unwrap_err();
        assert!(error.contains(expected), "{json}: {error}");
    }
    for json in [
        "{}",
        r#"{"temperature": 0.0}"#,
        r#"{"domains": ["b"]}"#,
        r#"{"weights": {"b": 1}}"#,
    ] {
        let error = shares(json, &[10, 0], 100).unwrap_err();
        assert_eq!(error, "domain `b`: no tokens to train on");
    }
}

proptest! {
    /// Checks that shares sum to 1 and no share exceeds its cap, and that domains below their caps keep their
    /// proportions.
    #[test]
    fn filling_keeps_to_the_caps(
        tokens in prop::collection::vec(1..1000u64, 1..8),
        temperature in 0.0..1.0f64,
        most in 0.1..5.0f64,
        planned in 1..2000u64,
    ) {
        let room = most * tokens.iter().sum::<u64>() as f64 / planned as f64;
        let config = MixtureConfig {
            temperature: Some(temperature),
            max_repetitions: Some(most),
            ..MixtureConfig::default()
        };
        let shares = config.resolve(&sizes(&tokens), planned);
        prop_assume!((room - 1.0).abs() > 1e-6);
        prop_assert_eq!(shares.is_ok(), room > 1.0);
        let Ok(shares) = shares else { return Ok(()) };
        let sum: f64 = shares.iter().map(|share| share.weight).sum();
        prop_assert!((sum - 1.0).abs() < 1e-9, "{sum}");
        let mut relations = Vec::new();
        for (share, &tokens) in shares.iter().zip(&tokens) {
            prop_assert!(share.repetitions <= most + 1e-9);
            if share.repetitions < most - 1e-9 {
                relations.push(share.weight / (tokens as f64).powf(temperature));
            }
        }
        for pair in relations.windows(2) {
            prop_assert!((pair[0] / pair[1] - 1.0).abs() < 1e-9);
        }
    }
}
