//! Environment of every command: device, threads, log, and implementation of the operations.

use anyhow::{Context, anyhow, bail};
use candle_core::Device;
use candle_core::utils::cuda_is_available;
use polymath_model::{Implementation, ModelSource, Ops, Precision, cuda_device};
use polymath_study::{Setup, StudyProgress};

use crate::arguments::{Global, LogFormat, OpsChoice};
use crate::console::StudyConsole;
use crate::failure::Failure;
use crate::lines::{self, Log};

/// Maximum of `--threads`, more than any processor has. Tens of thousands of threads take minutes to begin.
const MOST_THREADS: usize = 1024;

/// Global arguments, resolved.
pub struct Environment {
    /// Device to compute on.
    pub device: Device,
    /// True if progress is hidden.
    pub quiet: bool,
    /// Implementation of the tensor operations.
    pub implementation: Implementation,
}

impl Environment {
    /// Opens the device, and starts the threads and the log.
    pub fn new(global: &Global) -> Result<Self, Failure> {
        start_log(global);
        if let Some(threads) = global.threads {
            if !(1..=MOST_THREADS).contains(&threads) {
                return Err(Failure::usage(anyhow!(
                    "`--threads {threads}`: expected 1 to {MOST_THREADS}"
                )));
            }
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build_global()?;
        }
        crate::console::show_transfers(global.quiet);
        let device = open_device(&global.device).map_err(Failure::Usage)?;
        let implementation = match global.ops {
            OpsChoice::Fused => Implementation::Fused,
            OpsChoice::Reference => Implementation::Reference,
        };
        tracing::info!(?device, threads = rayon::current_num_threads(), "started");
        Ok(Self {
            device,
            quiet: global.quiet,
            implementation,
        })
    }

    /// Prints a line of progress, unless `--quiet` is given.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            lines::say(text);
        }
    }

    /// Returns the setup of a study that reports to `progress`.
    pub fn setup<'a>(&self, progress: &'a dyn StudyProgress) -> Setup<'a> {
        Setup {
            device: self.device.clone(),
            implementation: self.implementation,
            precision: Precision::F32,
            progress,
        }
    }

    /// Prints which parts of a model folder, or of an adapter's base, are not used.
    pub fn say_what_is_left_out(&self, source: ModelSource) -> Result<(), Failure> {
        let console = StudyConsole::new(self);
        Ok(self.setup(&console).note_unused_files(source)?)
    }

    /// Returns the chosen implementation of the operations, at `precision`.
    pub fn ops(&self, precision: Precision) -> Ops {
        Ops {
            implementation: self.implementation,
            precision,
        }
    }

    /// Returns true if progress bars can be drawn.
    pub fn draws_bars(&self) -> bool {
        !self.quiet && lines::is_terminal()
    }

    /// Fails if a dashboard is `wanted` and can't be drawn.
    pub fn check_dashboard(&self, wanted: bool) -> Result<(), Failure> {
        if !wanted {
            return Ok(());
        }
        #[cfg(not(feature = "dashboard"))]
        return Err(Failure::usage(anyhow!(
            "`--dashboard`: this program was built without the dashboard: build it with `--features dashboard`, or \
             leave the flag out to print lines"
        )));
        #[cfg(feature = "dashboard")]
        self.check_terminal()
    }

    /// Fails if no dashboard can be drawn on this terminal.
    #[cfg(feature = "dashboard")]
    fn check_terminal(&self) -> Result<(), Failure> {
        if self.quiet {
            return Err(Failure::usage(anyhow!(
                "`--dashboard` and `--quiet` are both given: choose one"
            )));
        }
        let dumb = std::env::var("TERM").is_ok_and(|name| name == "dumb");
        if dumb || !lines::is_terminal() {
            return Err(Failure::usage(anyhow!(
                "`--dashboard` needs a terminal, and standard error is not one that can be drawn on: leave it out to \
                 print lines"
            )));
        }
        Ok(())
    }
}

fn open_device(name: &str) -> anyhow::Result<Device> {
    match name {
        "cpu" => Ok(Device::Cpu),
        "auto" if cuda_is_available() => Ok(cuda_device(0).unwrap_or(Device::Cpu)),
        "auto" => Ok(Device::Cpu),
        other => {
            let Some(ordinal) = other.strip_prefix("cuda:") else {
                bail!("`--device {other}`: expected `auto`, `cpu` or `cuda:N`");
            };
            let ordinal = ordinal
                .parse()
                .with_context(|| format!("`--device {other}`: `{ordinal}` is not a number"))?;
            cuda_device(ordinal).map_err(|error| {
                let reason = error.to_string();
                let reason = reason.lines().next().unwrap_or_default();
                anyhow!(
                    "`--device {other}` can't be opened ({reason}): build with `--features cuda`, and see `nvidia-smi`"
                )
            })
        }
    }
}

/// Starts the log in the chosen format, at the levels of `RUST_LOG` (default: warnings).
fn start_log(global: &Global) {
    use tracing_subscriber::EnvFilter;
    let level = if global.quiet { "error" } else { "warn" };
    let asked = std::env::var("RUST_LOG").unwrap_or_default();
    let parsed = EnvFilter::builder().parse(&asked);
    let refused = parsed.as_ref().err().map(ToString::to_string);
    let filter = match parsed {
        Ok(filter) if !asked.trim().is_empty() => filter,
        _ => EnvFilter::new(level),
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Log {
            colored: lines::is_colored() && matches!(global.log_format, LogFormat::Text),
        })
        .with_ansi(false)
        .log_internal_errors(false);
    // A second start in the same process, as in tests, keeps the first log. Module names are shown only if the user
    // filters by them.
    let _started = match global.log_format {
        LogFormat::Text => log.with_target(!asked.is_empty()).without_time().try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    if let Some(reason) = refused {
        tracing::warn!(
            "`RUST_LOG` = `{asked}` is ignored ({reason}): expected levels, such as `info` or `polymath_train=debug`"
        );
    }
}
