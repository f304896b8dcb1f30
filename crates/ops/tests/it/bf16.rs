//! Tests of bf16 against its definition: the inputs of matrix products are rounded, everything else is exact. The
//! results must be nearer to that than to a computation without rounding, so that a kernel that stays in f32 fails.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};
use polymath_ops::{
    FeedForward, Implementation, Ops, Placement, Precision, RotaryTable, Segments, SelfAttention,
};

use crate::support;
use crate::support::{tensor, values};

pub const FUSED: Ops = Ops {
    implementation: Implementation::Fused,
    precision: Precision::Bf16,
};
const REFERENCE: Ops = Ops {
    implementation: Implementation::Reference,
    precision: Precision::Bf16,
};
const EPSILON: f64 = 1e-5;

/// Function that rounds an operand of a product, or leaves it as it is.
pub type Take = fn(f64) -> f64;

pub fn exact(x: f64) -> f64 {
    x
}

pub fn rounded(x: f64) -> f64 {
    half::bf16::from_f32(x as f32).to_f64()
}

/// Returns x·Wᵀ for rows of `inputs` numbers.
pub fn linear(x: &[f64], weight: &[f64], inputs: usize, take: Take) -> Vec<f64> {
    let dot = |row: &[f64], out: &[f64]| -> f64 {
        row.iter().zip(out).map(|(a, b)| take(*a) * take(*b)).sum()
    };
    x.chunks(inputs)
        .flat_map(|row| weight.chunks(inputs).map(move |out| dot(row, out)))
        .collect()
}

pub fn rms_norm(x: &[f64], gain: &[f64]) -> Vec<f64> {
    x.chunks(gain.len())
        .flat_map(|row| {
            let mean = row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64;
            let scale = 1.0 / (mean + EPSILON).sqrt();
            row.iter().zip(gain).map(move |(x, gain)| x * scale * gain)
        })
        .collect()
}

/// Shape of the packed rows: documents of `LENGTH` tokens, whose positions each start at 0.
const BATCH: usize = 2;
const SEQUENCE: usize = 150;
const LENGTH: usize = 70;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const WIDTH: usize = 8;

fn start(at: usize) -> usize {
    at % SEQUENCE / LENGTH * LENGTH
}

fn segments() -> Result<Segments> {
    let starts: Arc<[u32]> = (0..BATCH * SEQUENCE).map(|at| start(at) as u32).collect();
    Segments::new(BATCH, SEQUENCE, starts)
}

/// Returns softmax(q·kᵀ/√d)·v over the keys of the query's document, up to the query.
fn attention(q: &[f64], k: &[f64], v: &[f64], take: Take) -> Vec<f64> {
    let mut y = Vec::with_capacity(q.len());
    for at in 0..BATCH * SEQUENCE {
        let row = at / SEQUENCE * SEQUENCE;
        for head in 0..HEADS {
            let query = &q[(at * HEADS + head) * WIDTH..][..WIDTH];
            let place = |key: usize| (key * KV_HEADS + head / (HEADS / KV_HEADS)) * WIDTH;
            let keys: Vec<usize> = (row + start(at)..=at).collect();
            let score = |key: &usize| -> f64 {
                let key = &k[place(*key)..][..WIDTH];
                let products = query.iter().zip(key).map(|(a, b)| take(*a) * take(*b));
                products.sum::<f64>() / (WIDTH as f64).sqrt()
            };
            let scores: Vec<f64> = keys.iter().map(score).collect();
            let highest = scores.iter().copied().fold(f64::MIN, f64::max);
            let shares: Vec<f64> = scores.iter().map(|score| (score - highest).exp()).collect();
            let sum: f64 = shares.iter().sum();
            y.extend((0..WIDTH).map(|i| {
                let parts = keys.iter().zip(&shares);
                parts
                    .map(|(key, share)| take(share / sum) * take(v[place(*key) + i]))
                    .sum::<f64>()
            }));
        }
    }
    y
}

/// Returns the relative distance √(Σ(a − b)² / Σb²).
pub fn apart(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>();
    let difference = squares(&mut a.iter().zip(b).map(|(a, b)| a - b));
    (difference / squares(&mut b.iter().copied())).sqrt()
}

