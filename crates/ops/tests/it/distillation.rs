//! Tests of the divergence from a teacher: against the definition in f64, gradients against finite differences, and
//! the fused implementation against the reference.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor, Var};
use polymath_ops::{Comparison, IGNORED, Ops, Precision, Teacher};

use crate::support::{FUSED, REFERENCE, assert_close, run, tensor, values, variables};

const TEMPERATURE: f64 = 2.0;

/// Returns softmax(hidden·weightᵀ / T) of each row.
fn distributions(hidden: &Tensor, weight: &Tensor) -> Vec<Vec<f64>> {
    let (width, vocabulary) = (hidden.dim(1).unwrap(), weight.dim(0).unwrap());
    let (hidden, weight) = (values(hidden), values(weight));
    hidden
        .chunks(width)
        .map(|row| {
            let mass = |token: usize| {
                let column = &weight[token * width..(token + 1) * width];
                let logit: f64 = row.iter().zip(column).map(|(a, b)| a * b).sum();
                (logit / TEMPERATURE).exp()
            };
            let masses: Vec<f64> = (0..vocabulary).map(mass).collect();
            let sum: f64 = masses.iter().sum();
            masses.iter().map(|mass| mass / sum).collect()
        })
        .collect()
}

/// Returns T²·Σ KL over all tokens, or with all tokens outside of a row's `listed` ones as one event.
fn reference(student: &[Vec<f64>], teacher: &[Vec<f64>], listed: Option<&[u32]>) -> f64 {
    let rows = student.len();
    let mut total = 0.0;
    for (row, (q, p)) in student.iter().zip(teacher).enumerate() {
        let term = |p: f64, q: f64| p * (p / q).ln();
        match listed {
            None => total += p.iter().zip(q).map(|(p, q)| term(*p, *q)).sum::<f64>(),
            Some(ids) => {
                let ids = &ids[row * ids.len() / rows..(row + 1) * ids.len() / rows];
                let of = |id: &u32| (p[*id as usize], q[*id as usize]);
                let mut rest = (1.0, 1.0);
                for (p, q) in ids.iter().map(of) {
                    total += term(p, q);
                    rest = (rest.0 - p, rest.1 - q);
                }
                if ids.len() < p.len() {
                    total += term(rest.0, rest.1);
                }
            }
        }
    }
    TEMPERATURE * TEMPERATURE * total
}

/// Returns hidden states and projections of a student and of a wider teacher.
fn example() -> (Vec<Var>, Tensor, Tensor) {
    let student = variables(&[&[5, 3], &[9, 3]]);
    let teacher = (tensor(&[5, 4], 7) * 2.0).unwrap();
    (student, teacher, tensor(&[9, 4], 8))
}

fn teachers() -> Vec<Teacher> {
    let (_, hidden, weight) = example();
    let mut teachers: Vec<Teacher> = [1, 4, 9]
        .into_iter()
        .map(|k| Teacher::TopK(REFERENCE.top_k(&hidden, &weight, k, TEMPERATURE).unwrap()))
        .collect();
    teachers.push(Teacher::Live { hidden, weight });
    teachers
}

/// Checks that both implementations compute the value of the definition in f64.
#[test]
fn values_are_the_definition() -> Result<()> {
    let (student, hidden, weight) = example();
    let (q, p) = (
        distributions(&student[0], &student[1]),
        distributions(&hidden, &weight),
    );
    for teacher in teachers() {
        let listed = match &teacher {
            Teacher::TopK(top) => Some(&*top.ids),
            Teacher::Live { .. } => None,
        };
        let expected = reference(&q, &p, listed);
        assert!(expected > 0.1);
        for ops in [FUSED, REFERENCE] {
            let found = ops.distillation(&student[0], &student[1], &teacher, TEMPERATURE)?;
            let found = f64::from(found.to_scalar::<f32>()?);
            assert!(
                (found - expected).abs() < 1e-5 * expected,
                "{found} for {expected}"
            );
        }
    }
    Ok(())
}

