use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};

use super::{device, kernels, numbers, with_gradients};
use crate::{
    AdamW, AdamWUpdate, KernelCount, Moments, Ops, Precision, RotaryTable, Sampling, Segments,
    Teacher, TopK, UpdateAt, counted, gradient_norm,
};

/// Counts what an operation and its backward pass launch.
fn counts(
    sampling: Sampling,
    inputs: &[Tensor],
    forward: &dyn Fn(&[&Tensor]) -> Result<Tensor>,
) -> Vec<KernelCount> {
    counted(sampling, || with_gradients(inputs, DType::F32, forward)).1
}

/// Compares counts, but for uploads, which the second run of an operation does without. Blocks of a class may begin at
/// other places within a sector, so that they move some bytes more or less.
fn assert_alike(found: &[KernelCount], expected: &[KernelCount], name: &str) {
    let kernels = |counts: &[KernelCount]| -> Vec<KernelCount> {
        let counts = counts.iter().filter(|count| count.name != "upload");
        counts.cloned().collect()
    };
    let (found, expected) = (kernels(found), kernels(expected));
    assert_eq!(found.len(), expected.len(), "{name}");
    for (found, expected) in found.iter().zip(&expected) {
        let apart = found.moved.abs_diff(expected.moved);
        assert!(
            50 * apart <= expected.moved,
            "{name}: {found:?} for {expected:?}"
        );
        let found = KernelCount {
            moved: expected.moved,
            ..found.clone()
        };
        assert_eq!(found, *expected, "{name}");
    }
}

/// Checks that the work of some blocks of each class, times their number, is that of all blocks.
fn assert_sampled(
    name: &str,
    inputs: &[Tensor],
    forward: &dyn Fn(Ops, &[&Tensor]) -> Result<Tensor>,
) {
    if !device().is_cpu() {
        return;
    }
    for precision in [Precision::F32, Precision::Bf16] {
        let ops = kernels(precision);
        let forward = |x: &[&Tensor]| forward(ops, x);
        let all = counts(Sampling::All, inputs, &forward);
        let sampled = counts(Sampling::Classes, inputs, &forward);
        assert!(all.iter().any(|count| count.accessed > 0), "{name}");
        assert_alike(&sampled, &all, &format!("{name} at {precision}"));
    }
}

/// Compares RMSNorm with a count by hand. Two blocks of 8 rows of 64 numbers: each reads x twice for the sum and
/// twice more, of which memory moves one reading, and the weight once for each row, of which memory moves one reading
/// for both blocks. It writes the result and a scale for each row.
#[test]
fn a_norm_is_counted_by_hand() {
    if !device().is_cpu() {
        return;
    }
    let ops = kernels(Precision::F32);
    let (x, weight) = (numbers(&[16, 64], 1), numbers(&[64], 2));
    for sampling in [Sampling::All, Sampling::Classes] {
        let (_, counts) = counted(sampling, || ops.rms_norm(&x, &weight, 1e-5).unwrap());
        let [norm] = &counts[..] else {
            panic!("{counts:?}")
        };
        assert_eq!((norm.name.as_str(), norm.launches), ("rms_norm", 1));
        let (result, scales) = (4 * 16 * 64, 4 * 16);
        assert_eq!(norm.accessed, 4 * result + result + scales);
        assert_eq!(norm.moved, result + 4 * 64 + result + scales);
    }
}

/// Compares attention in bf16 with a count by hand: one block of 64 queries and as many keys, for which tensor cores
/// compute whole tiles, so that two products of 64 × 64 × 16 are counted, and each operand is read once.
#[test]
fn attention_is_counted_by_hand() {
    if !device().is_cpu() {
        return;
    }
    let ops = kernels(Precision::Bf16);
    let x = numbers(&[1, 64, 1, 16], 1);
    let segments = Segments::causal(1, 64, 64);
    let attend = || ops.attention(&x, &x, &x, &segments).unwrap();
    let (_, counts) = counted(Sampling::Classes, attend);
    let attention = counts
        .iter()
        .find(|count| count.name == "attention_forward");
    let attention = attention.expect("a launch of attention");
    assert_eq!(attention.multiply_adds, 2 * 64 * 64 * 16);
    // Queries, keys, values and the output in bf16; the first visible keys and the log-sums.
    assert_eq!(attention.moved, 4 * 2 * 64 * 16 + 4 * 64 + 4 * 64);
}

/// Checks layers of sizes that end within a block, within a warp, and at their edges.
#[test]
fn sampled_layers_are_counted_in_full() {
    for (rows, width) in [(1, 16), (13, 48), (300, 64), (40, 256)] {
        let inputs = [
            numbers(&[1, rows, width], 1),
            numbers(&[width], 2),
            numbers(&[width], 3),
        ];
        let name = format!("{rows} × {width}");
        assert_sampled(&name, &inputs, &|ops, x| {
            let y = ops.rms_norm(x[0], x[1], 1e-3)?;
            let y = ops.layer_norm(&y, x[1], x[2], 1e-3)?;
            ops.swiglu(&ops.gelu(&y)?, x[0])
        });
    }
    let table = RotaryTable::new(&[1.0, 0.3, 0.1, 0.01], 300, &device()).unwrap();
    let positions: Arc<[u32]> = (0..2 * 45).collect();
    assert_sampled("rope", &[numbers(&[2, 45, 3, 8], 1)], &|ops, x| {
        ops.rope(x[0], &table, &positions)
    });
    let ids: Vec<u32> = (0..60).map(|at| at * at % 11).collect();
    let ids = Tensor::from_vec(ids, (6, 10), &Device::Cpu).unwrap();
    assert_sampled("embedding", &[numbers(&[12, 32], 1)], &|ops, x| {
        ops.embedding(x[0], &ids)
    });
}

