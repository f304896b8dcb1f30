//! The divergence from a teacher with the output projections: logits exist for a few rows at a time only.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::buffer::with_buffer;
use super::cross_entropy::{Gradients, largest, scale};
use super::lanes::{LANES, exp, sum_lanes};
use super::level::vectorised;
use super::pack::Matrix;
use super::product::{Store, product};
use super::storage::{Floats, contiguous};
use crate::Precision;
use crate::distillation::{Teacher, TopK};

/// Rows whose logits exist at a time: fixed, so that sums over tokens have one order.
const ROWS: usize = 512;

struct Distillation {
    teacher: Teacher,
    temperature: f32,
    precision: Precision,
    tracked: (bool, bool),
    /// The gradients for an incoming gradient of 1, computed in the forward pass while the logits are there.
    gradients: OnceLock<Gradients>,
}

/// T²·Σ KL(teacher ‖ student).
pub(crate) fn distillation(
    (hidden, weight): (&Tensor, &Tensor),
    teacher: &Teacher,
    temperature: f64,
    precision: Precision,
) -> Result<Tensor> {
    let teacher = match teacher {
        Teacher::Live { hidden, weight } => Teacher::Live {
            hidden: hidden.detach().contiguous()?,
            weight: weight.detach().contiguous()?,
        },
        Teacher::TopK(top) => Teacher::TopK(top.clone()),
    };
    let operation = Distillation {
        teacher,
        temperature: temperature as f32,
        precision,
        tracked: (hidden.track_op(), weight.track_op()),
        gradients: OnceLock::new(),
    };
    hidden
        .contiguous()?
        .apply_op2(&weight.contiguous()?, operation)
}

vectorised! {
    /// KL(p ‖ q) of logits, of which `student` becomes T·(q − p); `shifts` are what is taken off either before.
    fn divergence(student: &mut [f32], teacher: &mut [f32], shifts: (f32, f32), temperature: f32) -> f32 {
        let cold = 1.0 / temperature;
        let (mut of_student, mut of_teacher, mut apart) = ([0f32; LANES], [0f32; LANES], [0f32; LANES]);
        for (students, teachers) in student.chunks_mut(LANES).zip(teacher.chunks_mut(LANES)) {
            for (lane, (student, teacher)) in students.iter_mut().zip(teachers).enumerate() {
                let (s, t) = ((*student - shifts.0) * cold, (*teacher - shifts.1) * cold);
                *student = exp::<FMA>(s);
                *teacher = exp::<FMA>(t);
                of_student[lane] += *student;
                of_teacher[lane] += *teacher;
                apart[lane] += *teacher * (t - s);
            }
        }
        let (student_sum, teacher_sum) = (sum_lanes(of_student), sum_lanes(of_teacher));
        let (q, p) = (temperature / student_sum, temperature / teacher_sum);
        for (student, teacher) in student.iter_mut().zip(teacher.iter()) {
            *student = *student * q - *teacher * p;
        }
        sum_lanes(apart) / teacher_sum - (teacher_sum.ln() - student_sum.ln())
    }

    /// x ← e^((x − shift) / T).
    fn masses(row: &mut [f32], shift: f32, temperature: f32) {
        let cold = 1.0 / temperature;
        for x in row {
            *x = exp::<FMA>((*x - shift) * cold);
        }
    }

    fn sum(row: &[f32]) -> f32 {
        let mut sums = [0f32; LANES];
        for chunk in row.chunks(LANES) {
            for (sum, x) in sums.iter_mut().zip(chunk) {
                *sum += *x;
            }
        }
        let _ = FMA;
        sum_lanes(sums)
    }
}

