//! The divergence from a teacher with the output projections: logits exist for a few rows at a time only.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::buffer::with_buffer;
use super::cross_entropy::{Gradients, largest};
use super::format::Format;
use super::lanes::{LANES, exp, scale, sum_lanes};
use super::level::vectorised;
use super::pack::Matrix;
use super::product::{PackedFactor, Store, Threads, product_in, with_packed};
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

/// Whom the student is set against, its weight packed once.
enum Opposite<'a> {
    TopK(&'a TopK),
    Live(Matrix<'a>, &'a PackedFactor<'a>),
}

impl Distillation {
    /// Σ KL over a few rows of the student's logits, which become T·(q − p); `start` is the first of them.
    fn rows(
        &self,
        start: usize,
        student: &mut [f32],
        vocabulary: usize,
        teacher: &Opposite,
    ) -> f64 {
        let nats: Vec<f32> = match teacher {
            Opposite::TopK(top) => student
                .par_chunks_mut(vocabulary)
                .enumerate()
                .map(|(row, student)| {
                    divergence_of_top(student, top, start + row, self.temperature)
                })
                .collect(),
            Opposite::Live(hidden, weight) => with_buffer(student.len(), |teacher| {
                let rows = (start, student.len() / vocabulary);
                let hidden = hidden.block(rows, (0, hidden.columns));
                weight.multiply(hidden, teacher, Store::Replace, Threads::All);
                student
                    .par_chunks_mut(vocabulary)
                    .zip(teacher.par_chunks_mut(vocabulary))
                    .map(|(student, teacher)| {
                        let shifts = (largest(student), largest(teacher));
                        divergence(student, teacher, shifts, self.temperature)
                    })
                    .collect()
            }),
        };
        nats.into_iter().map(f64::from).sum()
    }

    /// The divergence, with the gradients where they are wanted.
    fn sum(
        &self,
        [hidden, weight]: [Matrix; 2],
        teacher: &Opposite,
        mut gradients: [Option<&mut [f32]>; 2],
    ) -> f64 {
        let (tokens, width, vocabulary) = (hidden.rows, hidden.columns, weight.rows);
        let format = Format::of(self.precision);
        let mut total = 0.0;
        let mut chunk = |start: usize, to_logits: &PackedFactor, to_hidden: &PackedFactor| {
            let rows = ROWS.min(tokens - start);
            let hidden = hidden.block((start, rows), (0, width));
            with_buffer(rows * vocabulary, |student| {
                to_logits.multiply(hidden, student, Store::Replace, Threads::All);
                total += self.rows(start, student, vocabulary, teacher);
                let gradient = Matrix::new(student, rows, vocabulary);
                let [for_hidden, for_weight] = &mut gradients;
                if let Some(sum) = for_hidden {
                    let part = &mut sum[start * width..][..rows * width];
                    to_hidden.multiply(gradient, part, Store::Replace, Threads::All);
                }
                if let Some(sum) = for_weight {
                    product_in(format, gradient.transposed(), hidden, sum, Store::Add);
                }
            });
        };
        with_packed(weight.transposed(), tokens, format, |to_logits| {
            with_packed(weight, tokens, format, |to_hidden| {
                for start in (0..tokens).step_by(ROWS) {
                    chunk(start, to_logits, to_hidden);
                }
            });
        });
        total
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
        let gradients = [&mut hidden_gradient, &mut weight_gradient].map(Option::as_deref_mut);
        let total = match &self.teacher {
            Teacher::TopK(top) => self.sum([hidden, weight], &Opposite::TopK(top), gradients),
            Teacher::Live {
                hidden: of_teacher,
                weight: to_logits,
            } => {
                let width = of_teacher.dim(1)?;
                let (of_teacher, to_logits) = (Floats::of(of_teacher)?, Floats::of(to_logits)?);
                let of_teacher = Matrix::new(&of_teacher, tokens, width);
                let to_logits = Matrix::new(&to_logits, vocabulary, width).transposed();
                with_packed(to_logits, tokens, Format::of(self.precision), |to_logits| {
                    let teacher = Opposite::Live(of_teacher, to_logits);
                    self.sum([hidden, weight], &teacher, gradients)
                })
            }
        };
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
