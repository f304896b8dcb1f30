//! How a command ends when it does not end well.

use polymath_study::StudyError;

/// Why the command stopped; decides the exit code.
#[derive(Debug)]
pub enum Failure {
    /// Something went wrong: 1.
    Failed(anyhow::Error),
    /// The arguments or the config are wrong, nothing was started: 2.
    Usage(anyhow::Error),
    /// A retention limit was broken; the run and its report stand: 3.
    LimitBroken,
    /// The test split does not show that every retention limit was kept, nor that one was broken; the run and its report stand: 4.
    LimitUndecided,
    /// Stopped by a signal, after saving: 130.
    Interrupted,
    /// The reader of standard output has left: nothing to say, and no error: 0.
    OutputClosed,
    /// Told already, as the help or a wrong argument; with its exit code.
    Told(u8),
}

impl Failure {
    /// A wrong argument or config.
    pub fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self::Usage(error.into())
    }

    /// The process's exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::LimitBroken => 3,
            Self::LimitUndecided => 4,
            Self::Interrupted => 130,
            Self::OutputClosed => 0,
            Self::Told(code) => *code,
        }
    }

    /// What to tell the user: one line, the causes after colons.
    pub fn message(&self) -> Option<String> {
        match self {
            Self::Failed(error) | Self::Usage(error) => Some(sentence(error)),
            Self::LimitBroken
            | Self::LimitUndecided
            | Self::Interrupted
            | Self::OutputClosed
            | Self::Told(_) => None,
        }
    }
}

/// The error and its causes, without a cause that its parent has already quoted.
fn sentence(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    // Candle appends the frames of its own call stack to some messages; they say nothing to a user.
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
