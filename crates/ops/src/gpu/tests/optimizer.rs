use candle_core::{DType, Tensor, Var};

use super::{F32, in_all_schedules, kernels, launches, numbers, reference, relative};
use crate::{
    AdamW, AdamWUpdate, Moments, Muon, MuonUpdate, Ops, Precision, UpdateAt, gradient_norm,
};

/// Sizes below, at and above the number of elements of a block.
const SIZES: [usize; 4] = [1, 300, 1 << 14, (1 << 14) + 77];

const ADAMW: AdamW = AdamW {
    learning_rate: 0.02,
    beta1: 0.9,
    beta2: 0.95,
    epsilon: 1e-8,
    weight_decay: 0.1,
};

/// Takes three steps and returns the parameters and their moments.
fn adamw(ops: Ops, dtype: DType) -> Vec<Tensor> {
    let parameters: Vec<Var> = SIZES
        .iter()
        .map(|size| Var::from_tensor(&numbers(&[*size], *size).to_dtype(dtype).unwrap()).unwrap())
        .collect();
    let mut moments: Vec<Moments> = parameters
        .iter()
        .map(|parameter| Moments::zeros(parameter).unwrap())
        .collect();
    for step in 1..=3 {
        let gradient = |size: &usize| numbers(&[*size], *size + step).to_dtype(dtype).unwrap();
        let gradients: Vec<Tensor> = SIZES.iter().map(gradient).collect();
        let tensors = parameters.iter().zip(&gradients).zip(&mut moments);
        let updates = tensors
            .enumerate()
            .map(|(place, ((parameter, gradient), moments))| AdamWUpdate {
                parameter,
                gradient,
                moments,
                weight_decay: place as f64 * 0.1,
            });
        let at = UpdateAt {
            step: step as u64,
            gradient_scale: 0.3,
        };
        ADAMW.step_all(ops, at, updates.collect()).unwrap();
    }
    let mut all: Vec<Tensor> = parameters.iter().map(Var::as_detached_tensor).collect();
    for moments in &moments {
        let (first, second) = moments.to_tensors().unwrap();
        all.extend([first, second]);
    }
    all
}

#[test]
fn adamw_matches_f64() {
    let expected = adamw(reference(), DType::F64);
    in_all_schedules(|schedule| {
        launches();
        let found = adamw(kernels(Precision::F32), DType::F32);
        let each = launches().unwrap_or(3);
        assert_eq!(each, 3, "a launch for all tensors of a step");
        for (place, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let error = relative(found, expected);
            assert!(error <= F32, "{schedule}, {place}: {error:e}");
        }
    });
}

/// Checks that saved moments are copies, which the next step does not change.
#[test]
fn saved_moments_stay() {
    let parameter = Var::from_tensor(&numbers(&[20], 1)).unwrap();
    let mut moments = Moments::zeros(&parameter).unwrap();
    let at = UpdateAt {
        step: 1,
        gradient_scale: 1.0,
    };
    let step = |moments: &mut Moments| {
        let ops = kernels(Precision::F32);
        ADAMW
            .step(ops, &parameter, &numbers(&[20], 2), moments, at)
            .unwrap();
    };
    step(&mut moments);
    let (first, second) = moments.to_tensors().unwrap();
    let values = |x: &Tensor| x.to_vec1::<f32>().unwrap();
    let before = (values(&first), values(&second));
    assert_ne!(before.0, before.1);
    step(&mut moments);
    assert_eq!((values(&first), values(&second)), before);
}

#[test]
fn gradient_norms_match_f64() {
    let gradients: Vec<Tensor> = SIZES.iter().map(|size| numbers(&[*size], *size)).collect();
    let gradients: Vec<&Tensor> = gradients.iter().collect();
    let square = |x: &&Tensor| {
        let x = x.to_dtype(DType::F64).unwrap().sqr().unwrap();
        x.sum_all().unwrap().to_scalar::<f64>().unwrap()
    };
    let expected = gradients.iter().map(square).sum::<f64>().sqrt();
    in_all_schedules(|schedule| {
        launches();
        let found = gradient_norm(kernels(Precision::F32), &gradients).unwrap();
        assert_eq!(launches().unwrap_or(1), 1);
        assert!(
            (found - expected).abs() <= F32 * expected,
            "{schedule}: {found} {expected}"
        );
    });
    assert_eq!(gradient_norm(kernels(Precision::F32), &[]).unwrap(), 0.0);
    let broken = Tensor::full(f32::NAN, 3, gradients[0].device()).unwrap();
    assert!(
        gradient_norm(kernels(Precision::F32), &[&broken])
            .unwrap()
            .is_nan()
    );
}

/// Takes two steps and returns the parameter and its momentum.
fn muon(ops: Ops, (rows, columns): (usize, usize), dtype: DType) -> [Tensor; 2] {
    let parameter =
        Var::from_tensor(&numbers(&[rows, columns], 1).to_dtype(dtype).unwrap()).unwrap();
    let mut momentum = parameter.zeros_like().unwrap();
    let muon = Muon {
        learning_rate: 0.1,
        momentum: 0.9,
        weight_decay: 0.1,
    };
    for step in 1..=2 {
        let update = MuonUpdate {
            parameter: &parameter,
            gradient: &numbers(&[rows, columns], 1 + step).to_dtype(dtype).unwrap(),
            momentum: &mut momentum,
        };
        let at = UpdateAt {
            step: step as u64,
            gradient_scale: 0.4,
        };
        muon.step(ops, at, vec![update]).unwrap();
    }
    [parameter.as_detached_tensor(), momentum]
}

#[test]
fn muon_matches_f64() {
    for size in [(5, 9), (17, 6)] {
        let expected = muon(reference(), size, DType::F64);
        in_all_schedules(|schedule| {
            launches();
            let found = muon(kernels(Precision::F32), size, DType::F32);
            assert_ne!(launches(), Some(0));
            for (found, expected) in found.iter().zip(&expected) {
                let error = relative(found, expected);
                // Directions with little gradient amplify rounding errors.
                assert!(error <= 100.0 * F32, "{size:?}, {schedule}: {error:e}");
            }
        });
    }
}
