//! A page: one file that needs nothing from outside, in the one style of all of them.

use std::path::Path;

use minijinja::{Environment, Value};
use serde::Serialize;

use crate::EvalError;

/// A template with what it shows; it extends `frame.html`, which has the style sheet.
pub fn render(template: &str, shown: Value) -> Result<String, EvalError> {
    let failed = |error: minijinja::Error| EvalError::Report(format!("a page's template: {error}"));
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

/// Writes the three forms of `found` into `folder`: `name.html` as `page`, `name.md` as `markdown`, and `name.json`. Each is
/// written durably, so that none is ever half there.
pub fn write_forms(
    folder: &Path,
    name: &str,
    found: &impl Serialize,
    (page, markdown): (String, String),
) -> Result<(), EvalError> {
    let json = serde_json::to_string_pretty(found)
        .map_err(|error| EvalError::Report(format!("`{name}.json`: {error}")))?;
    let files = [
        (format!("{name}.html"), page),
        (format!("{name}.md"), markdown),
        (format!("{name}.json"), json + "\n"),
    ];
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| EvalError::File { path, source }
    };
    std::fs::create_dir_all(folder).map_err(failed(folder))?;
    for (name, text) in files {
        let path = folder.join(&name);
        polymath_files::write(&path, text.as_bytes()).map_err(failed(&path))?;
    }
    Ok(())
}
