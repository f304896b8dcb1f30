//! Console output and signals of `frontier` and `transfer`: progress of their runs, and the list that a dry run prints.

use std::cell::RefCell;
use std::error::Error;

use polymath_data::PreparationProgress;
use polymath_finetune::Finetuning;
use polymath_report::{bytes, duration};
use polymath_study::sweep::RunProgress;
use polymath_study::{Runner, SweepStatus};
use polymath_train::{Launch, Observer};

use super::finetune::about;
use super::pretrain::{launch, watcher};
use crate::console::Stages;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::signals::StopSignal;
use crate::{lines, results};

/// Environment of the runs of a sweep: a dashboard or progress lines, and signals that stop the runs.
pub struct ConsoleRunner<'a> {
    environment: &'a Environment,
    dashboard: bool,
    signal: RefCell<Option<StopSignal>>,
}

impl<'a> ConsoleRunner<'a> {
    /// Makes the environment of a sweep's runs.
    pub fn new(environment: &'a Environment, dashboard: bool) -> Self {
        Self {
            environment,
            dashboard,
            signal: RefCell::default(),
        }
    }
}

impl Runner for ConsoleRunner<'_> {
    fn preparation(&self) -> Box<dyn PreparationProgress + '_> {
        Box::new(Stages::new(self.environment))
    }

    fn begin(&self) -> Launch {
        let signal = StopSignal::listen();
        let launch = launch(self.environment, true, &signal);
        *self.signal.borrow_mut() = Some(signal);
        launch
    }

    fn end(&self) {
        self.signal.borrow_mut().take();
    }

    fn observer(
        &self,
        title: &str,
        tuning: &Finetuning,
    ) -> Result<Box<dyn Observer>, Box<dyn Error + Send + Sync>> {
        let shown = self
            .dashboard
            .then(|| about(title, tuning, tuning.run_folder()));
        watcher(self.environment, &tuning.plan(), shown).map_err(Into::into)
    }

    fn say(&self, text: &str) {
        self.environment.say(text);
    }

    fn warn(&self, text: &str) {
        lines::say(text);
    }
}

/// Prints size, time and progress of each run, and the sum of all.
pub fn list(status: &SweepStatus) -> Result<(), Failure> {
    results::print(&listing(status))
}

fn listing(status: &SweepStatus) -> String {
    let mut text = String::new();
    let mut seconds = status.after.seconds();
    for run in &status.runs {
        let left = match run.progress {
            RunProgress::Done => "done".to_owned(),
            RunProgress::Diverged => "diverged".to_owned(),
            RunProgress::ToDo => "to do".to_owned(),
        };
        let time = run.cost.as_ref().map_or(String::new(), |cost| {
            seconds += cost.seconds();
            format!(
                ", {}, {} of memory",
                duration(cost.seconds()),
                bytes(run.memory_bytes)
            )
        });
        text += &format!("{:24} {:>12} tokens  {left}{time}\n", run.name, run.tokens);
    }
    for part in &status.after.parts {
        text += &format!("{:24} {}\n", part.name, duration(part.seconds));
    }
    let disk = status.runs.iter().map(|run| run.disk_bytes).sum();
    let memory = status.runs.iter().map(|run| run.memory_bytes).max();
    text += &format!(
        "all that is left         about {}, measured on a few steps; at most {} of memory and {} of disk\n",
        duration(seconds),
        bytes(memory.unwrap_or(0)),
        bytes(disk)
    );
    text
}

#[cfg(test)]
mod tests {
    use polymath_study::sweep::RunStatus;
    use polymath_train::Cost;

    use super::*;

    /// Checks every figure of the list: those of each run, of the work after them, and of all together.
    #[test]
    fn the_list_adds_up() {
        let cost = |parts: &[(&str, u64, f64)]| {
            let mut cost = Cost::default();
            for (name, times, seconds) in parts {
                cost.add(*name, *times, *seconds);
            }
            cost
        };
        let run = |name: &str, progress, cost, [memory, disk]: [u64; 2]| RunStatus {
            name: name.into(),
            tokens: 1000,
            progress,
            memory_bytes: memory,
            disk_bytes: disk,
            cost,
        };
        let first = cost(&[("steps", 10, 5.0), ("evaluations", 2, 5.0)]);
        let second = cost(&[("steps", 10, 12.0)]);
        let status = SweepStatus {
            runs: vec![
                run(
                    "full",
                    RunProgress::ToDo,
                    Some(first),
                    [300_000_000, 7_000_000],
                ),
                run(
                    "lora",
                    RunProgress::ToDo,
                    Some(second),
                    [200_000_000, 2_000_000],
                ),
                run("frozen", RunProgress::Done, None, [100_000_000, 0]),
                run("wild", RunProgress::Diverged, None, [100_000_000, 0]),
            ],
            after: cost(&[("scoring of 5 models", 5, 30.0)]),
        };
        assert_eq!(
            listing(&status),
            "full                             1000 tokens  to do, 1 min 00 s, 300.0 MB of memory\n\
             lora                             1000 tokens  to do, 2 min 00 s, 200.0 MB of memory\n\
             frozen                           1000 tokens  done\n\
             wild                             1000 tokens  diverged\n\
             scoring of 5 models      2 min 30 s\n\
             all that is left         about 5 min 30 s, measured on a few steps; at most 300.0 MB of memory and 9.0 MB of disk\n"
        );
    }
}
