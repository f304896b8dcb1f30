//! Tests of divergences and of joint comparisons against values by hand.

use std::f64::consts::SQRT_2;
use std::sync::Arc;

use polymath_data::{Batch, ShardWriter, TokenShard};
use polymath_eval::statistics::{Compared, Comparison, Family};
use polymath_eval::{
    DocumentScore, DomainScores, ModelPair, WindowOptions, divergence, score_shard,
};
use polymath_model::Transformer;

use crate::support::machine::{Machine, VOCABULARY};

const DOCUMENTS: [&[u32]; 3] = [&[2, 3, 4, 0], &[9, 2, 0], &[3, 3, 3, 3, 5, 0]];

fn shard() -> Arc<TokenShard> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heldout.safetensors");
    let mut writer = ShardWriter::create(&path, VOCABULARY).unwrap();
    for tokens in DOCUMENTS {
        writer.push(tokens, &[], tokens.len() as u64 - 1).unwrap();
    }
    writer.finish().unwrap();
    Arc::new(TokenShard::open(&path).unwrap())
}

/// Returns the distribution over the vocabulary before each token of a document, by softmax of the logits in f64.
fn distributions(model: &Transformer, tokens: &[u32]) -> Vec<Vec<f64>> {
    let before = [model.config().bos_token_id].into_iter();
    let inputs: Vec<u32> = before
        .chain(tokens.iter().copied())
        .take(tokens.len())
        .collect();
    let batch = Batch {
        document_starts: vec![0; inputs.len()],
        input_ids: inputs,
        targets: tokens.to_vec(),
        rows: 1,
        domains: vec![0],
    };
    let logits = model.logits(&batch).unwrap().flatten_all().unwrap();
    let logits: Vec<f32> = logits.to_vec1().unwrap();
    let row = |row: &[f32]| {
        let masses: Vec<f64> = row.iter().map(|logit| f64::from(*logit).exp()).collect();
        let sum: f64 = masses.iter().sum();
        masses.iter().map(|mass| mass / sum).collect()
    };
    logits.chunks(VOCABULARY).map(row).collect()
}

/// Checks that the divergence is the mean of Σ p·ln(p / q) over all tokens, where the base gives p and the tuned model
/// q.
#[test]
fn a_divergence_is_the_mean_of_its_definition() {
    let (base, tuned) = (
        Machine::from_pairs(&["ab", "bc"]).model(),
        Machine::random(),
    );
    let (mut sum, mut tokens) = (0.0, 0.0);
    for document in DOCUMENTS {
        let pairs = distributions(&base, document).into_iter();
        for (p, q) in pairs.zip(distributions(&tuned, document)) {
            sum += p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum::<f64>();
            tokens += 1.0;
        }
    }
    let models = ModelPair {
        base: &base,
        tuned: &tuned,
    };
    let found = divergence(models, &shard(), WindowOptions::default()).unwrap();
    assert!(
        (found - sum / tokens).abs() < 1e-4 * found,
        "{found} {}",
        sum / tokens
    );
    // The mean surprise of the documents by the same definition of the context.
    let scores = score_shard(&tuned, &shard(), WindowOptions::default(), &mut |_, _| ()).unwrap();
    assert_eq!(scores.tokens() as f64, tokens);
}

/// Checks the upper bound of one comparison by hand: what lies 19 of its errors above is beyond the largest of 19
/// deviations downwards, and the deviations upwards do not count.
#[test]
fn an_upper_bound_reaches_as_far_as_values_are_too_low() {
    let comparison = Comparison {
        value: 2.0,
        error: 0.5,
        deviations: (1..=19).map(|at| -f64::from(at)).collect(),
    };
    let family = Family::new(vec![comparison.clone()]).unwrap();
    assert_eq!(family.upper_bounds(0.05), [2.0 + 19.0 * 0.5]);
    let upwards = Comparison {
        deviations: (1..=19).map(f64::from).collect(),
        ..comparison
    };
    let family = Family::new(vec![upwards]).unwrap();
    assert_eq!(family.upper_bounds(0.05), [2.0]);
}

/// Checks that two domains are resampled independently, also if their scores are alike: drawn alike, the deviation of
/// their mean would be √2 times that of one domain in each resample.
#[test]
fn domains_are_drawn_apart() {
    let scores = |sign: f64| DomainScores {
        documents: (0..20)
            .map(|at| DocumentScore {
                nats: 100.0 + sign * f64::from(at * at % 7),
                tokens: 10,
                bytes: 50,
            })
            .collect(),
        ..DomainScores::default()
    };
    let (before, after) = (scores(0.0), scores(1.0));
    let of = |domain| Compared {
        domain,
        before: &before,
        after: &after,
    };
    let deviations = |domains: Vec<Compared>| {
        let family = Family::of_means(&[domains], 200, 1).unwrap();
        family.comparisons()[0].deviations.clone()
    };
    let (one, two) = (
        deviations(vec![of("a")]),
        deviations(vec![of("a"), of("b")]),
    );
    let alike = one
        .iter()
        .zip(&two)
        .filter(|(one, two)| (*one * SQRT_2 - *two).abs() < 1e-6);
    assert!(alike.count() < 100);
}