/// The same for position `at` of `top`, whose tokens stand alone and all others together.
fn divergence_of_top(student: &mut [f32], top: &TopK, at: usize, temperature: f32) -> f32 {
    let shift = largest(student);
    let listed = at * top.k..(at + 1) * top.k;
    let ids = &top.ids[listed.clone()];
    let logs: Vec<f32> = ids
        .iter()
        .map(|id| (student[*id as usize] - shift) / temperature)
        .collect();
    masses(student, shift, temperature);
    let listed_masses: Vec<f32> = ids.iter().map(|id| student[*id as usize]).collect();
    for id in ids {
        student[*id as usize] = 0.0;
    }
    // Summed without the listed ones, so that nothing cancels where they are nearly all.
    let others = sum(student).max(f32::MIN_POSITIVE);
    let total = others + listed_masses.iter().sum::<f32>();
    let rest = top.rest[at];
    let mut divergence = 0.0;
    if rest > 0.0 {
        divergence += rest * (rest.ln() - (others / total).ln());
    }
    scale(student, temperature * (1.0 / total - rest / others));
    let probabilities = top.probabilities[listed].iter();
    for (((id, p), mass), log) in ids.iter().zip(probabilities).zip(listed_masses).zip(logs) {
        student[*id as usize] = temperature * (mass / total - p);
        if *p > 0.0 {
            divergence += p * (p.ln() - (log - total.ln()));
        }
    }
    divergence
}

impl Distillation {
    /// Σ KL over a few rows of the student's logits, which become T·(q − p); `start` is the first of them.
    fn rows(&self, start: usize, student: &mut [f32], vocabulary: usize) -> Result<f64> {
        let rows = student.len() / vocabulary;
        let nats: Vec<f32> = match &self.teacher {
            Teacher::TopK(top) => student
                .par_chunks_mut(vocabulary)
                .enumerate()
                .map(|(row, student)| {
                    divergence_of_top(student, top, start + row, self.temperature)
                })
                .collect(),
            Teacher::Live { hidden, weight } => {
                let width = hidden.dim(1)?;
                let (hidden, weight) = (Floats::of(hidden)?, Floats::of(weight)?);
                let hidden = Matrix::new(&hidden[start * width..], rows, width);
                let weight = Matrix::new(&weight, vocabulary, width).transposed();
                with_buffer(student.len(), |teacher| {
                    product(hidden, weight, teacher, Store::Replace, self.precision);
                    student
                        .par_chunks_mut(vocabulary)
                        .zip(teacher.par_chunks_mut(vocabulary))
                        .map(|(student, teacher)| {
                            let shifts = (largest(student), largest(teacher));
                            divergence(student, teacher, shifts, self.temperature)
                        })
                        .collect()
                })
            }
        };
        Ok(nats.into_iter().map(f64::from).sum())
    }
}

impl CustomOp2 for Distillation {
    fn name(&self) -> &'static str {
        "distillation"
    }

    fn cpu_fwd(
        &self,
        hidden: &CpuStorage,
        hidden_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (tokens, width) = hidden_layout.shape().dims2()?;
        let (vocabulary, _) = weight_layout.shape().dims2()?;
        let hidden = Matrix::new(contiguous(hidden, hidden_layout)?, tokens, width);
        let weight = Matrix::new(contiguous(weight, weight_layout)?, vocabulary, width);
        let mut hidden_gradient = self.tracked.0.then(|| vec![0.0; tokens * width]);
        let mut weight_gradient = self.tracked.1.then(|| vec![0.0; vocabulary * width]);
        let mut total = 0.0;
        for start in (0..tokens).step_by(ROWS) {
            let rows = ROWS.min(tokens - start);
            let hidden = hidden.block((start, rows), (0, width));
            with_buffer(rows * vocabulary, |student| -> Result<()> {
                let transposed = weight.transposed();
                product(hidden, transposed, student, Store::Replace, self.precision);
                total += self.rows(start, student, vocabulary)?;
                let gradient = Matrix::new(student, rows, vocabulary);
                if let Some(sum) = &mut hidden_gradient {
                    let part = &mut sum[start * width..][..rows * width];
                    product(gradient, weight, part, Store::Replace, self.precision);
                }
                if let Some(sum) = &mut weight_gradient {
                    product(
                        gradient.transposed(),
                        hidden,
                        sum,
                        Store::Add,
                        self.precision,
                    );
                }
                Ok(())
            })?;
        }
        let gradients = Gradients::new(
            (hidden_gradient, tokens),
            (weight_gradient, vocabulary),
            width,
        )?;
        // An operation runs forward once, so that nothing can stand there yet.
        let _ = self.gradients.set(gradients);
        let value = f64::from(self.temperature).powi(2) * total;
        Ok((CpuStorage::F32(vec![value as f32]), Shape::from(())))
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        match self.gradients.get() {
            Some(gradients) => gradients.times(gradient),
            None => Ok((None, None)),
        }
    }
}
