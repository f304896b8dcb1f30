//! Distillation loss, including the output projections. Logits are in memory for a few rows at a time only.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::gradients::Gradients;
use super::rows::{Projection, for_each_row, largest};
use crate::Precision;
use crate::fused::gemm::driver::{PackedOperand, Store, with_packed};
use crate::fused::gemm::format::Format;
use crate::fused::saved::Saved;
use crate::fused::simd::buffer::{Shared, with_buffer};
use crate::fused::simd::level::vectorized;
use crate::fused::simd::math::{LANES, add_scaled, exp, horizontal_sum, scale};
use crate::fused::simd::matrix::Matrix;
use crate::fused::simd::parallel::Threads;
use crate::fused::simd::storage::{Floats, contiguous};
use crate::teacher::{Teacher, TopK};

struct Distillation {
    teacher: Teacher,
    temperature: f32,
    precision: Precision,
    tracked: (bool, bool),
    /// Gradients for an incoming gradient of 1. The forward pass computes them while it has the logits.
    gradients: Saved<Gradients>,
}

/// Computes T²·Σ KL(teacher ‖ student).
pub(crate) fn distillation(
    (hidden, weight): (&Tensor, &Tensor),
    teacher: &Teacher,
    temperature: f64,
    precision: Precision,
) -> Result<Tensor> {
    let operation = Distillation {
        teacher: still(teacher)?,
        temperature: temperature as f32,
        precision,
        tracked: (hidden.track_op(), weight.track_op()),
        gradients: Saved::none(),
    };
    hidden
        .contiguous()?
        .apply_op2(&weight.contiguous()?, operation)
}

/// Detaches the teacher's tensors from their graph and makes them contiguous.
pub(super) fn still(teacher: &Teacher) -> Result<Teacher> {
    Ok(match teacher {
        Teacher::Live { hidden, weight } => Teacher::Live {
            hidden: hidden.detach().contiguous()?,
            weight: weight.detach().contiguous()?,
        },
        Teacher::TopK(top) => Teacher::TopK(top.clone()),
    })
}

vectorized! {
    /// Computes KL(p ‖ q) of one position, with p and q the softmax of (logits − shift) / T of teacher and student.
    /// `shifts` are (student's, teacher's). Overwrites `student` by T·(q − p).
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
        let (student_sum, teacher_sum) = (horizontal_sum(of_student), horizontal_sum(of_teacher));
        let (q, p) = (temperature / student_sum, temperature / teacher_sum);
        for (student, teacher) in student.iter_mut().zip(teacher.iter()) {
            *student = *student * q - *teacher * p;
        }
        horizontal_sum(apart) / teacher_sum - (teacher_sum.ln() - student_sum.ln())
    }

    /// Replaces each x by e^((x − shift) / T) and returns their sum.
    fn masses(row: &mut [f32], shift: f32, temperature: f32) -> f32 {
        let cold = 1.0 / temperature;
        let mut sums = [0f32; LANES];
        for chunk in row.chunks_mut(LANES) {
            for (sum, x) in sums.iter_mut().zip(chunk) {
                *x = exp::<FMA>((*x - shift) * cold);
                *sum += *x;
            }
        }
        horizontal_sum(sums)
    }
}

/// Computes the divergence at position `at` from a teacher's top k: each of the k tokens is an event, and all other
/// tokens together are one.
fn divergence_of_top(student: &mut [f32], top: &TopK, at: usize, temperature: f32) -> f32 {
    let shift = largest(student);
    let listed = at * top.k..(at + 1) * top.k;
    let ids = &top.ids[listed.clone()];
    let logs: Vec<f32> = ids
        .iter()
        .map(|id| (student[*id as usize] - shift) / temperature)
        .collect();
    for id in ids {
        student[*id as usize] = f32::NEG_INFINITY;
    }
    // Sums without the top k tokens, since a difference would cancel where they have nearly all probability.
    let others = masses(student, shift, temperature);
    let others = match others < f32::MIN_POSITIVE {
        true => f32::MIN_POSITIVE,
        false => others, // a NaN stays
    };
    let listed_masses: Vec<f32> = logs.iter().map(|log| log.exp()).collect();
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

/// Teacher with its output projection packed once for all rows.
pub(super) enum PreparedTeacher<'a> {
    TopK(&'a TopK),
    Live(Matrix<'a>, &'a PackedOperand<'a>),
}

/// Calls `work` with the teacher, its weight packed in `format`.
pub(super) fn with_prepared_teacher<R>(
    teacher: &Teacher,
    format: Format,
    work: impl FnOnce(&PreparedTeacher) -> R,
) -> Result<R> {
    match teacher {
        Teacher::TopK(top) => Ok(work(&PreparedTeacher::TopK(top))),
        Teacher::Live { hidden, weight } => {
            let (tokens, width) = hidden.dims2()?;
            let vocabulary = weight.dim(0)?;
            let (hidden, weight) = (Floats::of(hidden)?, Floats::of(weight)?);
            let hidden = Matrix::new(&hidden, tokens, width);
            let to_logits = Matrix::new(&weight, vocabulary, width).transposed();
            Ok(with_packed(to_logits, tokens, format, |to_logits| {
                work(&PreparedTeacher::Live(hidden, to_logits))
            }))
        }
    }
}

impl PreparedTeacher<'_> {
    /// Calls `work` with the teacher's distributions at some positions.
    fn with_rows<R>(
        &self,
        positions: Range<usize>,
        (vocabulary, temperature): (usize, f32),
        work: impl FnOnce(&TeacherRows) -> R,
    ) -> R {
        let length = match self {
            Self::TopK(_) => 0,
            Self::Live(..) => positions.len() * vocabulary,
        };
        with_buffer(length, |logits| {
            if let Self::Live(hidden, weight) = self {
                let rows = (positions.start, positions.len());
                let hidden = hidden.block(rows, (0, hidden.columns));
                weight.multiply(hidden, logits, Store::Replace, Threads::All);
            }
            work(&TeacherRows {
                teacher: self,
                first: positions.start,
                logits: Shared::new(logits),
                vocabulary,
                temperature,
            })
        })
    }
}

/// Teacher's distributions at the positions from `first` on.
struct TeacherRows<'a> {
    teacher: &'a PreparedTeacher<'a>,
    first: usize,
    logits: Shared,
    vocabulary: usize,
    temperature: f32,
}

