//! Helpers of the tests of operations.

pub mod muon_by_hand;

use candle_core::{Device, Result, Tensor, Var};
use polymath_ops::{Implementation, Ops, Precision};

pub const FUSED: Ops = Ops {
    implementation: Implementation::Fused,
    precision: Precision::F32,
};
pub const REFERENCE: Ops = Ops {
    implementation: Implementation::Reference,
    precision: Precision::F32,
};

/// Returns pseudo-random numbers between −1 and 1.
pub fn numbers(length: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(length).collect()
}

pub fn tensor(shape: &[usize], seed: u64) -> Tensor {
    let values = numbers(shape.iter().product(), seed);
    Tensor::from_vec(values, shape, &Device::Cpu).expect("the length fits")
}

pub fn variables(shapes: &[&[usize]]) -> Vec<Var> {
    let variable = |(seed, shape): (usize, &&[usize])| {
        Var::from_tensor(&tensor(shape, seed as u64)).expect("a variable")
    };
    shapes.iter().enumerate().map(variable).collect()
}

/// Returns the output, followed by the gradients of Σ output·r for a fixed random r.
pub fn run(inputs: &[Var], function: &dyn Fn(&[Tensor]) -> Result<Tensor>) -> Result<Vec<Tensor>> {
    let tensors: Vec<Tensor> = inputs.iter().map(|var| var.as_tensor().clone()).collect();
    let output = function(&tensors)?;
    let weights = tensor(output.dims(), 99).to_dtype(output.dtype())?;
    if output.elem_count() == 0 {
        return Ok(vec![output]); // Candle leaves nothing in the graph of an empty sum
    }
    let gradients = (&output * weights)?.sum_all()?.backward()?;
    let mut results = vec![output.detach()];
    for input in inputs {
        let gradient = gradients.get(input).expect("every input has a gradient");
        results.push(gradient.clone());
    }
    Ok(results)
}

pub fn values(x: &Tensor) -> Vec<f64> {
    let x = x.to_dtype(candle_core::DType::F64).expect("a float");
    x.flatten_all()
        .and_then(|x| x.to_vec1())
        .expect("on the CPU")
}

/// Asserts that two tensors are equal to within `tolerance` times the largest element. NaN equals NaN.
pub fn assert_close(a: &Tensor, b: &Tensor, tolerance: f64, what: &str) {
    assert_eq!(a.dims(), b.dims(), "{what}: shapes");
    let (a, b) = (values(a), values(b));
    let largest = b
        .iter()
        .fold(0.2f64, |m, x| if x.abs() > m { x.abs() } else { m });
    for (i, (a, b)) in a.iter().zip(&b).enumerate() {
        let same = (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * largest;
        assert!(same, "{what}: element {i} is {a} and should be {b}");
    }
}

/// Asserts that the fused implementation equals the reference, forward and backward.
pub fn assert_parity(
    what: &str,
    inputs: &[Var],
    function: &dyn Fn(Ops, &[Tensor]) -> Result<Tensor>,
) {
    let fused = run(inputs, &|x| function(FUSED, x)).expect("fused");
    let reference = run(inputs, &|x| function(REFERENCE, x)).expect("reference");
    for (i, (fused, reference)) in fused.iter().zip(&reference).enumerate() {
        assert_close(fused, reference, 1e-5, &format!("{what}, result {i}"));
    }
}