/// Checks the gradients: the reference in f64 against central differences, and the fused implementation against the
/// reference.
#[test]
fn gradients_are_derivatives() -> Result<()> {
    const STEP: f64 = 1e-5;
    let (student, ..) = example();
    for teacher in teachers() {
        let function =
            |ops: Ops, x: &[Tensor]| ops.distillation(&x[0], &x[1], &teacher, TEMPERATURE);
        let wide = |var: &Var| var.as_detached_tensor().to_dtype(DType::F64);
        let wide: Vec<Tensor> = student.iter().map(wide).collect::<Result<_>>()?;
        let variables: Vec<Var> = wide.iter().map(Var::from_tensor).collect::<Result<_>>()?;
        let exact = run(&variables, &|x| function(REFERENCE, x))?;
        let factor = values(&tensor(&[], 99))[0];
        for which in 0..2 {
            let middle = values(&wide[which]);
            let mut slopes = Vec::new();
            for at in 0..middle.len() {
                let value = |offset: f64| -> Result<f64> {
                    let mut moved = middle.clone();
                    moved[at] += offset;
                    let mut inputs = wide.clone();
                    inputs[which] =
                        Tensor::from_vec(moved, wide[which].dims(), wide[which].device())?;
                    Ok(values(&function(REFERENCE, &inputs)?)[0] * factor)
                };
                slopes.push((value(STEP)? - value(-STEP)?) / (2.0 * STEP));
            }
            let slopes = Tensor::from_vec(slopes, wide[which].dims(), wide[which].device())?;
            assert_close(
                &exact[which + 1],
                &slopes,
                1e-6,
                &format!("{teacher:?}, input {which}"),
            );
        }
        let fused = run(&student, &|x| function(FUSED, x))?;
        for (fused, exact) in fused.iter().zip(&exact) {
            assert_close(fused, exact, 1e-5, &format!("fused {teacher:?}"));
        }
    }
    Ok(())
}

/// Checks that a model has no divergence from itself and no gradient: exactly with live logits, and up to rounding
/// with a top k.
#[test]
fn divergence_from_itself_is_zero() -> Result<()> {
    let student = variables(&[&[600, 3], &[9, 3]]);
    let (hidden, weight) = (
        student[0].as_detached_tensor(),
        student[1].as_detached_tensor(),
    );
    let top = FUSED.top_k(&hidden, &weight, 4, TEMPERATURE)?;
    for ops in [FUSED, REFERENCE] {
        let live = Teacher::Live {
            hidden: hidden.clone(),
            weight: weight.clone(),
        };
        let results = run(&student, &|x| {
            ops.distillation(&x[0], &x[1], &live, TEMPERATURE)
        })?;
        for result in &results {
            assert!(values(result).iter().all(|x| *x == 0.0));
        }
        let listed = Teacher::TopK(top.clone());
        let results = run(&student, &|x| {
            ops.distillation(&x[0], &x[1], &listed, TEMPERATURE)
        })?;
        // 600 rows, each rounded to 32 bits.
        for result in &results {
            assert!(
                values(result).iter().all(|x| x.abs() < 1e-3),
                "{:?}",
                values(result)[0]
            );
        }
    }
    Ok(())
}

/// Checks that the sum over more rows than one chunk holds equals the sum of its parts, for any split.
#[test]
fn chunks_add_up() -> Result<()> {
    let student = variables(&[&[1100, 3], &[9, 3]]);
    let (hidden, weight) = (tensor(&[1100, 4], 7), tensor(&[9, 4], 8));
    let top = FUSED.top_k(&hidden, &weight, 3, TEMPERATURE)?;
    for live in [true, false] {
        let teacher = |start: usize, length: usize| match live {
            true => Teacher::Live {
                hidden: hidden.narrow(0, start, length).unwrap(),
                weight: weight.clone(),
            },
            false => Teacher::TopK(top.narrow(start, length)),
        };
        let whole = |ops: Ops| {
            run(&student, &|x| {
                ops.distillation(&x[0], &x[1], &teacher(0, 1100), TEMPERATURE)
            })
        };
        let (fused, reference) = (whole(FUSED)?, whole(REFERENCE)?);
        for (fused, reference) in fused.iter().zip(&reference) {
            assert_close(fused, reference, 1e-4, "fused and reference");
        }
        let parts = run(&student, &|x| {
            let part = |start: usize, length: usize| {
                FUSED.distillation(
                    &x[0].narrow(0, start, length)?,
                    &x[1],
                    &teacher(start, length),
                    TEMPERATURE,
                )
            };
            part(0, 300)? + part(300, 800)?
        })?;
        for (whole, parts) in fused.iter().zip(&parts) {
            assert_close(whole, parts, 1e-4, "whole and parts");
        }
    }
    Ok(())
}

