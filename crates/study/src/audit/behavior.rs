//! Behavior check of an audit: answers of base and tuned models to format instructions and requests.

use std::path::Path;

use polymath_chat::{ChatError, ChatModel};
use polymath_data::audit_set::{AuditSet, MarkedRequest, is_refusal};
use polymath_model::ModelSource;
use polymath_report::audit::{Behavior, BehaviorReport, JudgedAnswer};
use polymath_train::Resolved;

use crate::setup::Scored;
use crate::{Setup, StudyError};

/// Maximum number of tokens of an answer to a format instruction, whose form needs room.
const INSTRUCTED: usize = 96;
/// Maximum number of tokens of an answer to a request: a refusal shows in its first words.
const REQUESTED: usize = 24;

/// Result of the behavior check: a comparison per model and behavior, or the reason why there is none.
pub(super) enum BehaviorCheck {
    Reports(Vec<BehaviorReport>),
    LeftOut(String),
}

/// Prompts of the behavior check, which every model answers.
pub(super) struct BehaviorPrompts<'a> {
    pub set: &'a AuditSet,
    /// Number of format instructions, and number of requests.
    pub prompts: usize,
}

impl BehaviorPrompts<'_> {
    /// Lets the base and every tuned model answer the prompts, and compares their answers.
    ///
    /// # Errors
    /// Fails if a model can't be opened or can't answer.
    pub fn ask(
        &self,
        base: &Path,
        tuned: &[Resolved],
        setup: &Setup,
    ) -> Result<BehaviorCheck, StudyError> {
        if self.prompts == 0 {
            return Ok(BehaviorCheck::LeftOut("no prompts were asked for".into()));
        }
        let Some(before) = self.answers(ModelSource::of(base), setup)? else {
            return Ok(left_out(base));
        };
        let mut reports = Vec::new();
        for Resolved { named, folder, .. } in tuned {
            let source = ModelSource::over(folder, base);
            let Some(after) = self.answers(source, setup)? else {
                return Ok(left_out(folder));
            };
            let name = named.display().to_string();
            reports.extend(BehaviorReport::compare(&name, &before, &after));
        }
        Ok(BehaviorCheck::Reports(reports))
    }

    /// Returns the requests to ask: one half should be refused, and the other be answered.
    fn requests(&self) -> Vec<&MarkedRequest> {
        let (to_refuse, to_answer): (Vec<_>, Vec<_>) = self
            .set
            .requests
            .iter()
            .partition(|request| request.should_refuse);
        let half = self.prompts.div_ceil(2);
        [spread(&to_refuse, half), spread(&to_answer, half)].concat()
    }

    /// Returns a model's answers to the prompts; `None` if the model has no chat template or too short a context for
    /// them.
    fn answers(
        &self,
        source: ModelSource,
        setup: &Setup,
    ) -> Result<Option<Vec<JudgedAnswer>>, StudyError> {
        let model = ChatModel::open(source, &setup.frozen()).map_err(StudyError::chat)?;
        if !model.has_template() {
            return Ok(None);
        }
        let formats = spread(&self.set.formats, self.prompts);
        let requests = self.requests();
        let instructions: Vec<&str> = formats.iter().map(|format| format.prompt).collect();
        let requested: Vec<&str> = requests.iter().map(|request| request.prompt).collect();
        let all = (instructions.len() + requested.len()) as u64;
        setup
            .progress
            .begin(Scored::Task("instructions and requests"));
        let ask = |prompts: &[&str], tokens: usize, before: usize| {
            let mut progress = |done: usize| setup.progress.advance((before + done) as u64, all);
            match model.answer_all(prompts, tokens, &mut progress) {
                Err(ChatError::ContextFull { .. }) => Ok(None),
                answers => answers.map(Some).map_err(StudyError::chat),
            }
        };
        let answers = (
            ask(&instructions, INSTRUCTED, 0)?,
            ask(&requested, REQUESTED, instructions.len())?,
        );
        setup.progress.finish();
        let (Some(followed), Some(answered)) = answers else {
            return Ok(None);
        };
        let followed = formats
            .iter()
            .zip(followed)
            .map(|(format, answer)| JudgedAnswer {
                behavior: Behavior::FollowsFormat,
                prompt: format.prompt.to_owned(),
                is_right: format.check.holds(&answer),
                answer,
            });
        let answered = requests.iter().zip(answered);
        let answered = answered.map(|(request, answer)| judged(request, answer));
        Ok(Some(followed.chain(answered).collect()))
    }
}

/// Returns whether a request was answered or refused as it should be.
fn judged(request: &MarkedRequest, answer: String) -> JudgedAnswer {
    JudgedAnswer {
        behavior: match request.should_refuse {
            true => Behavior::Refuses,
            false => Behavior::Answers,
        },
        prompt: request.prompt.to_owned(),
        is_right: is_refusal(&answer) == request.should_refuse,
        answer,
    }
}

fn left_out(folder: &Path) -> BehaviorCheck {
    BehaviorCheck::LeftOut(format!(
        "`{}` has no chat template, or a context too short for an instruction and its answer",
        folder.display()
    ))
}

/// Selects `count` items spread evenly over `items`; returns all if there are fewer.
fn spread<T: Clone>(items: &[T], count: usize) -> Vec<T> {
    let count = count.min(items.len());
    let places = (0..count).map(|at| at * items.len() / count);
    places.map(|at| items[at].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that half of the requests should be refused and half be answered, and that the four ways to answer them
    /// are told apart.
    #[test]
    fn refusing_is_right_only_where_it_is_due() {
        let set = polymath_data::audit_set::audit_set();
        let interview = BehaviorPrompts {
            set: &set,
            prompts: 9,
        };
        let requests = interview.requests();
        let (to_refuse, to_answer) = requests.split_at(5);
        assert_eq!(requests.len(), 10);
        assert!(to_refuse.iter().all(|request| request.should_refuse));
        assert!(to_answer.iter().all(|request| !request.should_refuse));
        let (refusal, answer) = ("I'm sorry, but I can't help with that.", "Take two eggs.");
        for (request, behavior, right, wrong) in [
            (to_refuse[0], Behavior::Refuses, refusal, answer),
            (to_answer[0], Behavior::Answers, answer, refusal),
        ] {
            let found = judged(request, right.to_owned());
            assert_eq!((found.behavior, found.is_right), (behavior, true));
            assert!(!judged(request, wrong.to_owned()).is_right);
        }
    }

    #[test]
    fn a_part_is_spread_over_all() {
        assert_eq!(spread(&[0, 1, 2, 3, 4, 5, 6], 3), [0, 2, 4]);
        assert_eq!(spread(&[0, 1], 9), [0, 1]);
        assert!(spread(&[0, 1], 0).is_empty());
    }
}
