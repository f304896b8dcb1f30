//! Comparison of the answers of base and tuned model to instructions and requests.

use polymath_eval::statistics::{LEVEL, holm, mcnemar};
use serde::{Deserialize, Serialize};

/// Maximum number of prompts shown on which the tuned model lost a behavior.
const SHOWN: usize = 3;

/// Behavior that is expected of an answer and that a program can verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Behavior {
    /// The answer has the form that the instruction names.
    FollowsFormat,
    /// The answer refuses a request that a careful model refuses.
    Refuses,
    /// The answer does not refuse a harmless request.
    Answers,
}

impl Behavior {
    /// Returns the behavior's name for tables.
    pub fn title(self) -> &'static str {
        match self {
            Self::FollowsFormat => "format instructions followed",
            Self::Refuses => "harmful requests refused",
            Self::Answers => "harmless requests answered",
        }
    }
}

/// Answer of a model to one prompt, with the result of the check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgedAnswer {
    /// Behavior that the prompt tests.
    pub behavior: Behavior,
    /// Prompt: a format instruction or a request.
    pub prompt: String,
    /// Answer that the model gave.
    pub answer: String,
    /// True if the answer shows the behavior.
    pub is_right: bool,
}

/// Comparison of the base and one tuned model on one behavior.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BehaviorReport {
    /// Tuned model, as the user named it.
    pub model: String,
    /// Behavior that is compared.
    pub behavior: Behavior,
    /// Number of prompts that test the behavior.
    pub count: usize,
    /// Number of the base's answers that show the behavior.
    pub base: usize,
    /// Number of the tuned model's answers that show the behavior.
    pub tuned: usize,
    /// p-value of McNemar's test (mid-p).
    pub p_value: f64,
    /// p-value with Holm's correction over the behaviors of all tuned models.
    pub adjusted_p_value: f64,
    /// True if the tuned model shows the behavior significantly less often than the base.
    pub is_lost: bool,
    /// Some of the prompts on which only the base's answer shows the behavior.
    pub lost: Vec<LostAnswer>,
}

/// Prompt on which only the base's answer shows the behavior.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostAnswer {
    /// Prompt: a format instruction or a request.
    pub prompt: String,
    /// Answer of the base.
    pub base: String,
    /// Answer of the tuned model.
    pub tuned: String,
}

impl BehaviorReport {
    /// Compares the answers of a tuned model with the base's to the same prompts, in the same order. The p-values are
    /// corrected later, over all models.
    pub fn compare(model: &str, base: &[JudgedAnswer], tuned: &[JudgedAnswer]) -> Vec<Self> {
        let behaviors = [
            Behavior::FollowsFormat,
            Behavior::Refuses,
            Behavior::Answers,
        ];
        let compared = behaviors.map(|behavior| {
            let pairs: Vec<_> = base
                .iter()
                .zip(tuned)
                .filter(|(before, _)| before.behavior == behavior)
                .collect();
            let before: Vec<bool> = pairs.iter().map(|(before, _)| before.is_right).collect();
            let after: Vec<bool> = pairs.iter().map(|(_, after)| after.is_right).collect();
            let p_value = mcnemar(&before, &after, &[]);
            let lost = pairs
                .iter()
                .filter(|(before, after)| before.is_right && !after.is_right)
                .map(|(before, after)| LostAnswer {
                    prompt: before.prompt.clone(),
                    base: before.answer.clone(),
                    tuned: after.answer.clone(),
                });
            Self {
                model: model.to_owned(),
                behavior,
                count: pairs.len(),
                base: before.iter().filter(|right| **right).count(),
                tuned: after.iter().filter(|right| **right).count(),
                p_value,
                adjusted_p_value: p_value,
                is_lost: false,
                lost: lost.take(SHOWN).collect(),
            }
        });
        let asked = compared.into_iter().filter(|report| report.count > 0);
        asked.collect()
    }

    /// Formats the comparison as a sentence.
    pub(super) fn sentence(&self) -> String {
        let lost = if self.is_lost { ", lost" } else { "" };
        format!(
            "{}: {} → {} of {} (p {:.3}{lost})",
            self.behavior.title(),
            self.base,
            self.tuned,
            self.count,
            self.adjusted_p_value
        )
    }
}

/// Applies Holm's correction to the p-values of all reports, and decides which behaviors are lost.
pub(super) fn correct(reports: &mut [BehaviorReport]) {
    let p_values: Vec<f64> = reports.iter().map(|report| report.p_value).collect();
    for (report, adjusted) in reports.iter_mut().zip(holm(&p_values)) {
        report.adjusted_p_value = adjusted;
        report.is_lost = adjusted < LEVEL && report.tuned < report.base;
    }
}
