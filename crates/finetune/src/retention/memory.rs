//! Estimate of the memory that a run's retention needs in addition to the trained model.

use super::{ReplaySource, RetentionConfig};

/// Bytes of one number: an element of a parameter, of a gradient or of a squared gradient.
const NUMBER: u64 = 4;

/// Sizes from which the memory of retention methods is estimated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// Number of parameters of the base.
    pub base: u64,
    /// Number of trained parameters.
    pub trained: u64,
    /// Number of domains whose Fisher information is measured.
    pub retained: u64,
    /// Number of tokens in a row.
    pub sequence_length: usize,
}

impl RetentionConfig {
    /// Returns the bytes by which the run's peak exceeds its parameters, gradients, moments and activations.
    ///
    /// Copies of the base, Fisher information and cached predictions exist while the run trains. Measuring them takes
    /// more memory, but happens before the run has gradients and moments. The larger of the two is returned.
    pub(crate) fn memory(&self, sizes: Sizes) -> u64 {
        let (base, trained) = (NUMBER * sizes.base, NUMBER * sizes.trained);
        let mut during = 0;
        let mut before = 0;
        if self.l2sp.is_some() || self.ewc.is_some() {
            during += base;
        }
        if self.ewc.is_some() {
            // The model that is measured, its gradients and their squares, a running sum, and the mean of each
            // domain.
            before = during + base + trained * (3 + sizes.retained);
            during += trained;
        }
        if self.replays(ReplaySource::Generated) {
            before = before.max(during + base);
        }
        if let Some(distill) = &self.distill {
            match distill.pool_rows(sizes.sequence_length) {
                None => during += base,
                Some(rows) => {
                    // An index and a probability for each stored token, and the remaining probability; twice as much
                    // while it is written.
                    let position = 2 * distill.top_k() as u64 + 1;
                    let pool = NUMBER * rows * sizes.sequence_length as u64 * position;
                    before = before.max(during + base + 3 * pool);
                    during += pool;
                }
            }
        }
        if self.limits.is_some() {
            // The base is scored before training, and beside the tuned model after it.
            before = before.max(during + base);
        }
        // Subtracts the gradients and both moments of the trained parameters, which do not exist before training.
        during.max(before.saturating_sub(3 * trained))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Sizes = Sizes {
        base: 1000,
        trained: 1000,
        retained: 2,
        sequence_length: 10,
    };

    fn memory(text: &str, sizes: Sizes) -> u64 {
        let config: RetentionConfig = toml::from_str(text).unwrap();
        config.memory(sizes)
    }

    /// Checks that the estimate counts the copies that each method keeps, and counts the memory of measurements before
    /// the training instead if that is larger.
    #[test]
    fn methods_count_their_copies() {
        let all = |text| memory(text, SIZES);
        assert_eq!(all("replay = 0.1"), 0);
        assert_eq!(all("l2sp = 1.0"), 4000);
        assert_eq!(all("replay = 0.1\ndistill = { strength = 1.0 }"), 4000);
        // Two copies of the base, gradients, squares, a sum and two means exceed what training takes.
        assert_eq!(all("ewc = { strength = 1.0 }"), 4 * (2 + 3 + 2 - 3) * 1000);
        let few = Sizes {
            trained: 100,
            ..SIZES
        };
        assert_eq!(
            memory("ewc = { strength = 1.0 }", few),
            4 * (2 * 1000 + 2 * 100)
        );
        // Five of 100 tokens, their probabilities and the rest; only an adapter is trained.
        let pool = "replay = 0.1\ndistill = { strength = 1.0, cache = \"top-k\", top_k = 5, pool_tokens = 95 }";
        assert_eq!(
            memory(
                pool,
                Sizes {
                    trained: 0,
                    ..SIZES
                }
            ),
            4 * (1000 + 3 * 100 * 11)
        );
        // With gradients and moments of the whole base, measuring takes little more than storing.
        assert_eq!(all(pool), 4 * (1000 + 3 * 100 * 11) - 3 * 4000);
        assert_eq!(
            memory(
                "limits = { default = 0.1 }",
                Sizes {
                    trained: 0,
                    ..SIZES
                }
            ),
            4000
        );
    }
}
