//! Self-contained HTML pages in one style, and writing of a report's files.

use std::path::Path;

use minijinja::{Environment, HtmlEscape, Value};
use serde::Serialize;

use crate::ReportError;

/// Renders a template that extends `frame.html`, which contains the style sheet.
pub fn render(template: &str, shown: Value) -> Result<String, ReportError> {
    let failed =
        |error: minijinja::Error| ReportError::Report(format!("a page's template: {error}"));
    let mut environment = Environment::new();
    environment.add_filter("code", with_code);
    for (name, text) in [
        ("style.css", include_str!("style.css")),
        ("frame.html", include_str!("frame.html")),
        ("findings.html", include_str!("audit/findings.html")),
        ("page.html", template),
    ] {
        environment.add_template(name, text).map_err(failed)?;
    }
    environment
        .get_template("page.html")
        .and_then(|page| page.render(shown))
        .map_err(failed)
}

/// Returns a sentence as HTML: what stands between backticks, such as a flag, is code.
fn with_code(sentence: &str) -> Value {
    let mut html = String::new();
    for (number, piece) in sentence.split('`').enumerate() {
        let text = HtmlEscape(piece).to_string();
        html += &match number % 2 {
            0 => text,
            _ => format!("<code>{text}</code>"),
        };
    }
    Value::from_safe_string(html)
}

/// Checks before any work that writing a report would replace only files of an earlier report.
///
/// # Errors
/// Fails if other files have these names, or if a file has the name of the folder.
pub fn check_forms(folder: &Path, name: &str) -> Result<(), ReportError> {
    let refuse = |path: &Path, message: &str| {
        let path = path.display();
        Err(ReportError::Report(format!(
            "`{path}` {message}: choose another output folder, or remove this one"
        )))
    };
    if folder.exists() && !folder.is_dir() {
        return refuse(folder, "is a file, but the output is a folder");
    }
    let json = folder.join(format!("{name}.json"));
    let is_own = match polymath_base::read(&json) {
        Ok(bytes) => serde_json::from_slice::<serde_json::Value>(&bytes)
            .is_ok_and(|earlier| earlier.is_object()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(source) => return Err(ReportError::File { path: json, source }),
    };
    let mut forms = ["json", "html", "md"]
        .into_iter()
        .map(|form| folder.join(format!("{name}.{form}")));
    match forms.find(|path| !is_own && path.exists()) {
        Some(path) => refuse(
            &path,
            "exists, and is not an earlier result of this command",
        ),
        None => Ok(()),
    }
}

/// Forms of a result for people to read.
pub struct ReadableForms {
    /// Result as an HTML page.
    pub html: String,
    /// Result in Markdown.
    pub markdown: String,
}

/// Writes `result` to `folder` as `name.json`, and its forms as `name.html` and `name.md`, each atomically.
/// The JSON is written first, since [`check_forms`] recognizes an earlier result by it: an interrupted command can be
/// run again.
pub fn write_forms(
    folder: &Path,
    name: &str,
    result: &impl Serialize,
    forms: ReadableForms,
) -> Result<(), ReportError> {
    let json = serde_json::to_string_pretty(result)
        .map_err(|error| ReportError::Report(format!("`{name}.json`: {error}")))?;
    let files = [
        (format!("{name}.json"), json + "\n"),
        (format!("{name}.html"), forms.html),
        (format!("{name}.md"), forms.markdown),
    ];
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| ReportError::File { path, source }
    };
    std::fs::create_dir_all(folder).map_err(failed(folder))?;
    for (name, text) in files {
        let path = folder.join(&name);
        polymath_base::write(&path, text.as_bytes()).map_err(failed(&path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that a flag in a sentence is code on the page, and that a name from elsewhere stays text.
    #[test]
    fn backticks_are_code() {
        let html = with_code("<b> raise `--tokens`, or `--texts`.");
        let expected = "&lt;b&gt; raise <code>--tokens</code>, or <code>--texts</code>.";
        assert_eq!(html.to_string(), expected);
    }

    /// Checks that an earlier report is replaced and another file is not.
    #[test]
    fn only_earlier_results_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("report");
        check_forms(&place, "report").unwrap();
        let forms = || ReadableForms {
            html: String::new(),
            markdown: String::new(),
        };
        write_forms(&place, "report", &serde_json::json!({}), forms()).unwrap();
        check_forms(&place, "report").unwrap();
        std::fs::remove_file(place.join("report.json")).unwrap();
        let error = check_forms(&place, "report").unwrap_err().to_string();
        assert!(error.contains("report.html` exists"), "{error}");
        std::fs::write(place.join("report.json"), "mine").unwrap();
        let error = check_forms(&place, "report").unwrap_err().to_string();
        assert!(error.contains("report.json` exists"), "{error}");
        let error = check_forms(&place.join("report.md"), "report").unwrap_err();
        assert!(error.to_string().contains("is a file"), "{error}");
    }
}