/// Checks that a cross-entropy and a divergence computed together equal both computed alone, in value and gradient:
/// for scattered positions, beside tokens without a target, and over several chunks.
#[test]
fn joint_loss_is_the_sum_of_both() -> Result<()> {
    const STRENGTH: f64 = 0.7;
    const Z_LOSS: f64 = 1e-3;
    let tokens = 1100;
    let student = variables(&[&[tokens, 3], &[9, 3]]);
    let targets: Arc<[u32]> = (0..tokens as u32)
        .map(|i| if i % 7 == 3 { IGNORED } else { i * 5 % 9 })
        .collect();
    let scored = |at: &u32| targets[*at as usize] != IGNORED;
    let some: Vec<u32> = (0..tokens as u32)
        .filter(scored)
        .filter(|at| at / 100 % 3 != 1)
        .collect();
    for positions in [some, vec![tokens as u32 - 1], Vec::new()] {
        let count = positions.len();
        let at = Tensor::from_slice(&positions, count, &Device::Cpu)?;
        let (hidden, weight) = (
            tensor(&[count.max(1), 4], 7).narrow(0, 0, count)?,
            tensor(&[9, 4], 8),
        );
        let listed = REFERENCE.top_k(&hidden, &weight, 3, TEMPERATURE)?;
        for teacher in [Teacher::Live { hidden, weight }, Teacher::TopK(listed)] {
            let comparison = Comparison {
                positions: positions.clone(),
                teacher,
                temperature: TEMPERATURE,
            };
            for ops in [
                FUSED,
                REFERENCE,
                Ops {
                    precision: Precision::Bf16,
                    ..FUSED
                },
            ] {
                let apart = |x: &[Tensor]| -> Result<[Tensor; 2]> {
                    let task = ops.cross_entropy(&x[0], &x[1], &targets, Z_LOSS)?;
                    let compared = x[0].index_select(&at, 0)?;
                    let teacher = &comparison.teacher;
                    let divergence = ops.distillation(&compared, &x[1], teacher, TEMPERATURE)?;
                    Ok([task, (divergence * STRENGTH)?])
                };
                let together = |x: &[Tensor]| {
                    let distilled = (&comparison, STRENGTH);
                    ops.cross_entropy_distilled(&x[0], &x[1], (&targets, Z_LOSS), distilled)
                };
                let inputs: Vec<Tensor> = student.iter().map(|x| x.as_tensor().clone()).collect();
                let ([task, divergence], found) = (apart(&inputs)?, together(&inputs)?);
                assert_close(&found.task, &task, 1e-6, "the loss");
                assert_close(&found.divergence, &divergence, 1e-5, "the divergence");
                let expected = run(&student, &|x| apart(x).and_then(|[a, b]| a + b))?;
                let found = run(&student, &|x| Ok(together(x)?.total))?;
                for (found, expected) in found.iter().zip(&expected) {
                    // Here the sum of two gradients is rounded to bf16; computed alone, each of them is.
                    let tolerance = match ops.precision {
                        Precision::F32 | Precision::Tf32 => 1e-4,
                        Precision::Bf16 => 1e-2,
                    };
                    assert_close(found, expected, tolerance, "together and apart");
                }
            }
        }
    }
    Ok(())
}

/// Checks that distilled positions that are not ascending or have no target are refused.
#[test]
fn invalid_distilled_positions_are_refused() {
    let (hidden, weight) = (tensor(&[3, 2], 1), tensor(&[4, 2], 2));
    let targets: Arc<[u32]> = [1, IGNORED, 2].into();
    for positions in [vec![2, 0], vec![0, 0], vec![0, 1], vec![0, 3]] {
        let two = hidden.narrow(0, 0, positions.len()).expect("two rows");
        let comparison = Comparison {
            teacher: Teacher::Live {
                hidden: two,
                weight: weight.clone(),
            },
            positions,
            temperature: 1.0,
        };
        let distilled = (&comparison, 1.0);
        let refused = FUSED.cross_entropy_distilled(&hidden, &weight, (&targets, 0.0), distilled);
        let error = refused.expect_err("refused").to_string();
        assert!(error.contains("positions"), "{error}");
    }
}
