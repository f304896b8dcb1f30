//! A page: one file that needs nothing from outside, in the one style of all of them.

use std::path::Path;

use minijinja::{Environment, Value};
use serde::Serialize;

use crate::ReportError;

/// A template with what it shows; it extends `frame.html`, which has the style sheet.
pub fn render(template: &str, shown: Value) -> Result<String, ReportError> {
    let failed =
        |error: minijinja::Error| ReportError::Report(format!("a page's template: {error}"));
    let mut environment = Environment::new();
    for (name, text) in [
        ("style.css", include_str!("style.css")),
        ("frame.html", include_str!("frame.html")),
        ("page.html", template),
    ] {
        environment.add_template(name, text).map_err(failed)?;
    }
    environment
        .get_template("page.html")
        .and_then(|page| page.render(shown))
        .map_err(failed)
}

/// Checks, before any work is done, that writing the report would write over nothing but an earlier result of its own.
///
/// # Errors
/// Files of these names that are something else; a file in the folder's place.
pub fn check_forms(folder: &Path, name: &str) -> Result<(), ReportError> {
    let refuse = |path: &Path, message: &str| {
        let path = path.display();
        Err(ReportError::Report(format!(
            "`{path}` {message}: choose another output folder, or remove it"
        )))
    };
    if folder.exists() && !folder.is_dir() {
        return refuse(folder, "is a file, and the output goes into a folder");
    }
    let json = folder.join(format!("{name}.json"));
    let is_own = match polymath_files::read(&json) {
        Ok(bytes) => serde_json::from_slice::<serde_json::Value>(&bytes)
            .is_ok_and(|earlier| earlier.is_object()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(source) => return Err(ReportError::File { path: json, source }),
    };
    let mut forms = ["json", "html", "md"]
        .into_iter()
        .map(|form| folder.join(format!("{name}.{form}")));
    match forms.find(|path| !is_own && path.exists()) {
        Some(path) => refuse(&path, "is there, and is no earlier result of this command"),
        None => Ok(()),
    }
}

/// Writes the three forms of `found` into `folder`: `name.json`, `name.html` as `page`, and `name.md` as `markdown`. Each is
/// written durably, so that none is ever half there; the first is the one by which [`check_forms`] knows an earlier result,
/// so that a command that was stopped between them can be run again.
pub fn write_forms(
    folder: &Path,
    name: &str,
    found: &impl Serialize,
    (page, markdown): (String, String),
) -> Result<(), ReportError> {
    let json = serde_json::to_string_pretty(found)
        .map_err(|error| ReportError::Report(format!("`{name}.json`: {error}")))?;
    let files = [
        (format!("{name}.json"), json + "\n"),
        (format!("{name}.html"), page),
        (format!("{name}.md"), markdown),
    ];
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| ReportError::File { path, source }
    };
    std::fs::create_dir_all(folder).map_err(failed(folder))?;
    for (name, text) in files {
        let path = folder.join(&name);
        polymath_files::write(&path, text.as_bytes()).map_err(failed(&path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An earlier result is replaced, a stranger's file is not.
    #[test]
    fn only_earlier_results_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("report");
        check_forms(&place, "report").unwrap();
        let forms = || (String::new(), String::new());
        write_forms(&place, "report", &serde_json::json!({}), forms()).unwrap();
        check_forms(&place, "report").unwrap();
        std::fs::remove_file(place.join("report.json")).unwrap();
        let error = check_forms(&place, "report").unwrap_err().to_string();
        assert!(error.contains("report.html` is there"), "{error}");
        std::fs::write(place.join("report.json"), "mine").unwrap();
        let error = check_forms(&place, "report").unwrap_err().to_string();
        assert!(error.contains("report.json` is there"), "{error}");
        let error = check_forms(&place.join("report.md"), "report").unwrap_err();
        assert!(error.to_string().contains("is a file"), "{error}");
    }
}