impl TeacherRows<'_> {
    /// Returns KL(teacher ‖ student) at position `at` and overwrites the student's logits by T·(q − p).
    ///
    /// # Safety
    /// `at` is one of the positions, and no other call uses it at the same time.
    unsafe fn divergence(&self, at: usize, student: &mut [f32]) -> f32 {
        match self.teacher {
            PreparedTeacher::TopK(top) => divergence_of_top(student, top, at, self.temperature),
            PreparedTeacher::Live(..) => {
                let start = (at - self.first) * self.vocabulary;
                // SAFETY: promised by the caller.
                let teacher = unsafe { self.logits.slice(start, self.vocabulary) };
                let shifts = (largest(student), largest(teacher));
                divergence(student, teacher, shifts, self.temperature)
            }
        }
    }
}

/// Rows of a loss that are also distilled.
pub(super) struct DistilledPositions<'a> {
    /// Indices of the distilled rows, ascending. Position i of the teacher belongs to row `rows[i]`.
    pub rows: &'a [usize],
    pub teacher: &'a PreparedTeacher<'a>,
    pub temperature: f32,
    /// Weight of the divergence in the loss.
    pub strength: f32,
}

impl DistilledPositions<'_> {
    /// Calls `work` with the teacher's distributions at those of `rows` that are distilled.
    pub fn with_teacher<R>(
        &self,
        rows: Range<usize>,
        vocabulary: usize,
        work: impl FnOnce(&DistilledRows) -> R,
    ) -> R {
        let before = |row: usize| self.rows.partition_point(|distilled| *distilled < row);
        let positions = before(rows.start)..before(rows.end);
        let shape = (vocabulary, self.temperature);
        self.teacher.with_rows(positions, shape, |teacher| {
            work(&DistilledRows {
                positions: self,
                teacher,
            })
        })
    }
}

/// Distilled rows of a loss with the teacher's distributions.
pub(super) struct DistilledRows<'a> {
    positions: &'a DistilledPositions<'a>,
    teacher: &'a TeacherRows<'a>,
}

impl DistilledRows<'_> {
    /// Lets `task` overwrite the logits of `row` by the gradient of the cross-entropy. If the row is distilled, adds
    /// the gradient of the divergence. Returns the divergence, or 0 for other rows.
    ///
    /// # Safety
    /// No other call is for this row.
    pub unsafe fn beside(
        &self,
        row: usize,
        logits: &mut [f32],
        task: impl FnOnce(&mut [f32]),
    ) -> f32 {
        let Ok(at) = self.positions.rows.binary_search(&row) else {
            task(logits);
            return 0.0;
        };
        with_buffer(logits.len(), |student| {
            student.copy_from_slice(logits);
            // SAFETY: the row is among the teacher's positions, and the caller promises that no other call uses it.
            let divergence = unsafe { self.teacher.divergence(at, student) };
            task(logits);
            add_scaled(student, self.positions.strength, logits);
            divergence
        })
    }
}

impl Distillation {
    /// Returns the sum of KL over a few rows and overwrites the student's logits by T·(q − p). `start` is the index
    /// of the first row.
    fn rows(
        &self,
        start: usize,
        student: &mut [f32],
        vocabulary: usize,
        teacher: &PreparedTeacher,
    ) -> f64 {
        let rows = start..start + student.len() / vocabulary;
        let mut nats = vec![0.0; rows.len()];
        let cells = Shared::new(&mut nats);
        teacher.with_rows(rows, (vocabulary, self.temperature), |teacher| {
            for_each_row(student, vocabulary, |row, student| {
                // SAFETY: each row belongs to one task.
                unsafe { cells.slice(row, 1)[0] = teacher.divergence(start + row, student) };
            });
        });
        nats.into_iter().map(f64::from).sum()
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
        let sides = [&mut hidden_gradient, &mut weight_gradient].map(Option::as_deref_mut);
        let projection = Projection {
            hidden,
            weight,
            format: Format::of(self.precision),
        };
        let mut total = 0.0;
        with_prepared_teacher(&self.teacher, projection.format, |teacher| {
            projection.gradients(sides, |start, student| {
                total += self.rows(start, student, vocabulary, teacher);
            });
        })?;
        let gradients = Gradients::new(
            (hidden_gradient, tokens),
            (weight_gradient, vocabulary),
            width,
        )?;
        self.gradients.put(gradients);
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
        self.gradients.take("distillation")?.times(gradient)
    }
}
