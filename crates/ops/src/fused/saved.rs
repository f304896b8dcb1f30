//! Values that a forward pass leaves for the backward pass.

use std::sync::{Mutex, PoisonError};

use candle_core::{Result, bail};

/// Values of a forward pass for one backward pass, which frees them: the gradients of the weights then take their
/// place in memory. As in PyTorch, a graph has one backward pass.
pub(super) struct Saved<T>(Mutex<Option<T>>);

impl<T> Saved<T> {
    pub fn none() -> Self {
        Self(Mutex::new(None))
    }

    pub fn put(&self, values: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(values);
    }

    /// Takes the values for the backward pass of `operation`.
    ///
    /// # Errors
    /// Fails if the forward pass was not tracked, or if the backward pass has run.
    pub fn take(&self, operation: &str) -> Result<T> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(values) => Ok(values),
            None => bail!(
                "{operation}: the backward pass of a forward pass that was not tracked, or a second one, which takes a \
                 forward pass of its own"
            ),
        }
    }
}
