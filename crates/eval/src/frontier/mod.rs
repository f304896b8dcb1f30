//! A frontier: several ways to tune one base for one niche, compared by what each gains and what it forgets.

mod area;
mod figures;
mod markdown;
mod page;

use std::path::Path;

pub use area::{hypervolume, pareto, recommend};
pub use figures::{Candidate, Frontier, HalfScores, Method, RunFigures, Scored};

use crate::EvalError;

impl Frontier {
    /// As Markdown, which reads well in a terminal too.
    pub fn markdown(&self) -> String {
        markdown::render(self)
    }

    /// Writes `frontier.html`, `frontier.md` and `frontier.json` into `folder`.
    ///
    /// # Errors
    /// A file that can't be written.
    pub fn write(&self, folder: &Path) -> Result<(), EvalError> {
        crate::page::write_forms(
            folder,
            "frontier",
            self,
            (page::render(self)?, self.markdown()),
        )
    }
}
