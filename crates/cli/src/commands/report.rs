//! `polymath report`: writes the forgetting report of tuned checkpoints.

use polymath_study::{ForgetOptions, GeneratedText, JudgedSplit, forget};

use crate::arguments;
use crate::console::StudyConsole;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::results;

/// Makes the report, writes it, and prints its table.
pub fn run(arguments: &arguments::Report, environment: &Environment) -> Result<(), Failure> {
    polymath_report::check_forms(&arguments.output, "report").map_err(Failure::usage)?;
    let options = ForgetOptions {
        datasets: arguments.scoring.dataset.clone(),
        generated: arguments.generate.map(|tokens| GeneratedText {
            tokens,
            seed: arguments.seed,
            folder: arguments.output.join("self-text"),
        }),
        tasks: arguments.tasks.tasks.clone(),
        windows: arguments.scoring.windows(None),
        split: match (&arguments.split.split, arguments.split.choice()) {
            (None, _) => JudgedSplit::ByLineage,
            (Some(_), Some(split)) => JudgedSplit::Split(split),
            (Some(_), None) => JudgedSplit::All,
        },
        adapter_base: arguments.adapter_base.clone(),
        niche: arguments.niche.clone(),
        unscored_niches: false,
        tolerance: arguments.tolerance,
        seed: arguments.seed,
    };
    let console = StudyConsole::new(environment);
    let setup = environment.setup(&console);
    let report = forget(&arguments.base, &arguments.tuned, &options, &setup)?;
    polymath_report::write(&report, &arguments.output)?;
    let page = arguments.output.join("report.html");
    results::announce(&format!("{}\n{}", report.table(), page.display()));
    Ok(())
}
