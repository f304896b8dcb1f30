//! Value parsers and help texts that several commands share.

/// Makes the help text that follows a command's options: an example and, with `config`, an example of its config
/// file.
macro_rules! example {
    ($example:literal) => {
        concat!("Example:\n  ", $example)
    };
    ($example:literal, config $command:literal) => {
        concat!(
            "Example:\n  ",
            $example,
            "\n\nA first config, `",
            $command,
            ".toml`:\n\n",
            include_str!(concat!("../../configs/", $command, ".toml"))
        )
    };
}

pub(crate) use example;

/// Parses a count. Fails unless it is at least 1.
pub fn at_least_one<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    let count = text.parse::<u64>().ok().filter(|count| *count > 0);
    count
        .and_then(|count| T::try_from(count).ok())
        .ok_or_else(|| "expected a whole number of at least 1".into())
}
