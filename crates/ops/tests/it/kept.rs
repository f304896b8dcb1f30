//! Tests of values that bf16 keeps for the backward pass in half of the memory.

use candle_core::{Result, Tensor, Var};

use crate::adapters::{self, ATTENTION, FEED_FORWARD, KINDS};
use crate::bf16::{FUSED as BF16, Take, apart, exact, linear, rms_norm, rounded};
use crate::blocks::{attention_inputs, feed_forward, normed_inputs, self_attention};
use crate::support::{FUSED, assert_close, run, tensor, values, variables};
use polymath_ops::Ops;

/// Relative distance between the gradients in bf16 and in f32 that rounding to 8 bits explains.
const ALLOWED: f64 = 0.02;

type Sublayer = Box<dyn Fn(Ops, &[Tensor]) -> Result<Tensor> + Send + Sync>;

struct Case {
    name: String,
    inputs: Vec<Var>,
    sublayer: Sublayer,
}

/// Returns every sublayer, with norms of heads and with adapters, for more rows than one chunk of the gradients.
fn cases() -> Vec<Case> {
    let x: &[usize] = &[2, 1101, 20];
    let mut cases = vec![
        Case {
            name: "feed-forward".into(),
            inputs: variables(&[x, &[20], &[33, 20], &[33, 20], &[20, 33]]),
            sublayer: Box::new(feed_forward),
        },
        Case {
            name: "self-attention".into(),
            inputs: attention_inputs(7, 77, 2),
            sublayer: Box::new(self_attention),
        },
        Case {
            name: "self-attention with norms of heads".into(),
            inputs: normed_inputs(7, 77, 2),
            sublayer: Box::new(self_attention),
        },
    ];
    for kind in KINDS {
        cases.push(Case {
            name: format!("feed-forward with {kind:?}"),
            inputs: adapters::inputs(kind, (2, 1101), &FEED_FORWARD),
            sublayer: Box::new(move |ops, x| adapters::feed_forward(kind, 0, ops, x)),
        });
        cases.push(Case {
            name: format!("self-attention with {kind:?}"),
            inputs: adapters::inputs(kind, (7, 77), &ATTENTION),
            sublayer: Box::new(move |ops, x| adapters::self_attention(kind, 0, ops, x)),
        });
    }
    cases
}

/// Checks the gradients of all inputs against those in f32, which finite differences check.
#[test]
fn gradients_are_near_those_in_f32() -> Result<()> {
    for case in cases() {
        let found = run(&case.inputs, &|x| (case.sublayer)(BF16, x))?;
        let expected = run(&case.inputs, &|x| (case.sublayer)(FUSED, x))?;
        for (place, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let off = apart(&values(found), &values(expected));
            assert!(off < ALLOWED, "{}, result {place}: {off}", case.name);
        }
    }
    Ok(())
}

/// Checks that the results have the same bits on 1, 2 and 3 threads.
#[test]
fn any_number_of_threads_gives_the_same_bits() -> Result<()> {
    for case in cases() {
        let on = |threads| -> Result<Vec<Vec<f64>>> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.expect("threads start").install(|| {
                let found = run(&case.inputs, &|x| (case.sublayer)(BF16, x))?;
                Ok(found.iter().map(values).collect())
            })
        };
        let one = on(1)?;
        assert!(one == on(2)?, "{}", case.name);
        assert!(one == on(3)?, "{}", case.name);
    }
    Ok(())
}

/// Checks that a tensor that is trained alone gets the same gradient as when all are.
#[test]
fn frozen_tensors_leave_the_others_alone() -> Result<()> {
    for case in cases() {
        let all = run(&case.inputs, &|x| (case.sublayer)(BF16, x))?;
        for trained in 0..case.inputs.len() {
            let only = run(&case.inputs[trained..=trained], &|tracked| {
                let mut tensors: Vec<Tensor> =
                    (case.inputs.iter().map(Var::as_detached_tensor)).collect();
                tensors[trained] = tracked[0].clone();
                (case.sublayer)(BF16, &tensors)
            })?;
            let what = format!("{}, only input {trained}", case.name);
            // For the last weight alone the activation is computed by itself, and a last bit may round to another bf16.
            assert_close(&only[1], &all[trained + 1], 1e-3, &what);
        }
    }
    Ok(())
}

/// Checks that gate and up are kept as bf16: the gradient of down is that of the activation of the rounded sides, and
/// no nearer to that of the exact ones.
#[test]
fn sides_of_the_activation_are_kept_in_bf16() -> Result<()> {
    let (width, inner) = (20, 33);
    let x: &[usize] = &[2, 37, width];
    let inputs = variables(&[
        x,
        &[width],
        &[inner, width],
        &[inner, width],
        &[width, inner],
    ]);
    let found = run(&inputs, &|x| feed_forward(BF16, x))?;
    let of = |place: usize| values(inputs[place].as_tensor());
    let gradient = values(&tensor(x, 99));
    let normed = rms_norm(&of(0), &of(1));
    let [gates, ups] = [2, 3].map(|place| linear(&normed, &of(place), width, rounded));
    let expected = |keep: Take| {
        let active = gates.iter().zip(&ups).map(|(gate, up)| {
            let (gate, up) = (keep(*gate), keep(*up));
            rounded(gate / (1.0 + (-gate).exp()) * up)
        });
        let active: Vec<f64> = active.collect();
        let mut sums = vec![0.0; width * inner];
        for (row, active) in active.chunks(inner).enumerate() {
            for (output, sums) in sums.chunks_mut(inner).enumerate() {
                let dy = rounded(gradient[row * width + output]);
                for (sum, active) in sums.iter_mut().zip(active) {
                    *sum += dy * active;
                }
            }
        }
        sums
    };
    let found = values(&found[5]);
    let (near, far) = (
        apart(&found, &expected(rounded)),
        apart(&found, &expected(exact)),
    );
    assert!(
        near < far / 5.0,
        "{near} from the rounded sides, {far} from the exact ones"
    );
    Ok(())
}