/// Asserts that `found` is the result with rounding: its distance to it is less than a third of the distance between
/// the results with and without rounding.
fn assert_rounds(found: &Tensor, expected: &dyn Fn(Take) -> Vec<f64>, what: &str) {
    let (found, with, without) = (values(found), expected(rounded), expected(exact));
    let (error, between) = (apart(&found, &with), apart(&with, &without));
    assert!(
        between > 1e-3,
        "{what}: rounding changes too little, {between}"
    );
    assert!(
        error < between / 3.0,
        "{what}: {error} from bf16, which is {between} from f32"
    );
}

/// Checks that attention rounds queries and keys. The scores are so large that this rounding outweighs that of the
/// softmax weights, for which a tiled softmax may choose another order.
#[test]
fn packed_attention_rounds_its_factors() -> Result<()> {
    let q = (tensor(&[BATCH, SEQUENCE, HEADS, WIDTH], 1) * 6.0)?;
    let k = (tensor(&[BATCH, SEQUENCE, KV_HEADS, WIDTH], 2) * 6.0)?;
    let v = tensor(&[BATCH, SEQUENCE, KV_HEADS, WIDTH], 3);
    let expected = |take: Take| attention(&values(&q), &values(&k), &values(&v), take);
    for ops in [FUSED, REFERENCE] {
        let found = ops.attention(&q, &k, &v, &segments()?)?;
        assert_rounds(&found, &expected, &format!("{ops:?}"));
    }
    Ok(())
}

#[test]
fn feed_forward_rounds_its_operands() -> Result<()> {
    let (width, inner) = (20, 33);
    let x = tensor(&[2, 37, width], 1);
    let norm = (tensor(&[width], 2) + 1.0)?;
    let [gate, up] = [3, 4].map(|seed| tensor(&[inner, width], seed));
    let down = tensor(&[width, inner], 5);
    let expected = |take: Take| {
        let normed = rms_norm(&values(&x), &values(&norm));
        let gates = linear(&normed, &values(&gate), width, take);
        let ups = linear(&normed, &values(&up), width, take);
        let active = gates.iter().zip(&ups);
        let active: Vec<f64> = active
            .map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up)
            .collect();
        linear(&active, &values(&down), inner, take)
    };
    for ops in [FUSED, REFERENCE] {
        let weights = FeedForward {
            norm: &norm,
            epsilon: EPSILON,
            gate: (&gate).into(),
            up: (&up).into(),
            down: (&down).into(),
        };
        let change = (ops.feed_forward(&x, &weights)? - &x)?;
        assert_rounds(&change, &expected, &format!("{ops:?}"));
    }
    Ok(())
}

#[test]
fn self_attention_rounds_its_operands() -> Result<()> {
    let width = 20;
    let x = tensor(&[BATCH, SEQUENCE, width], 1);
    let norm = (tensor(&[width], 2) + 1.0)?;
    let query = tensor(&[HEADS * WIDTH, width], 3);
    let [key, value] = [4, 5].map(|seed| tensor(&[KV_HEADS * WIDTH, width], seed));
    let output = tensor(&[width, HEADS * WIDTH], 6);
    let frequencies = [1.0, 0.4, 0.1, 0.02];
    let rotated = |x: Vec<f64>, heads: usize| -> Vec<f64> {
        let mut x = x;
        for (at, head) in x.chunks_mut(WIDTH).enumerate() {
            let token = at / heads;
            let position = (token % SEQUENCE - start(token)) as f64;
            for (i, frequency) in frequencies.iter().enumerate() {
                let (sine, cosine) = (position * frequency).sin_cos();
                let (a, b) = (head[i], head[i + WIDTH / 2]);
                head[i] = a * cosine - b * sine;
                head[i + WIDTH / 2] = b * cosine + a * sine;
            }
        }
        x
    };
    let expected = |take: Take| {
        let normed = rms_norm(&values(&x), &values(&norm));
        let project = |weight: &Tensor| linear(&normed, &values(weight), width, take);
        let (q, k) = (
            rotated(project(&query), HEADS),
            rotated(project(&key), KV_HEADS),
        );
        let mixed = attention(&q, &k, &project(&value), take);
        linear(&mixed, &values(&output), HEADS * WIDTH, take)
    };
    let rotary = RotaryTable::new(&frequencies, SEQUENCE, &Device::Cpu)?;
    let positions: Arc<[u32]> = (0..BATCH * SEQUENCE)
        .map(|at| (at % SEQUENCE - start(at)) as u32)
        .collect();
    let segments = segments()?;
    for ops in [FUSED, REFERENCE] {
        let placement = Placement {
            rotary: &rotary,
            positions: &positions,
            segments: &segments,
        };
        let weights = SelfAttention {
            norm: &norm,
            epsilon: EPSILON,
            query: (&query).into(),
            key: (&key).into(),
            value: (&value).into(),
            output: (&output).into(),
            query_key_norm: None,
        };
        let change = (ops.self_attention(&x, &weights, &placement)? - &x)?;
        assert_rounds(&change, &expected, &format!("{ops:?}"));
    }
    Ok(())
}

