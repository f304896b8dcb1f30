//! A frontier: several methods to tune one base for one niche, compared by what each gains and what it forgets.
//!
//! `scored` is what it is made of, `runs` the figures of one run, `method` those of a method over its seeds, with intervals by
//! `estimates`; `joint` resamples all methods at once, `comparisons` says by it which are told apart, `recommendation` which
//! to take.

mod area;
mod comparisons;
mod complete;
mod estimates;
mod figures;
mod joint;
mod markdown;
mod method;
mod page;
mod recommendation;
mod runs;
mod scored;

use std::path::Path;

pub use area::{hypervolume, pareto};
pub use estimates::change_over_seeds;
pub use figures::{Frontier, Hypervolume, Settings, SplitGroups};
pub use method::{Difference, Method, WorstDomain};
pub use recommendation::{Confirmation, Outcome, Recommendation};
pub use runs::RunFigures;
pub use scored::{Candidate, ScoredRun};

use crate::ReportError;

impl Frontier {
    /// As Markdown, which reads well in a terminal too.
    pub fn markdown(&self) -> String {
        markdown::render(self)
    }

    /// Writes `frontier.html`, `frontier.md` and `frontier.json` into `folder`.
    ///
    /// # Errors
    /// A file that can't be written.
    pub fn write(&self, folder: &Path) -> Result<(), ReportError> {
        crate::page::write_forms(
            folder,
            "frontier",
            self,
            (page::render(self)?, self.markdown()),
        )
    }
}
