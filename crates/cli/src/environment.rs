//! What every command runs in: device, threads, the way of computing.

use std::path::Path;

use anyhow::{Context, anyhow, bail};
use candle_core::Device;
use polymath_model::{Implementation, Ops, Precision};
use polymath_study::{Progress, Setup};

use crate::arguments::{Global, LogFormat, OpsChoice};
use crate::console::StudyConsole;
use crate::failure::Failure;
use crate::lines::{self, Log};

/// The resolved global arguments.
pub struct Environment {
    /// Where to compute.
    pub device: Device,
    /// Whether progress may be shown.
    pub quiet: bool,
    /// How operations are computed.
    pub implementation: Implementation,
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

    /// A line of progress, unless it is not wanted.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            lines::say(text);
        }
    }

    /// Returns what a study needs of this, with `progress` told.
    pub fn setup<'a>(&self, progress: &'a dyn Progress) -> Setup<'a> {
        Setup {
            device: self.device.clone(),
            implementation: self.implementation,
            progress,
        }
    }

    /// Says what a model folder, or the base of an adapter, holds that is not used.
    pub fn say_what_is_left_out(&self, folder: &Path, base: Option<&Path>) -> Result<(), Failure> {
        let console = StudyConsole::new(self);
        Ok(self.setup(&console).note_unused_files(folder, base)?)
    }

    /// How operations are computed at `precision`.
    pub fn ops(&self, precision: Precision) -> Ops {
        Ops {
            implementation: self.implementation,
            precision,
        }
    }

    /// Whether progress bars can be drawn.
    pub fn draws_bars(&self) -> bool {
        !self.quiet && lines::is_terminal()
    }

    /// Refuses a dashboard that is `wanted` and has nowhere to be.
    pub fn check_dashboard(&self, wanted: bool) -> Result<(), Failure> {
        if !wanted {
            return Ok(());
        }
        if self.quiet {
            return Err(Failure::usage(anyhow!(
                "`--dashboard` and `--quiet` are both given: choose one"
            )));
        }
        let dumb = std::env::var("TERM").is_ok_and(|name| name == "dumb");
        if dumb || !lines::is_terminal() {
            return Err(Failure::usage(anyhow!(
                "`--dashboard` needs a terminal, and standard error is none that can be drawn on: leave it out, and \
                 lines are printed"
            )));
        }
        Ok(())
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

/// Starts the log: warnings, or what `RUST_LOG` asks for, in the one form or the other.
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
    // A second start (in one process, as tests do) keeps the first. The names of modules are for those who filter by them.
    let _started = match global.log_format {
        LogFormat::Text => log.with_target(!asked.is_empty()).without_time().try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    if let Some(reason) = refused {
        tracing::warn!(
            "`RUST_LOG` = `{asked}` is left aside ({reason}): expected levels, such as `info` or `polymath_train=debug`"
        );
    }
}
