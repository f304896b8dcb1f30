//! Benchmarks each operation, forward and backward, on the shapes of the reference model: the fused kernels beside
//! the reference implementation.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use candle_core::{Device, Result, Tensor, Var};
use criterion::{Criterion, criterion_group};
use polymath_ops::{
    AdamW, Implementation, Moments, Muon, MuonUpdate, Ops, Precision, RotaryTable, Segments,
    UpdateAt, gradient_norm,
};

const TOKENS: usize = 16 * 256;
const HIDDEN: usize = 256;
const INTERMEDIATE: usize = 688;
const VOCABULARY: usize = 4096;
const HEADS: &[usize] = &[16, 256, 8, 32];
const LONG: &[usize] = &[1, 2048, 8, 32];

type Function = Box<dyn Fn(Ops, &[Var]) -> Result<Tensor>>;

struct Case {
    name: &'static str,
    inputs: Vec<Var>,
    function: Function,
}

fn case(
    name: &'static str,
    shapes: &[&[usize]],
    function: impl Fn(Ops, &[Var]) -> Result<Tensor> + 'static,
) -> Result<Case> {
    let random = |shape: &&[usize]| Var::randn(0f32, 0.5, *shape, &Device::Cpu);
    Ok(Case {
        name,
        inputs: shapes.iter().map(random).collect::<Result<_>>()?,
        function: Box::new(function),
    })
}

fn cases() -> Result<Vec<Case>> {
    let frequencies: Vec<f64> = (0..16).map(|i| 1e4f64.powf(-f64::from(i) / 16.0)).collect();
    let table = RotaryTable::new(&frequencies, 256, &Device::Cpu)?;
    let positions: Arc<[u32]> = (0..TOKENS as u32).map(|i| i % 256).collect();
    let causal = Segments::causal(16, 256, 256);
    let starts = (0..TOKENS as u32).map(|i| i % 256 / 64 * 64).collect();
    let packed = Segments::new(16, 256, starts)?;
    let long = Segments::causal(1, 2048, 2048);
    let windowed = long.windowed(256);
    let targets: Arc<[u32]> = (0..TOKENS)
        .map(|i| (i * 7919 % VOCABULARY) as u32)
        .collect();
    let ids = Tensor::from_slice(&targets, (16, 256), &Device::Cpu)?;
    let wide: &[usize] = &[TOKENS, INTERMEDIATE];
    let hidden: &[usize] = &[TOKENS, HIDDEN];
    let embedding: &[usize] = &[VOCABULARY, HIDDEN];
    Ok(vec![
        case(
            "linear 256 → 256",
            &[hidden, &[HIDDEN, HIDDEN]],
            |ops, x| ops.linear(&x[0], &x[1], None),
        )?,
        case(
            "linear 256 → 688",
            &[hidden, &[INTERMEDIATE, HIDDEN]],
            |ops, x| ops.linear(&x[0], &x[1], None),
        )?,
        case(
            "linear 688 → 256",
            &[wide, &[HIDDEN, INTERMEDIATE]],
            |ops, x| ops.linear(&x[0], &x[1], None),
        )?,
        case("rms_norm", &[hidden, &[HIDDEN]], |ops, x| {
            ops.rms_norm(&x[0], &x[1], 1e-5)
        })?,
        case("swiglu", &[wide, wide], |ops, x| ops.swiglu(&x[0], &x[1]))?,
        case("rope", &[HEADS], move |ops, x| {
            ops.rope(&x[0], &table, &positions)
        })?,
        case("attention, causal", &[HEADS; 3], move |ops, x| {
            ops.attention(&x[0], &x[1], &x[2], &causal)
        })?,
        case("attention, 4 documents", &[HEADS; 3], move |ops, x| {
            ops.attention(&x[0], &x[1], &x[2], &packed)
        })?,
        case("attention, 2048 tokens", &[LONG; 3], move |ops, x| {
            ops.attention(&x[0], &x[1], &x[2], &long)
        })?,
        case(
            "attention, 2048 tokens, window of 256",
            &[LONG; 3],
            move |ops, x| ops.attention(&x[0], &x[1], &x[2], &windowed),
        )?,
        case("embedding", &[embedding], move |ops, x| {
            ops.embedding(&x[0], &ids)
        })?,
        case("cross_entropy", &[hidden, embedding], move |ops, x| {
            ops.cross_entropy(&x[0], &x[1], &targets, 0.0)
        })?,
    ])
}

