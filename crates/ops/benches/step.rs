//! Benchmarks one training step of the reference model (hidden size 256, 6 layers, 8 heads, intermediate size 688,
//! vocabulary 4096, batch of 16 × 256 tokens), put together from the operations alone: forward pass, backward pass,
//! gradient norm and optimizer update. Compares the fused kernels with the reference implementation.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use candle_core::{Device, Result, Tensor, Var};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use polymath_ops::{
    AdamW, FeedForward, Implementation, Moments, Ops, Placement, Precision, RotaryTable, Segments,
    SelfAttention, UpdateAt, gradient_norm,
};

const ROWS: usize = 16;
const SEQUENCE: usize = 256;
const HIDDEN: usize = 256;
const INTERMEDIATE: usize = 688;
const LAYERS: usize = 6;
const VOCABULARY: usize = 4096;

struct Model {
    ops: Ops,
    weights: Vec<Var>,
    moments: Vec<Moments>,
    rotary: RotaryTable,
    positions: Arc<[u32]>,
    segments: Segments,
    ids: Tensor,
    targets: Arc<[u32]>,
    step: u64,
}

impl Model {
    fn new(ops: Ops) -> Result<Self> {
        let mut shapes = vec![vec![VOCABULARY, HIDDEN], vec![HIDDEN]];
        for _ in 0..LAYERS {
            shapes.push(vec![HIDDEN]);
            shapes.extend(vec![vec![HIDDEN, HIDDEN]; 4]);
            shapes.push(vec![HIDDEN]);
            shapes.extend(vec![vec![INTERMEDIATE, HIDDEN]; 2]);
            shapes.push(vec![HIDDEN, INTERMEDIATE]);
        }
        let weights = shapes
            .into_iter()
            .map(|shape| Var::randn(0f32, 0.02, shape, &Device::Cpu))
            .collect::<Result<Vec<_>>>()?;
        let moments = weights.iter().map(Moments::zeros).collect::<Result<_>>()?;
        let frequencies: Vec<f64> = (0..16).map(|i| 1e4f64.powf(-f64::from(i) / 16.0)).collect();
        let token = |i: usize| (i * 2_654_435_761 % VOCABULARY) as u32;
        let ids: Vec<u32> = (0..ROWS * SEQUENCE).map(token).collect();
        Ok(Self {
            ops,
            weights,
            moments,
            rotary: RotaryTable::new(&frequencies, SEQUENCE, &Device::Cpu)?,
            positions: (0..ROWS * SEQUENCE)
                .map(|i| (i % SEQUENCE) as u32)
                .collect(),
            segments: Segments::causal(ROWS, SEQUENCE, SEQUENCE),
            targets: ids
                .iter()
                .map(|id| (id * 7 + 1) % VOCABULARY as u32)
                .collect(),
            ids: Tensor::from_vec(ids, (ROWS, SEQUENCE), &Device::Cpu)?,
            step: 0,
        })
    }

    fn layer(&self, x: &Tensor, weights: &[Var]) -> Result<Tensor> {
        let attention = SelfAttention {
            norm: &weights[0],
            epsilon: 1e-5,
            query: weights[1].as_tensor().into(),
            key: weights[2].as_tensor().into(),
            value: weights[3].as_tensor().into(),
            output: weights[4].as_tensor().into(),
            query_key_norm: None,
        };
        let placement = Placement {
            rotary: &self.rotary,
            positions: &self.positions,
            segments: &self.segments,
        };
        let x = self.ops.self_attention(x, &attention, &placement)?;
        let feed_forward = FeedForward {
            norm: &weights[5],
            epsilon: 1e-5,
            gate: weights[6].as_tensor().into(),
            up: weights[7].as_tensor().into(),
            down: weights[8].as_tensor().into(),
        };
        self.ops.feed_forward(&x, &feed_forward)
    }

    fn loss(&self) -> Result<Tensor> {
        let mut x = self.ops.embedding(&self.weights[0], &self.ids)?;
        for weights in self.weights[2..].chunks_exact(9) {
            x = self.layer(&x, weights)?;
        }
        let x = self.ops.rms_norm(&x, &self.weights[1], 1e-5)?;
        self.ops
            .cross_entropy(&x.flatten_to(1)?, &self.weights[0], &self.targets, 0.0)
    }

    fn train(&mut self) -> Result<f64> {
        self.step += 1;
        let gradients = self.loss()?.backward()?;
        let gradients: Vec<&Tensor> = self
            .weights
            .iter()
            .filter_map(|w| gradients.get(w))
            .collect();
        let norm = gradient_norm(self.ops, &gradients)?;
        let adamw = AdamW {
            learning_rate: 1e-3,
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            weight_decay: 0.1,
        };
        let at = UpdateAt {
            step: self.step,
            gradient_scale: 1.0 / norm,
        };
        for ((weight, gradient), moments) in
            self.weights.iter().zip(gradients).zip(&mut self.moments)
        {
            adamw.step(self.ops, weight, gradient, moments, at)?;
        }
        Ok(norm)
    }
}

fn step(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("step");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_secs(2))
        .measurement_time(Duration::from_secs(12))
        .throughput(Throughput::Elements((ROWS * SEQUENCE) as u64));
    for (name, implementation, precision) in [
        ("fused f32", Implementation::Fused, Precision::F32),
        ("fused bf16", Implementation::Fused, Precision::Bf16),
        ("reference f32", Implementation::Reference, Precision::F32),
    ] {
        let mut model = Model::new(Ops {
            implementation,
            precision,
        })
        .expect("a model");
        group.bench_function(format!("train, {name}"), |bencher| {
            bencher.iter(|| black_box(model.train().expect("a step")));
        });
        group.bench_function(format!("forward, {name}"), |bencher| {
            bencher.iter(|| black_box(model.loss().expect("a loss")));
        });
    }
    group.finish();
}

criterion_group!(benches, step);
criterion_main!(benches);
