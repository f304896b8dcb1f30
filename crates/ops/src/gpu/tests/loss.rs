use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::{
    BF16, F32, assert_kernels, device, in_all_schedules, kernels, numbers, reference, relative,
};
use crate::{IGNORED, Precision, Teacher, TopK};

const BOTH: [(Precision, f64); 2] = [(Precision::F32, F32), (Precision::Bf16, BF16)];

fn targets(tokens: usize, vocabulary: usize, ignored: bool) -> Arc<[u32]> {
    let target = |at: usize| match ignored && at.is_multiple_of(3) {
        true => IGNORED,
        false => (at * 13 % vocabulary) as u32,
    };
    (0..tokens).map(target).collect()
}

/// Checks vocabularies with fewer tokens than threads and with more, ignored targets, and the z-loss.
#[test]
fn cross_entropy_matches_f64() {
    for (tokens, vocabulary) in [(5, 7), (4, 1003)] {
        let inputs = [
            (numbers(&[tokens, 24], 1) * 4.0).unwrap(),
            numbers(&[vocabulary, 24], 2),
        ];
        for (ignored, z_loss) in [(false, 0.0), (true, 0.01)] {
            let targets = targets(tokens, vocabulary, ignored);
            for bounds in BOTH {
                let name = format!("cross_entropy {tokens} × {vocabulary}, z-loss {z_loss}");
                assert_kernels(&name, &inputs, bounds, |ops, x| {
                    ops.cross_entropy(x[0], x[1], &targets, z_loss)
                });
            }
        }
    }
}

/// Checks more rows than the logits in memory have.
#[test]
fn pieces_add_up() {
    let (tokens, vocabulary) = (4100, 9);
    let targets = targets(tokens, vocabulary, false);
    let hidden = numbers(&[tokens, 8], 1);
    let weight = numbers(&[vocabulary, 8], 2);
    let value = |ops: crate::Ops, dtype| {
        let (hidden, weight) = (hidden.to_dtype(dtype), weight.to_dtype(dtype));
        ops.cross_entropy(&hidden.unwrap(), &weight.unwrap(), &targets, 0.0)
            .unwrap()
    };
    let found = value(kernels(Precision::F32), DType::F32);
    assert!(relative(&found, &value(reference(), DType::F64)) < F32);
}

/// Checks scores, ties (the first token counts), an ignored target (no score), and NaN (never correct).
#[test]
fn scores_match_f64() {
    let hidden = numbers(&[7, 16], 1);
    let mut rows = vec![numbers(&[300, 16], 2)];
    rows.push(rows[0].narrow(0, 4, 1).unwrap()); // a tie with row 4
    let weight = Tensor::cat(&rows, 0).unwrap();
    let likeliest = hidden
        .matmul(&weight.t().unwrap())
        .unwrap()
        .argmax(1)
        .unwrap();
    let mut all: Vec<u32> = likeliest.to_vec1().unwrap();
    all[2] = IGNORED;
    all[3] = (all[3] + 1) % 300;
    let targets: Arc<[u32]> = all.into();
    let wide = |x: &Tensor| x.to_dtype(DType::F64).unwrap();
    let expected = reference()
        .score(&wide(&hidden), &wide(&weight), &targets)
        .unwrap();
    in_all_schedules(|schedule| {
        let found = kernels(Precision::F32)
            .score(&hidden, &weight, &targets)
            .unwrap();
        assert_eq!(found.correct, expected.correct, "{schedule}");
        for (found, expected) in found.nats.iter().zip(&expected.nats) {
            assert!(
                (found - expected).abs() <= 1e-5,
                "{schedule}: {found} {expected}"
            );
        }
    });
    // Rows 4 and 300 are equal, and by far the likeliest for this input.
    let tied = (weight.narrow(0, 4, 1).unwrap() * 8.0).unwrap();
    let (before, after) = (
        weight.narrow(0, 0, 4).unwrap(),
        weight.narrow(0, 5, 295).unwrap(),
    );
    let doubled = Tensor::cat(&[&before, &tied, &after, &tied], 0).unwrap();
    let scores = |target: u32| {
        let targets = [target].into();
        kernels(Precision::F32)
            .score(&tied, &doubled, &targets)
            .unwrap()
    };
    assert_eq!(scores(4).correct, [true]);
    assert_eq!(scores(300).correct, [false]);
    let broken = Tensor::full(f32::NAN, (1, 16), &device()).unwrap();
    let found = kernels(Precision::F32)
        .score(&broken, &weight, &[0].into())
        .unwrap();
    assert!(found.nats[0].is_nan() && !found.correct[0]);
}

#[test]
fn distillation_matches_f64() {
    let inputs = [numbers(&[6, 20], 1), numbers(&[301, 20], 2)];
    let teacher = [numbers(&[6, 12], 3), numbers(&[301, 12], 4)];
    for (precision, tolerance) in [(Precision::F32, F32), (Precision::Bf16, 2.0 * BF16)] {
        for temperature in [1.0, 2.5] {
            let name = format!("distillation at {temperature}");
            assert_kernels(&name, &inputs, (precision, tolerance), |ops, x| {
                let teacher = Teacher::Live {
                    hidden: teacher[0].to_dtype(x[0].dtype())?,
                    weight: teacher[1].to_dtype(x[0].dtype())?,
                };
                ops.distillation(x[0], x[1], &teacher, temperature)
            });
        }
    }
}

/// Checks a list of tokens from within the vocabulary, one that leaves nothing to the others, and a single token.
#[test]
fn listed_teachers_match_f64() {
    let inputs = [numbers(&[6, 20], 1), numbers(&[301, 20], 2)];
    for (k, rest) in [(5, 0.25f32), (301, 0.0), (1, 0.9)] {
        let ids: Vec<u32> = (0..6 * k)
            .map(|at| (at % k * 5 + at / k) as u32 % 301)
            .collect();
        let top = TopK {
            k,
            ids: ids.into(),
            probabilities: vec![(1.0 - rest) / k as f32; 6 * k].into(),
            rest: vec![rest; 6].into(),
        };
        for (precision, tolerance) in [(Precision::F32, F32), (Precision::Bf16, 2.0 * BF16)] {
            let name = format!("{k} listed tokens at {precision}");
            assert_kernels(&name, &inputs, (precision, tolerance), |ops, x| {
                ops.distillation(x[0], x[1], &Teacher::TopK(top.clone()), 1.5)
            });
        }
    }
}