const IMPLEMENTATIONS: [(&str, Implementation); 2] = [
    ("fused", Implementation::Fused),
    ("reference", Implementation::Reference),
];

fn operations(criterion: &mut Criterion) {
    for case in cases().expect("the cases") {
        let mut group = criterion.benchmark_group(case.name);
        group
            .sample_size(10)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1));
        for (name, implementation) in IMPLEMENTATIONS {
            let ops = in_f32(implementation);
            group.bench_function(format!("{name} forward"), |bencher| {
                bencher.iter(|| black_box((case.function)(ops, &case.inputs).expect("a result")));
            });
            group.bench_function(format!("{name} forward + backward"), |bencher| {
                bencher.iter(|| {
                    let y = (case.function)(ops, &case.inputs).expect("a result");
                    black_box(y.backward().expect("gradients"))
                });
            });
        }
    }
}

/// Step number and gradient scale that every benchmarked optimizer update uses.
const AT: UpdateAt = UpdateAt {
    step: 10,
    gradient_scale: 1.0,
};

fn in_f32(implementation: Implementation) -> Ops {
    Ops {
        implementation,
        precision: Precision::F32,
    }
}

fn optimizer(criterion: &mut Criterion) {
    let parameter = Var::randn(0f32, 1.0, (VOCABULARY, HIDDEN), &Device::Cpu).expect("a variable");
    let gradient = parameter.as_detached_tensor().copy().expect("a copy");
    let mut group = criterion.benchmark_group("optimizer, 1 M parameters");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(1));
    let adamw = AdamW {
        learning_rate: 1e-3,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weight_decay: 0.1,
    };
    for (name, implementation) in IMPLEMENTATIONS {
        let ops = in_f32(implementation);
        let mut moments = Moments::zeros(&parameter).expect("moments");
        group.bench_function(format!("adamw, {name}"), |bencher| {
            bencher.iter(|| adamw.step(ops, &parameter, &gradient, &mut moments, AT));
        });
    }
    group.bench_function("gradient_norm", |bencher| {
        bencher.iter(|| black_box(gradient_norm(Ops::fused(Precision::F32), &[&gradient])));
    });
}

/// Benchmarks Muon on all weight matrices of one transformer block.
fn muon(criterion: &mut Criterion) {
    let square = (HIDDEN, HIDDEN);
    let (wide, tall) = ((HIDDEN, INTERMEDIATE), (INTERMEDIATE, HIDDEN));
    let parameters: Vec<Var> = [square, square, square, square, tall, tall, wide]
        .iter()
        .map(|shape| Var::randn(0f32, 1.0, *shape, &Device::Cpu).expect("a variable"))
        .collect();
    let gradients: Vec<Tensor> = parameters
        .iter()
        .map(|parameter| parameter.as_detached_tensor().copy().expect("a copy"))
        .collect();
    let mut group = criterion.benchmark_group("optimizer, the matrices of a block");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(1));
    let muon = Muon {
        learning_rate: 1e-3,
        momentum: 0.95,
        weight_decay: 0.1,
    };
    for (name, implementation) in IMPLEMENTATIONS {
        let ops = in_f32(implementation);
        let mut momenta = gradients.clone();
        group.bench_function(format!("muon, {name}"), |bencher| {
            bencher.iter(|| {
                let matrices = parameters.iter().zip(&gradients).zip(&mut momenta);
                let updates = matrices.map(|((parameter, gradient), momentum)| MuonUpdate {
                    parameter,
                    gradient,
                    momentum,
                });
                muon.step(ops, AT, updates.collect())
            });
        });
    }
}

criterion_group!(benches, operations, optimizer, muon);

/// Runs the benchmarks on a thread of rayon's pool, as training does, so that no thread must be woken to share the
/// work.
fn main() {
    rayon::scope(|_| {
        benches();
        Criterion::default().configure_from_args().final_summary();
    });
}
