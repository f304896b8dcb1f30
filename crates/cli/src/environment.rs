//! What every command runs in: device, threads, the way of computing, the stop signal.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, anyhow, bail};
use candle_core::Device;
use polymath_model::{Implementation, Ops, Precision};

use crate::arguments::{Global, LogFormat, OpsChoice};
use crate::failure::Failure;

/// The resolved global arguments.
pub struct Environment {
    /// Where to compute.
    pub device: Device,
    /// Whether progress may be shown.
    pub quiet: bool,
    /// How operations are computed, where the user chose.
    pub implementation: Option<Implementation>,
}

impl Environment {
    /// Opens the device, starts the threads and the log.
    pub fn new(global: &Global) -> Result<Self, Failure> {
        start_log(global);
        if let Some(threads) = global.threads {
            if threads == 0 {
                return Err(Failure::usage(anyhow!(
                    "`--threads 0`: expected at least 1"
                )));
            }
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build_global()?;
        }
        crate::console::show_downloads(global.quiet);
        let device = open_device(&global.device).map_err(Failure::Usage)?;
        let implementation = match global.ops {
            Some(OpsChoice::Fused) if !device.is_cpu() => {
                return Err(Failure::usage(anyhow!(
                    "`--ops fused` needs `--device cpu`: on a GPU, operations are composed from Candle's"
                )));
            }
            Some(OpsChoice::Fused) => Some(Implementation::Fused),
            Some(OpsChoice::Composed) => Some(Implementation::Composed),
            None => None,
        };
        Ok(Self {
            device,
            quiet: global.quiet,
            implementation,
        })
    }

    /// A line of progress, unless it is not wanted.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }

    /// How operations are computed at `precision`.
    pub fn ops(&self, precision: Precision) -> Ops {
        Ops::chosen(&self.device, self.implementation, precision)
    }

    /// Whether progress bars can be drawn.
    pub fn draws_bars(&self) -> bool {
        !self.quiet && std::io::stderr().is_terminal()
    }
}

fn open_device(name: &str) -> anyhow::Result<Device> {
    match name {
        "cpu" => Ok(Device::Cpu),
        "auto" => Ok(Device::cuda_if_available(0).unwrap_or(Device::Cpu)),
        other => {
            let Some(ordinal) = other.strip_prefix("cuda:") else {
                bail!("`--device {other}`: expected `auto`, `cpu` or `cuda:N`");
            };
            let ordinal = ordinal
                .parse()
                .with_context(|| format!("`--device {other}`: `{ordinal}` is not a number"))?;
            Device::new_cuda(ordinal).map_err(|error| {
                let reason = error.to_string();
                let reason = reason.lines().next().unwrap_or_default();
                anyhow!(
                    "`--device {other}` can't be opened ({reason}): build with `--features cuda`, and see `nvidia-smi`"
                )
            })
        }
    }
}

fn start_log(global: &Global) {
    use tracing_subscriber::EnvFilter;
    let level = if global.quiet { "error" } else { "warn" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    // A second start (in one process, as tests do) keeps the first.
    let _started = match global.log_format {
        LogFormat::Text => log.without_time().try_init(),
        LogFormat::Json => log.json().try_init(),
    };
}

/// The stop signal of a training run: while it lives, the first SIGINT or SIGTERM sets its flag, so that the run can
/// save. The second one, and one that comes when no run is under way, ends the process at once.
pub struct StopSignal {
    flag: Arc<AtomicBool>,
}

/// Whether a run is under way that will save.
static TRAINING: AtomicBool = AtomicBool::new(false);

impl StopSignal {
    /// From now on, until it is dropped.
    pub fn listen() -> Result<Self, Failure> {
        static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
        // A process has one handler, however many runs it starts.
        let flag = if let Some(flag) = FLAG.get() {
            flag.clone()
        } else {
            let flag = FLAG.get_or_init(Arc::default).clone();
            let seen = flag.clone();
            ctrlc::set_handler(move || {
                if seen.swap(true, Ordering::SeqCst) || !TRAINING.load(Ordering::SeqCst) {
                    std::process::exit(130);
                }
                eprintln!("\nstopping after this step, then saving; once more to leave at once");
            })?;
            flag
        };
        TRAINING.store(true, Ordering::SeqCst);
        Ok(Self { flag })
    }

    /// Set when the run is to stop.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.flag.clone()
    }
}

impl Drop for StopSignal {
    fn drop(&mut self) {
        TRAINING.store(false, Ordering::SeqCst);
    }
}
