//! Frontier: comparison of several fine-tuning methods for one base and niche by gain and forgetting.
//!
//! `scored` holds the scores, `runs` the results of one run, and `method` those of a method over its seeds, with
//! intervals from `estimates`. `comparisons` resamples all methods together and finds significant differences, and
//! `recommendation` chooses a method.

mod area;
mod comparisons;
mod complete;
mod estimates;
mod figures;
mod markdown;
mod method;
mod page;
mod recommendation;
mod reference;
mod runs;
mod scored;

use std::path::Path;

pub use area::{hypervolume, pareto};
pub use estimates::change_over_seeds;
pub use figures::{Frontier, FrontierSettings, Hypervolume, SplitGroups};
pub use method::{Difference, Method, WorstDomain};
pub use recommendation::{Confirmation, Outcome, Recommendation};
pub use runs::RunFigures;
pub use scored::{Candidate, ScoredRun};

use crate::ReportError;

impl Frontier {
    /// Renders the frontier for a terminal: sentences and a table of the methods.
    pub fn table(&self) -> String {
        markdown::table(self)
    }

    /// Renders the frontier in Markdown.
    pub fn markdown(&self) -> String {
        markdown::render(self)
    }

    /// Writes `frontier.html`, `frontier.md` and `frontier.json` into `folder`.
    ///
    /// # Errors
    /// Fails if a file can't be written.
    pub fn write(&self, folder: &Path) -> Result<(), ReportError> {
        crate::page::write_forms(
            folder,
            "frontier",
            self,
            crate::page::ReadableForms {
                html: page::render(self)?,
                markdown: self.markdown(),
            },
        )
    }
}