/// Returns the feed-forward sublayer by the reference, with the gradients of an activation whose sides are bf16.
fn kept_forward(x: &[Tensor]) -> Result<Tensor> {
    let kept = |x: &Tensor| -> Result<Tensor> {
        let rounded = x.to_dtype(DType::BF16)?.to_dtype(DType::F32)?;
        x + (rounded - x)?.detach()
    };
    let normed = REFERENCE.rms_norm(&x[0], &x[1], EPSILON)?;
    let gate = REFERENCE.linear(&normed, &x[2], None)?;
    let up = REFERENCE.linear(&normed, &x[3], None)?;
    let down = |active: &Tensor| REFERENCE.linear(active, &x[4], None);
    let exact = down(&REFERENCE.swiglu(&gate, &up)?)?;
    let kept = down(&REFERENCE.swiglu(&kept(&gate)?, &kept(&up)?)?)?;
    &x[0] + (&kept + (exact - &kept)?.detach())?
}

/// Checks that the loss and the gradients of sublayers and packed attention equal those of the reference in bf16,
/// relative to the largest element, and that the reference in f32 is further away.
#[test]
fn fused_gradients_are_those_of_the_reference_in_bf16() -> Result<()> {
    let keys: &[usize] = &[BATCH, SEQUENCE, KV_HEADS, WIDTH];
    let inputs = support::variables(&[&[BATCH, SEQUENCE, HEADS, WIDTH], keys, keys]);
    let segments = segments()?;
    let attend = |ops: Ops| {
        let segments = segments.clone();
        move |x: &[Tensor]| ops.attention(&(&x[0] * 6.0)?, &(&x[1] * 6.0)?, &x[2], &segments)
    };
    let (x, weight): (&[usize], &[usize]) = (&[2, 37, 20], &[33, 20]);
    let feed = support::variables(&[x, &[20], weight, weight, &[20, 33]]);
    let forward = |ops: Ops| {
        move |x: &[Tensor]| {
            if let (Implementation::Reference, Precision::Bf16) =
                (ops.implementation, ops.precision)
            {
                return kept_forward(x);
            }
            let weights = FeedForward {
                norm: &x[1],
                epsilon: EPSILON,
                gate: (&x[2]).into(),
                up: (&x[3]).into(),
                down: (&x[4]).into(),
            };
            ops.feed_forward(&x[0], &weights)
        }
    };
    let plain = support::REFERENCE;
    let cases = [
        (
            "attention",
            [FUSED, REFERENCE, plain].map(|ops| support::run(&inputs, &attend(ops))),
        ),
        (
            "feed-forward",
            [FUSED, REFERENCE, plain].map(|ops| support::run(&feed, &forward(ops))),
        ),
    ];
    for (what, [fused, reference, plain]) in cases {
        let (fused, reference, plain) = (fused?, reference?, plain?);
        for (place, fused) in fused.iter().enumerate() {
            let (fused, reference) = (values(fused), values(&reference[place]));
            let (error, between) = (
                apart(&fused, &reference),
                apart(&reference, &values(&plain[place])),
            );
            println!("{what}, {place}: {error:.2e} from bf16, {between:.2e} between bf16 and f32");
            assert!(error < 1e-2, "{what}, {place}: {error}");
            assert!(
                error < 0.8 * between,
                "{what}, {place}: {error}, and f32 is {between} away"
            );
        }
    }
    Ok(())
}
