//! A model card: what a checkpoint was trained on, what it scores and what it forgot, from what its run left behind.

mod facts;
mod metadata;
mod paths;
mod text;

pub use facts::{CardOptions, Facts};
pub use metadata::is_on_the_hub;
pub use paths::shown;

use crate::StudyError;

/// The whole of a `README.md`: facts for the hub in YAML, then text for a person.
pub fn render(facts: &Facts) -> Result<String, StudyError> {
    let metadata = metadata::render(facts)?;
    Ok(format!("---\n{metadata}---\n\n{}", text::render(facts)))
}
