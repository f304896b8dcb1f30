use std::sync::Arc;

use candle_core::{DType, Tensor, Var};

use super::{assert_kernels, device, kernels, launches, numbers};
use crate::{FeedForward, Placement, Precision, RotaryTable, Segments, SelfAttention};

/// Largest relative error after the roundings of a whole sublayer.
const SUBLAYER: (Precision, f64) = (Precision::Bf16, 2e-2);
const HIDDEN: usize = 40;

/// Returns x and the weights of a feed-forward sublayer.
fn feed_forward_inputs() -> Vec<Tensor> {
    let scaled = |shape: &[usize], seed| (numbers(shape, seed) * 0.4).unwrap();
    vec![
        numbers(&[2, 35, HIDDEN], 1),
        numbers(&[HIDDEN], 2),
        scaled(&[72, HIDDEN], 3),
        scaled(&[72, HIDDEN], 4),
        scaled(&[HIDDEN, 72], 5),
    ]
}

fn feed_forward<'a>(x: &[&'a Tensor]) -> FeedForward<'a> {
    FeedForward {
        norm: x[1],
        epsilon: 1e-3,
        gate: x[2].into(),
        up: x[3].into(),
        down: x[4].into(),
    }
}

#[test]
fn feed_forward_matches_f64() {
    assert_kernels(
        "feed_forward",
        &feed_forward_inputs(),
        SUBLAYER,
        |ops, x| ops.feed_forward(x[0], &feed_forward(x)),
    );
}

#[test]
fn self_attention_matches_f64() {
    let starts: Arc<[u32]> = (0..2 * 70)
        .map(|at| [0, 20, 21][(at % 70 >= 20) as usize + (at % 70 >= 21) as usize])
        .collect();
    let packed = Segments::new(2, 70, starts).unwrap();
    let positions: Arc<[u32]> = (0..2 * 70).map(|at| at % 70).collect();
    for head_dim in [8, 24] {
        let frequencies: Vec<f64> = (0..head_dim / 2).map(|at| 0.5f64.powi(at as i32)).collect();
        let rotary = RotaryTable::new(&frequencies, 100, &device()).unwrap();
        let scaled =
            |rows: usize, columns: usize, seed| (numbers(&[rows, columns], seed) * 0.4).unwrap();
        let inputs = [
            numbers(&[2, 70, HIDDEN], 1),
            numbers(&[HIDDEN], 2),
            scaled(4 * head_dim, HIDDEN, 3),
            scaled(2 * head_dim, HIDDEN, 4),
            scaled(2 * head_dim, HIDDEN, 5),
            scaled(HIDDEN, 4 * head_dim, 6),
        ];
        for segments in [packed.clone(), packed.windowed(9)] {
            let name = format!("self_attention, heads of {head_dim}");
            assert_kernels(&name, &inputs, SUBLAYER, |ops, x| {
                let weights = SelfAttention {
                    norm: x[1],
                    epsilon: 1e-3,
                    query: x[2].into(),
                    key: x[3].into(),
                    value: x[4].into(),
                    output: x[5].into(),
                    query_key_norm: None,
                };
                let placement = Placement {
                    rotary: &rotary,
                    positions: &positions,
                    segments: &segments,
                };
                ops.self_attention(x[0], &weights, &placement)
            });
        }
    }
}

/// Checks that frozen weights get no gradient and leave those of the others as they are.
#[test]
fn frozen_weights_get_no_gradient() {
    let inputs = feed_forward_inputs();
    let gradients = |frozen: &[usize]| {
        let variables: Vec<Var> = inputs
            .iter()
            .map(|x| Var::from_tensor(x).unwrap())
            .collect();
        let still: Vec<Tensor> = variables.iter().map(Var::as_detached_tensor).collect();
        let x: Vec<&Tensor> = (0..inputs.len())
            .map(|place| match frozen.contains(&place) {
                true => &still[place],
                false => variables[place].as_tensor(),
            })
            .collect();
        let ops = kernels(Precision::Bf16);
        let y = ops.feed_forward(x[0], &feed_forward(&x)).unwrap();
        let found = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let of = |x: &Var| {
            found
                .get(x)
                .map(|x| x.flatten_all().unwrap().to_vec1::<f32>().unwrap())
        };
        variables.iter().map(of).collect::<Vec<_>>()
    };
    let all = gradients(&[]);
    for frozen in [vec![0], vec![1, 2], vec![3], vec![2, 3, 4]] {
        for (place, found) in gradients(&frozen).iter().enumerate() {
            match frozen.contains(&place) {
                true => assert!(found.is_none(), "{frozen:?}: {place}"),
                false => assert_eq!(found, &all[place], "{frozen:?}: {place}"),
            }
        }
    }
}

/// Checks the launches of a sublayer's forward pass, and that the f32 path has none of its kernels.
#[test]
fn sublayers_take_few_launches() {
    let inputs = feed_forward_inputs();
    let x: Vec<&Tensor> = inputs.iter().collect();
    launches();
    let forward = |precision| {
        kernels(precision)
            .feed_forward(x[0], &feed_forward(&x))
            .unwrap()
    };
    forward(Precision::Bf16);
    // The norm, the conversion of all weights, and the activation.
    assert_eq!(launches().unwrap_or(3), 3);
    assert_eq!(forward(Precision::F32).dtype(), DType::F32);
    assert_eq!(launches().unwrap_or(2), 2);
}
