//! Sampling of the next token with temperature, top-k, top-p and repetition penalty.

use crate::ModelError;

/// Settings for sampling the next token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplingConfig {
    /// Temperature: 0 always takes the most likely token (greedy decoding); 1 samples from the model's own
    /// distribution.
    pub temperature: f64,
    /// Samples only from the `k` most likely tokens; `None` for no limit.
    pub top_k: Option<usize>,
    /// Samples only from the most likely tokens that together have this probability ([nucleus
    /// sampling](https://arxiv.org/abs/1904.09751), Holtzman 2020); 1 for no limit.
    pub top_p: f64,
    /// Repetition penalty ([CTRL](https://arxiv.org/abs/1909.05858), Keskar 2019) as in `transformers`: for every
    /// token already in the text, positive logits are divided by this and negative logits multiplied by it; 1 for no
    /// penalty.
    pub repetition_penalty: f64,
    /// Seed; the same seed gives the same text.
    pub seed: u64,
}

impl Default for SamplingConfig {
    /// Returns settings that sample from the model's own distribution.
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: None,
            top_p: 1.0,
            repetition_penalty: 1.0,
            seed: 1,
        }
    }
}

impl SamplingConfig {
    /// Checks that every setting is in range.
    ///
    /// # Errors
    /// Fails if a setting is out of range.
    pub fn validate(&self) -> Result<(), ModelError> {
        let refuse = |message: String| Err(ModelError::Input(message));
        let (temperature, top_p, penalty) = (self.temperature, self.top_p, self.repetition_penalty);
        if !(temperature >= 0.0 && temperature.is_finite()) {
            return refuse(format!("temperature {temperature}: expected 0 or more"));
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return refuse(format!(
                "top-p {top_p}: expected a share above 0, at most 1"
            ));
        }
        if self.top_k == Some(0) {
            return refuse("top-k 0: expected at least 1".into());
        }
        if !(penalty > 0.0 && penalty.is_finite()) {
            return refuse(format!(
                "repetition penalty {penalty}: expected a number above 0 (1 for none)"
            ));
        }
        Ok(())
    }
}

/// Applies the repetition penalty to the logits of the tokens in `text`, once per distinct token.
pub(crate) fn penalize(logits: &mut [f32], text: &[u32], penalty: f64) {
    let mut seen = vec![false; logits.len()];
    for token in text {
        let at = *token as usize;
        if !std::mem::replace(&mut seen[at], true) {
            // `transformers` computes this in f32.
            let penalty = penalty as f32;
            let logit = &mut logits[at];
            *logit = if *logit < 0.0 {
                *logit * penalty
            } else {
                *logit / penalty
            };
        }
    }
}

/// Draws a token from the truncated distribution with the random number `uniform` ∈ [0, 1), most likely token first;
/// equal logits are ordered by token ID.
pub(crate) fn draw(logits: &[f32], sampling: &SamplingConfig, uniform: f64) -> u32 {
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    // Excluded tokens must not be selected because of rounding.
    if logits.iter().any(|logit| *logit > f32::NEG_INFINITY) {
        order.retain(|token| logits[*token as usize] != f32::NEG_INFINITY);
    }
    let by_logit = |a: &u32, b: &u32| {
        logits[*b as usize]
            .total_cmp(&logits[*a as usize])
            .then(a.cmp(b))
    };
    if sampling.temperature == 0.0 {
        return order.into_iter().min_by(by_logit).unwrap_or(0);
    }
    let keep = sampling.top_k.unwrap_or(order.len()).min(order.len());
    if keep < order.len() {
        order.select_nth_unstable_by(keep, by_logit);
        order.truncate(keep);
    }
    order.sort_unstable_by(by_logit);
    let highest = f64::from(logits[order[0] as usize]);
    let mut weights: Vec<f64> = order
        .iter()
        .map(|token| ((f64::from(logits[*token as usize]) - highest) / sampling.temperature).exp())
        .collect();
    let nucleus = sampling.top_p * weights.iter().sum::<f64>();
    let mut mass = 0.0;
    let kept = weights.iter().position(|weight| {
        mass += weight;
        mass >= nucleus
    });
    weights.truncate(kept.map_or(weights.len(), |last| last + 1));
    let mut remaining = uniform * weights.iter().sum::<f64>();
    for (token, weight) in order.iter().zip(&weights) {
        remaining -= weight;
        if remaining < 0.0 {
            return *token;
        }
    }
    order[weights.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(temperature: f64, top_k: Option<usize>, top_p: f64) -> SamplingConfig {
        SamplingConfig {
            temperature,
            top_k,
            top_p,
            ..SamplingConfig::default()
        }
    }

    #[test]
    fn truncation_keeps_only_the_likeliest() {
        let logits = [0.0f32, 2.0, 1.0, -1.0];
        for step in 0..100 {
            let uniform = f64::from(step) / 100.0;
            assert_eq!(draw(&logits, &sampling(0.0, None, 1.0), uniform), 1);
            assert_eq!(draw(&logits, &sampling(1.0, Some(1), 1.0), uniform), 1);
            assert_eq!(draw(&logits, &sampling(1.0, None, 0.1), uniform), 1);
            assert!([1, 2].contains(&draw(&logits, &sampling(1.0, Some(2), 1.0), uniform)));
        }
    }

    #[test]
    fn frequencies_follow_the_softmax() {
        // p = softmax(ln 1, ln 3): 1/4 and 3/4.
        let logits = [0.0f32, 3f32.ln()];
        let ones = (0..1000)
            .filter(|step| {
                draw(
                    &logits,
                    &sampling(1.0, None, 1.0),
                    f64::from(*step) / 1000.0,
                ) == 1
            })
            .count();
        assert!((749..=751).contains(&ones), "{ones}");
    }

    /// Checks that tokens are penalized as in `transformers`: each token of the text once, negative logits multiplied
    /// and positive ones divided.
    #[test]
    fn repeated_tokens_are_penalized_as_in_transformers() {
        let frozen = include_str!("../tests/fixtures/repetition_penalty.json");
        let frozen: serde_json::Value = serde_json::from_str(frozen).unwrap();
        let floats = |value: &serde_json::Value| -> Vec<f32> {
            serde_json::from_value(value.clone()).unwrap()
        };
        let cases = frozen["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 4);
        for case in cases {
            let mut logits = floats(&frozen["logits"]);
            let text: Vec<u32> = serde_json::from_value(case["text"].clone()).unwrap();
            penalize(&mut logits, &text, case["penalty"].as_f64().unwrap());
            assert_eq!(logits, floats(&case["penalized"]), "{case}");
        }
    }

    /// Checks that settings out of range are refused.
    #[test]
    fn settings_out_of_range_are_refused() {
        for penalty in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let sampling = SamplingConfig {
                repetition_penalty: penalty,
                ..SamplingConfig::default()
            };
            let error = sampling.validate().unwrap_err().to_string();
            assert!(error.contains("repetition penalty"), "{error}");
        }
    }
}
