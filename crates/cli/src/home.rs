//! Expansion of `~` in arguments that no shell has expanded: quoted ones, and those of a service or a notebook.

use std::ffi::OsString;

/// Options whose values are text, not paths.
const TEXTS: [&str; 2] = ["--prompt", "--message"];

/// Replaces a leading `~` of each argument by the home folder, also after `--option=` and `key=`.
pub fn at_home(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut is_text = false;
    arguments
        .map(|argument| {
            let Some(text) = argument.to_str() else {
                return argument;
            };
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (Some(name), value),
                None => (None, text),
            };
            let stays = is_text || name.is_some_and(|name| TEXTS.contains(&name));
            is_text = TEXTS.contains(&text);
            if stays || !(value == "~" || value.starts_with("~/")) {
                return argument;
            }
            let value = polymath_input::expand_home(value);
            match name {
                Some(name) => format!("{name}={value}").into(),
                None => value.into_owned().into(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that `~` is expanded in paths at every position, and that text stays unchanged.
    #[test]
    fn tilde_is_expanded_in_paths_only() {
        let home = polymath_input::expand_home("~").into_owned();
        let expanded = |arguments: &[&str]| {
            let arguments = arguments.iter().map(OsString::from);
            let found = at_home(arguments).into_iter();
            let found: Vec<String> = found.map(|found| found.into_string().unwrap()).collect();
            found.join(" ")
        };
        assert_eq!(
            expanded(&["generate", "~/m", "--base=~/b", "run=~/r", "--output", "~"]),
            format!("generate {home}/m --base={home}/b run={home}/r --output {home}")
        );
        let texts = [
            "generate",
            "m~/~",
            "--prompt",
            "~/x",
            "--prompt=~/y",
            "~user/x",
        ];
        assert_eq!(expanded(&texts), texts.join(" "));
    }
}
