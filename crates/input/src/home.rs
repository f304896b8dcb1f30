//! Expansion of `~` at the start of a path.

use std::borrow::Cow;

/// Replaces a leading `~` or `~/` by the home folder, as a shell does. `~name` and a `~` elsewhere stay unchanged. If
/// the home folder is not known, the whole path stays unchanged.
pub fn expand_home(path: &str) -> Cow<'_, str> {
    let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    expand(path, home.as_deref().and_then(std::path::Path::to_str))
}

fn expand<'a>(path: &'a str, home: Option<&str>) -> Cow<'a, str> {
    match (path.strip_prefix('~'), home) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
            Cow::Owned(format!("{}{rest}", home.trim_end_matches('/')))
        }
        _ => Cow::Borrowed(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that only a leading `~` of the user's own home is expanded.
    #[test]
    fn a_leading_tilde_is_expanded() {
        let home = Some("/home/ada/");
        assert_eq!(expand("~/texts/*.md", home), "/home/ada/texts/*.md");
        assert_eq!(expand("~", home), "/home/ada");
        for same in ["~bob/texts", "texts/~", "a~/b", "", "/~"] {
            assert_eq!(expand(same, home), same);
        }
        assert_eq!(expand("~/texts", None), "~/texts");
    }
}
