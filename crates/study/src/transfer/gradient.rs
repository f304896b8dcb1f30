//! Mean loss gradient of the base on a domain.

use std::collections::BTreeMap;

use candle_core::Tensor;
use polymath_data::{BatchShape, MixturePart, MixtureStream, NamedShard};
use polymath_model::Transformer;

use crate::StudyError;

/// Rows in a batch.
const ROWS: usize = 8;

/// Gradient of each parameter, by name.
pub struct Gradient(BTreeMap<String, Tensor>);

impl Gradient {
    /// Computes the gradient of the base's loss on about `tokens` tokens of a domain's training text, in rows of
    /// `sequence_length`, with respect to the trainable parameters of `model`.
    ///
    /// # Errors
    /// Fails if the model fails.
    pub fn of(
        model: &Transformer,
        domain: NamedShard,
        tokens: u64,
        sequence_length: usize,
    ) -> Result<Self, StudyError> {
        let part = MixturePart {
            name: domain.name,
            shard: domain.shard,
            weight: 1.0,
        };
        let shape = BatchShape {
            rows: ROWS,
            sequence_length,
        };
        let stream = MixtureStream::new(vec![part], shape, model.config().bos_token_id, 0)?;
        let mut sums: BTreeMap<String, Tensor> = BTreeMap::new();
        for at in 0..tokens.div_ceil((ROWS * sequence_length) as u64) {
            let batch = stream.batch(at);
            let mut gradients = model.loss(&batch)?.backward()?;
            for (name, parameter) in model.trainable() {
                let Some(gradient) = gradients.remove(parameter) else {
                    continue;
                };
                let gradient = gradient.detach();
                let sum = match sums.remove(name) {
                    Some(before) => (before + gradient)?,
                    None => gradient,
                };
                sums.insert(name.clone(), sum);
            }
        }
        Ok(Self(sums))
    }

    /// Returns the cosine similarity of two gradients, or 0 if one of them is zero.
    ///
    /// # Errors
    /// Fails if a tensor operation on the device fails.
    pub fn cosine(&self, other: &Self) -> Result<f64, StudyError> {
        let scale = (self.product(self)? * other.product(other)?).sqrt();
        if scale == 0.0 {
            return Ok(0.0);
        }
        Ok(self.product(other)? / scale)
    }

    fn product(&self, other: &Self) -> Result<f64, StudyError> {
        let mut sum = 0.0;
        for (name, own) in &self.0 {
            if let Some(other) = other.0.get(name) {
                sum += f64::from((own * other)?.sum_all()?.to_scalar::<f32>()?);
            }
        }
        Ok(sum)
    }
}
