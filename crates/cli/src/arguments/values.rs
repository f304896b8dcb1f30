//! Value parsers and help texts that several commands share.

use std::time::Duration;

use clap::Args;

use crate::failure::Failure;
use crate::signals;

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

/// Time limit of a command that trains.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct TimeLimit {
    /// Stop after this time, such as `90m` or `1h30m`: after the current step, with a checkpoint and exit code 75. To
    /// continue, use `--resume`; for `frontier` and `transfer`, repeat the command.
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "dry_run")]
    pub max_time: Option<Duration>,
}

impl TimeLimit {
    /// Starts the clock, if there is a limit.
    pub fn start(self) -> Result<(), Failure> {
        self.max_time.map_or(Ok(()), signals::stop_after)
    }
}

/// Parses a duration above zero.
fn time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err("expected a time with its unit, such as `90m`, `2h` or `1h30m`".into()),
    }
}

/// Parses a count. Fails unless it is at least 1.
pub fn at_least_one<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    let count = text.parse::<u64>().ok().filter(|count| *count > 0);
    count
        .and_then(|count| T::try_from(count).ok())
        .ok_or_else(|| "expected a whole number of at least 1".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit() {
        let seconds = |text: &str| time(text).map(|time| time.as_secs());
        assert_eq!(seconds("90m"), Ok(5400));
        assert_eq!(seconds("1h30m"), Ok(5400));
        assert_eq!(seconds("2h"), Ok(7200));
        assert_eq!(seconds("1day 2h"), Ok(93_600));
        for refused in ["90", "0s", "-1h", "", "soon"] {
            assert!(seconds(refused).unwrap_err().contains("`90m`"), "{refused}");
        }
    }
}