/// Checks attention over packed documents, under windows, after a cache and with grouped queries.
#[test]
fn sampled_attention_is_counted_in_full() {
    let starts: Arc<[u32]> = (0..2 * 200)
        .map(|at| at % 200)
        .map(|at| {
            [0, 5, 64, 70, 129]
                .into_iter()
                .filter(|begin| *begin <= at)
                .max()
                .unwrap()
        })
        .collect();
    let packed = Segments::new(2, 200, starts).unwrap();
    let layouts = [
        packed.clone(),
        packed.windowed(40),
        Segments::causal(1, 300, 300),
        Segments::causal(1, 70, 140).windowed(20),
        Segments::causal(2, 3, 140),
    ];
    for segments in layouts {
        for head_dim in [16, 96] {
            let (batch, queries, keys) = segments.dims();
            let of_keys = [batch, keys, 2, head_dim];
            let inputs = [
                numbers(&[batch, queries, 4, head_dim], 1),
                numbers(&of_keys, 2),
                numbers(&of_keys, 3),
            ];
            let name = format!("{segments:?}, heads of {head_dim}");
            assert_sampled(&name, &inputs, &|ops, x| {
                ops.attention(x[0], x[1], x[2], &segments)
            });
        }
    }
}

/// Checks losses with ignored targets, and both kinds of teachers.
#[test]
fn sampled_losses_are_counted_in_full() {
    let inputs = [numbers(&[13, 24], 1), numbers(&[304, 24], 2)];
    let targets: Arc<[u32]> = (0..13)
        .map(|at| if at % 4 == 1 { crate::IGNORED } else { at * 7 })
        .collect();
    assert_sampled("cross_entropy", &inputs, &|ops, x| {
        ops.cross_entropy(x[0], x[1], &targets, 0.1)
    });
    let listed = Teacher::TopK(TopK {
        k: 3,
        ids: (0..39).collect(),
        probabilities: vec![0.25; 39].into(),
        rest: vec![0.25; 13].into(),
    });
    let live = Teacher::Live {
        hidden: numbers(&[13, 8], 3),
        weight: numbers(&[304, 8], 4),
    };
    for teacher in [listed, live] {
        assert_sampled("distillation", &inputs, &|ops, x| {
            ops.distillation(x[0], x[1], &teacher, 2.0)
        });
    }
}

/// Checks the optimizer over tensors of more than a stretch and of less.
#[test]
fn sampled_updates_are_counted_in_full() {
    if !device().is_cpu() {
        return;
    }
    let ops = kernels(Precision::F32);
    let tensors = [
        numbers(&[300, 128], 1),
        numbers(&[40], 2),
        numbers(&[16384], 3),
    ];
    let count = |sampling| {
        let parameters = tensors
            .each_ref()
            .map(|x| candle_core::Var::from_tensor(x).unwrap());
        let mut moments = parameters.each_ref().map(|x| Moments::zeros(x).unwrap());
        let adamw = AdamW {
            learning_rate: 0.1,
            beta1: 0.9,
            beta2: 0.9,
            epsilon: 1e-8,
            weight_decay: 0.0,
        };
        let step = || {
            gradient_norm(ops, &tensors.each_ref()).unwrap();
            let updates = parameters.iter().zip(&tensors).zip(&mut moments);
            let updates = updates.map(|((parameter, gradient), moments)| AdamWUpdate {
                parameter,
                gradient,
                moments,
                weight_decay: 0.0,
            });
            let at = UpdateAt {
                step: 1,
                gradient_scale: 1.0,
            };
            adamw.step_all(ops, at, updates.collect()).unwrap();
        };
        counted(sampling, step).1
    };
    let all = count(Sampling::All);
    assert_alike(&count(Sampling::Classes), &all, "updates");
    let adamw = all.iter().find(|count| count.name == "adamw");
    // Each block reads a row of the table, each thread on its own; parameter and moments are read and written.
    let elements = 300 * 128 + 40 + 16384;
    assert!(adamw.is_some_and(|adamw| adamw.moved > 28 * elements && adamw.moved < 29 * elements));
}

/// Checks that products in TF32 and in f32 are counted as such, with as many multiply-adds, and are the same in the
/// emulator.
#[test]
fn products_are_counted_by_precision() {
    if !device().is_cpu() {
        return;
    }
    let (x, weight) = (numbers(&[7, 19], 1), numbers(&[11, 19], 2));
    let count = |precision| {
        let linear = || kernels(precision).linear(&x, &weight, None).unwrap();
        counted(Sampling::Classes, linear).1
    };
    for (precision, unit) in [(Precision::F32, "f32"), (Precision::Tf32, "tf32")] {
        let [product] = &count(precision)[..] else {
            panic!("{:?}", count(precision))
        };
        assert_eq!(product.name, format!("product 7 × 19 × 11, {unit}"));
        assert_eq!(product.unit.to_string(), unit);
        assert_eq!(product.multiply_adds, 7 * 19 * 11);
        assert_eq!(product.moved, 4 * (7 * 19 + 19 * 11 + 7 * 11));
    }
    let values = |precision| {
        let y = kernels(precision).linear(&x, &weight, None).unwrap();
        y.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    assert_eq!(values(Precision::Tf32), values(Precision::F32));
}
