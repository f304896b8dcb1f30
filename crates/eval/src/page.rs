//! A page: one file that needs nothing from outside, in the one style of all of them.

use std::path::Path;

use minijinja::{Environment, Value};

use crate::EvalError;

/// A template with what it shows, the style sheet included.
pub fn render(template: &str, shown: Value) -> Result<String, EvalError> {
    let failed = |error: minijinja::Error| EvalError::Report(format!("a page's template: {error}"));
    let mut environment = Environment::new();
    for (name, text) in [
        ("style.css", include_str!("style.css")),
        ("page.html", template),
    ] {
        environment.add_template(name, text).map_err(failed)?;
    }
    environment
        .get_template("page.html")
        .and_then(|page| page.render(shown))
        .map_err(failed)
}

/// Writes files into `folder`, each beside its place first, so that none is ever half there.
pub fn write_files(folder: &Path, files: &[(&str, String)]) -> Result<(), EvalError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| EvalError::File { path, source }
    };
    std::fs::create_dir_all(folder).map_err(failed(folder))?;
    for (name, text) in files {
        let path = folder.join(name);
        let beside = folder.join(format!(".{name}.tmp"));
        std::fs::write(&beside, text).map_err(failed(&beside))?;
        std::fs::rename(&beside, &path).map_err(failed(&path))?;
    }
    Ok(())
}
