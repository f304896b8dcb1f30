//! `environment.json` of a run folder: the time, program version and machine with which the run was started.

use std::path::Path;

use candle_core::{Device, DeviceLocation};
use serde::{Deserialize, Serialize};

use crate::TrainError;

/// Name of the file in a run folder that records time, program version and machine.
const FILE: &str = "environment.json";

/// Time, program version and machine with which a run was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Date and time of the start, in UTC.
    pub begun: String,
    /// Version of the program that started the run.
    pub version: String,
    /// Processor, threads and system, and the GPU if the run computes on one.
    pub machine: String,
}

impl Environment {
    /// Describes this machine, computing on `device`, at the present time.
    pub fn here(device: &Device) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let gpu = match device.location() {
            DeviceLocation::Cpu => String::new(),
            DeviceLocation::Cuda { gpu_id } => format!("CUDA GPU {gpu_id}, "),
            DeviceLocation::Metal { gpu_id } => format!("Metal GPU {gpu_id}, "),
        };
        let plural = if threads == 1 { "" } else { "s" };
        Self {
            begun: chrono::Utc::now().format("%Y-%m-%d %H:%M UTC").to_string(),
            version: env!("CARGO_PKG_VERSION").into(),
            machine: format!(
                "{gpu}{}, {threads} thread{plural}, {} {}",
                processor(),
                std::env::consts::OS,
                std::env::consts::ARCH
            ),
        }
    }

    /// Reads the `environment.json` of the run in the folder `run`. Returns `None` for a run of an earlier version, and
    /// for a file with other content.
    pub fn of(run: &Path) -> Option<Self> {
        let bytes = polymath_base::read(run.join(FILE)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Writes the `environment.json` of the run in the folder `run`.
    pub(crate) fn write(&self, run: &Path) -> Result<(), TrainError> {
        let path = run.join(FILE);
        let text = serde_json::to_string_pretty(self).expect("the environment is text") + "\n";
        polymath_base::write(&path, text.as_bytes()).map_err(TrainError::file("write", &path))
    }
}

/// Returns the name of the processor, or "unknown processor" if the system does not tell it.
fn processor() -> String {
    let information = polymath_base::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut lines = information.lines();
    let named = lines.find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim().to_owned())
    });
    named.unwrap_or_else(|| "unknown processor".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that an `environment.json` is read as it was written, and that a folder without the file gives `None`.
    #[test]
    fn circumstances_are_read_as_written() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Environment::of(folder.path()), None);
        let here = Environment::here(&Device::Cpu);
        assert!(here.machine.contains(std::env::consts::ARCH) && here.machine.contains("thread"));
        here.write(folder.path()).unwrap();
        assert_eq!(Environment::of(folder.path()), Some(here));
    }
}
