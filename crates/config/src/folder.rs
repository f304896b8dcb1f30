//! Paths of folders: not blank, and without a slash at their end.

use std::path::PathBuf;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// Deserializes the path of a folder that a config must name, for `#[serde(deserialize_with = …)]`. A slash at its end
/// is left out, since names of files beside the folder are made from the path, such as `<run>.dataset`.
///
/// # Errors
/// Fails for a path of white space alone, which no one could find again.
pub fn folder<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    let path = PathBuf::deserialize(deserializer)?;
    let Some(text) = path.to_str() else {
        return Ok(path);
    };
    if text.trim().is_empty() {
        return Err(D::Error::custom(
            "a blank path: expected that of a folder, such as \"checkpoints/small\"",
        ));
    }
    let plain = text.trim_end_matches('/');
    let plain = (!plain.is_empty()).then(|| PathBuf::from(plain));
    Ok(plain.unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Run {
        #[serde(deserialize_with = "crate::folder")]
        run: std::path::PathBuf,
    }

    /// Checks that a blank path is refused with its line or argument, and that any other loses only slashes at its end.
    #[test]
    fn a_blank_path_is_refused() {
        let read = |text: &str, overrides: &[&str]| {
            let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
            let run = crate::parse::<Run>(Path::new("a.toml"), text, &overrides);
            run.map(|run| run.run).map_err(|error| error.to_string())
        };
        assert_eq!(read("run = \"a b\"", &[]), Ok("a b".into()));
        assert_eq!(read("run = \"a/b//\"", &[]), Ok("a/b".into()));
        assert_eq!(read("run = \"/\"", &["run=./c/"]), Ok("./c".into()));
        assert_eq!(read("run = \"/\"", &[]), Ok("/".into()));
        for blank in ["run = \"\"", "run = \" \\t\""] {
            let error = read(blank, &[]).unwrap_err();
            assert!(error.contains("`a.toml`, line 1: a blank path"), "{error}");
        }
        for blank in ["run=", "run=\"\""] {
            let error = read("run = \"a\"", &[blank]).unwrap_err();
            assert!(
                error.contains(&format!("override `{blank}`: a blank path")),
                "{error}"
            );
        }
    }
}
