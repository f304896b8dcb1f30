//! Parameter rows for tokens that are added to a model's tokenizer.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};

use crate::{EMBEDDING, HEAD, ModelConfig, ModelError};

/// Parameters with one row per token. With a tied head there is no head parameter.
const BY_TOKEN: [&str; 2] = [EMBEDDING, HEAD];
/// Number of rows that are summed at once.
const ROWS: usize = 4096;

/// Position of the new tokens in the vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewRows {
    /// Number of tokens in the tokenizer before the extension; they have the first rows.
    pub known: usize,
    /// Number of new tokens; they have the next rows.
    pub added: usize,
}

impl NewRows {
    /// Returns the parameters among `names` that get new rows.
    pub fn parameters(names: &[String]) -> Vec<&String> {
        let by_token = |name: &&String| BY_TOKEN.contains(&name.as_str());
        names.iter().filter(by_token).collect()
    }

    /// Returns the config of the model with the new tokens. Many models have padding rows beyond the tokenizer's
    /// tokens. These are used first, and the vocabulary grows only by the rest.
    ///
    /// # Errors
    /// Fails if the tokenizer has more tokens than the model.
    pub fn extend(self, config: &ModelConfig) -> Result<ModelConfig, ModelError> {
        if self.known > config.vocab_size {
            return Err(ModelError::Architecture(format!(
                "`vocab_size` = {}, but `tokenizer.json` has {} tokens: they do not belong together",
                config.vocab_size, self.known
            )));
        }
        Ok(ModelConfig {
            vocab_size: config.vocab_size.max(self.known + self.added),
            ..config.clone()
        })
    }

    /// Sets each new row of the embedding, and of an untied head, to the mean of the known tokens' rows.
    ///
    /// # Errors
    /// Fails if a tensor operation fails.
    pub fn fill(self, weights: &mut BTreeMap<String, Tensor>) -> Result<(), ModelError> {
        for name in BY_TOKEN {
            if let Some(weight) = weights.get_mut(name) {
                *weight = self.filled(weight)?;
            }
        }
        Ok(())
    }

    fn filled(self, weight: &Tensor) -> Result<Tensor, candle_core::Error> {
        let (rows, width) = weight.dims2()?;
        let known = weight.narrow(0, 0, self.known)?;
        // The sum is in f64, because f32 would lose digits over a hundred thousand rows.
        let mut sum = Tensor::zeros(width, DType::F64, weight.device())?;
        for start in (0..self.known).step_by(ROWS) {
            let some = known.narrow(0, start, ROWS.min(self.known - start))?;
            sum = (sum + some.to_dtype(DType::F64)?.sum(0)?)?;
        }
        let mean = (sum / self.known as f64)?.to_dtype(weight.dtype())?;
        let new = mean.unsqueeze(0)?.repeat((self.added, 1))?; // (added, width)
        let end = self.known + self.added;
        let padding = weight.narrow(0, end.min(rows), rows.saturating_sub(end))?;
        Tensor::cat(&[&known, &new, &padding], 0)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn rows(numbers: &[[f32; 2]]) -> BTreeMap<String, Tensor> {
        let flat: Vec<f32> = numbers.iter().flatten().copied().collect();
        let tensor = Tensor::from_vec(flat, (numbers.len(), 2), &Device::Cpu).unwrap();
        BTreeMap::from([(BY_TOKEN[0].to_owned(), tensor)])
    }

    fn filled(new: NewRows, numbers: &[[f32; 2]]) -> Vec<Vec<f32>> {
        let mut weights = rows(numbers);
        new.fill(&mut weights).unwrap();
        weights[BY_TOKEN[0]].to_vec2().unwrap()
    }

    /// Checks that new rows are the mean of the known tokens' rows without the padding, and that they replace the
    /// padding first.
    #[test]
    fn new_rows_are_the_mean_of_known_rows() {
        let known = [[1.0, 5.0], [2.0, -7.0], [6.0, 5.0]];
        let mean = vec![3.0, 1.0];
        let new = |added| NewRows { known: 3, added };
        let before: Vec<Vec<f32>> = known.iter().map(|row| row.to_vec()).collect();
        let twice = [mean.clone(), mean.clone()];
        assert_eq!(filled(new(2), &known), [&before[..], &twice].concat());
        let padded = [known[0], known[1], known[2], [9.0, 9.0], [8.0, 8.0]];
        let one = [mean.clone(), vec![8.0, 8.0]];
        assert_eq!(filled(new(1), &padded), [&before[..], &one].concat());
        assert_eq!(filled(new(4), &padded).len(), 7);
        assert_eq!(filled(new(4), &padded)[6], mean);
    }
}
