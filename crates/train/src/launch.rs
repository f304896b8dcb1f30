//! Launch settings of a run, and the memory of its device.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use candle_core::Device;
use polymath_model::{available_memory, device_memory};
use polymath_ops::{Implementation, Ops, Precision};

use crate::{Plan, TrainError};

/// Launch settings, which come from the command line and are not part of the config.
#[derive(Clone)]
pub struct Launch {
    /// Device to compute on.
    pub device: Device,
    /// Implementation of the tensor operations.
    pub implementation: Implementation,
    /// True to resume an interrupted run.
    pub resume: bool,
    /// Flag that is set from outside to stop the run after the current step and save.
    pub stop: Arc<AtomicBool>,
}

impl Launch {
    /// Returns the settings of a new run on `device`.
    pub fn on(device: Device) -> Self {
        Self {
            device,
            implementation: Implementation::default(),
            resume: false,
            stop: Arc::default(),
        }
    }

    /// Returns the plan with its recomputation decided: if the config does not set it, by the free memory of the
    /// device. Fails if the run does not fit into that memory.
    ///
    /// # Errors
    /// Fails like [`Plan::check_memory`].
    pub fn fit_memory(&self, plan: Plan) -> Result<Plan, TrainError> {
        let available = memory_of(&self.device);
        let plan = plan.fitted(available);
        plan.check_memory(available)?;
        Ok(plan)
    }

    /// Returns the chosen implementation of the operations, at `precision`.
    pub fn ops(&self, precision: Precision) -> Ops {
        Ops {
            implementation: self.implementation,
            precision,
        }
    }
}

/// Returns the available memory of a device in bytes: main memory for the CPU. `None` if it is not known.
pub fn memory_of(device: &Device) -> Option<u64> {
    match device.is_cpu() {
        true => available_memory(),
        false => device_memory(device).map(|memory| memory.available),
    }
}
