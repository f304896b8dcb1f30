//! Failures of commands and their exit codes.

use polymath_study::StudyError;

use crate::signals;

/// Reason why a command failed. It determines the exit code.
#[derive(Debug)]
pub enum Failure {
    /// The work failed: exit code 1.
    Failed(anyhow::Error),
    /// Wrong arguments or config; nothing was started: exit code 2.
    Usage(anyhow::Error),
    /// A forgetting limit is broken; the run and its verdict are saved: exit code 3.
    LimitBroken,
    /// A forgetting limit is undecided: the test split shows neither that all limits were kept nor that one was
    /// broken. The run and its verdict are saved: exit code 4.
    LimitUndecided,
    /// The comparison of an audit is invalid; its findings are saved: exit code 5.
    AuditInvalid,
    /// The run was stopped and saved: exit code 130 for a signal, 75 for a batch system or `--max-time`.
    Interrupted,
    /// The reader of stdout is closed, which is not an error: exit code 0.
    OutputClosed,
    /// The message is already printed, such as the help. Contains the exit code.
    Told(u8),
}

impl Failure {
    /// Creates the failure for a wrong argument or config.
    pub fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self::Usage(error.into())
    }

    /// Returns the exit code of the process.
    pub fn code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::LimitBroken => 3,
            Self::LimitUndecided => 4,
            Self::AuditInvalid => 5,
            Self::Interrupted => signals::exit_code(),
            Self::OutputClosed => 0,
            Self::Told(code) => *code,
        }
    }

    /// Returns the message for the user: one line, with the causes after colons.
    pub fn message(&self) -> Option<String> {
        match self {
            Self::Failed(error) | Self::Usage(error) => Some(sentence(error)),
            Self::LimitBroken
            | Self::LimitUndecided
            | Self::AuditInvalid
            | Self::Interrupted
            | Self::OutputClosed
            | Self::Told(_) => None,
        }
    }
}

/// Joins an error and its causes, leaving out a cause that its parent already quotes.
fn sentence(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    // Candle appends its stack frames to some messages; they are of no use to a user.
    match text.find("\n   0: ") {
        Some(trace) => text[..trace].trim_end().to_owned(),
        None => text,
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        match error.downcast_ref::<StudyError>() {
            Some(StudyError::Interrupted) => Self::Interrupted,
            Some(study) if study.is_refusal() => Self::Usage(error),
            _ => Self::Failed(error),
        }
    }
}
