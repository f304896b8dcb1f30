//! Compares every kernel with the reference in f64, in the emulator: odd sizes, all schedules of the threads, memory
//! that begins as NaN. With `POLYMATH_TEST_DEVICE=cuda:0` in a build with the feature `cuda`, the same tests run on
//! that GPU.

mod adapter;
mod attention;
mod counts;
mod layers;
mod loss;
mod optimizer;
mod sublayers;

use std::sync::OnceLock;

use candle_core::{DType, Device, Result, Tensor, Var};
use polymath_emulator::{Schedule, set_schedule};

use crate::{Implementation, Ops, Precision};

/// Largest relative errors that the kernels may have.
const F32: f64 = 1e-5;
const BF16: f64 = 4e-3;

/// Returns the device of the kernels: the CPU for the emulator.
fn device() -> Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    let open = || match std::env::var("POLYMATH_TEST_DEVICE").as_deref() {
        Ok("cuda:0") => crate::cuda_device(0).expect("a GPU"),
        _ => Device::Cpu,
    };
    DEVICE.get_or_init(open).clone()
}

/// Returns the operations by kernels.
fn kernels(precision: Precision) -> Ops {
    crate::install_emulator(polymath_emulator::emulate);
    Ops {
        implementation: match device().is_cpu() {
            true => Implementation::Emulated,
            false => Implementation::Fused,
        },
        precision,
    }
}

/// Returns the number of launches in the emulator since the last call; `None` on a GPU.
fn launches() -> Option<u64> {
    let work = crate::emulated_work();
    device().is_cpu().then_some(work.launches)
}

/// Returns the reference without rounding.
fn reference() -> Ops {
    Ops {
        implementation: Implementation::Reference,
        precision: Precision::F32,
    }
}

/// Runs a check in every schedule of the emulator; on a GPU once.
fn in_all_schedules(check: impl Fn(&str)) {
    if !device().is_cpu() {
        return check("on the GPU");
    }
    for schedule in Schedule::all() {
        set_schedule(schedule);
        check(&format!("{schedule:?}"));
    }
    set_schedule(Schedule::default());
}

/// Returns numbers without a pattern, up to 1 in size, which bf16 represents exactly.
fn numbers(shape: &[usize], seed: usize) -> Tensor {
    let count = shape.iter().product::<usize>();
    let value = |at: usize| {
        let mixed =
            polymath_base::mix((at as u64 + 1).wrapping_mul(polymath_base::GOLDEN) ^ seed as u64);
        half::bf16::from_f64((mixed >> 11) as f64 / (1u64 << 52) as f64 - 1.0).to_f32()
    };
    let values: Vec<f32> = (0..count).map(value).collect();
    Tensor::from_vec(values, shape, &device()).unwrap()
}

/// Returns √(Σ(found − expected)² / Σ expected²), which is NaN if anything found is.
fn relative(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.dims(), expected.dims());
    let sum = |x: &Tensor| {
        let x = x.to_dtype(DType::F64).unwrap();
        x.sqr()
            .unwrap()
            .sum_all()
            .unwrap()
            .to_scalar::<f64>()
            .unwrap()
    };
    let found = found.to_dtype(DType::F64).unwrap();
    let expected = expected.to_dtype(DType::F64).unwrap();
    let difference = sum(&(found - &expected).unwrap());
    match sum(&expected) {
        size if size < 1e-20 => difference.sqrt(), // nothing but rounding is expected
        size => (difference / size).sqrt(),
    }
}

/// Returns the output, and the gradients of Σ output·numbers by each input.
fn with_gradients(
    inputs: &[Tensor],
    dtype: DType,
    forward: impl Fn(&[&Tensor]) -> Result<Tensor>,
) -> Vec<Tensor> {
    let variables: Vec<Var> = inputs
        .iter()
        .map(|input| Var::from_tensor(&input.to_dtype(dtype).unwrap()).unwrap())
        .collect();
    let tensors: Vec<&Tensor> = variables.iter().map(Var::as_tensor).collect();
    let output = forward(&tensors).unwrap();
    let weights = numbers(output.dims(), 99).to_dtype(dtype).unwrap();
    let sum = (&output * weights).unwrap().sum_all().unwrap();
    let gradients = sum.backward().unwrap();
    let found = variables.iter().map(|x| gradients.get(x).unwrap().clone());
    std::iter::once(output.detach()).chain(found).collect()
}

/// Compares an operation with the reference in f64, output and gradients, in every schedule.
fn assert_kernels(
    name: &str,
    inputs: &[Tensor],
    (precision, tolerance): (Precision, f64),
    forward: impl Fn(Ops, &[&Tensor]) -> Result<Tensor>,
) {
    let expected = with_gradients(inputs, DType::F64, |x| forward(reference(), x));
    in_all_schedules(|schedule| {
        crate::emulated_work();
        let ops = kernels(precision);
        let found = with_gradients(inputs, DType::F32, |x| forward(ops, x));
        let work = crate::emulated_work();
        if device().is_cpu() {
            assert!(work.launches + work.products > 0, "{name}: no kernel ran");
        }
        for (place, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let error = relative(found, expected);
            assert!(
                error <= tolerance,
                "{name}, {schedule}, result {place}: {error:e}"
            );
        }
    });
}
