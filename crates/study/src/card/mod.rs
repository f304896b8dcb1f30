//! Model cards: training data, scores and forgetting of a checkpoint, from the files of its run.

mod facts;
mod metadata;
mod paths;
mod text;

pub use facts::{CardOptions, Facts};
pub use metadata::is_on_the_hub;
pub use paths::shown;

use crate::StudyError;

/// Returns the whole `README.md`: front matter for the hub, then the text.
pub fn render(facts: &Facts) -> Result<String, StudyError> {
    let metadata = metadata::render(facts)?;
    Ok(format!("---\n{metadata}---\n\n{}", text::render(facts)))
}
