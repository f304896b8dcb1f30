//! Method that the others of a frontier are compared with.

use super::complete::Complete;
use super::method::Method;
use crate::ReportError;

/// Default method that the others are compared with.
const REFERENCE: &str = "full";

/// Returns the method that the others are compared with, and a note if it is not the `configured` one.
pub fn reference(
    configured: Option<&str>,
    methods: &[Method],
    complete: &Complete,
) -> Result<(String, Option<String>), ReportError> {
    let trained = |method: &&Method| method.share.is_none();
    let mut all: Vec<&str> = methods
        .iter()
        .filter(trained)
        .map(|method| &*method.name)
        .collect();
    all.sort_unstable();
    let compared = |name: &&&str| complete.names.iter().any(|known| known == **name);
    let wanted = configured.unwrap_or(REFERENCE);
    if let Some(found) = all.iter().filter(compared).find(|name| **name == wanted) {
        return Ok(((*found).to_owned(), None));
    }
    let first = all.iter().find(compared).or(all.first());
    let Some(first) = first.map(|name| (*name).to_owned()) else {
        return Err(ReportError::Report(
            "a frontier needs at least one finished run".into(),
        ));
    };
    let note = configured.is_some().then(|| {
        format!("`reference` = `{wanted}` does not have a finished run of every seed: the methods are compared with `{first}`")
    });
    Ok((first, note))
}
