//! `polymath audit`: findings on any two models, and the forgetting report on bundled text.

use polymath_report::audit::{AuditVerdict, write};
use polymath_study::audit::{AuditOptions, audit};

use crate::arguments;
use crate::console::StudyConsole;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::results;

/// Audits the models, writes the result, and prints its table. The verdict gives the exit code.
pub fn run(arguments: &arguments::Audit, environment: &Environment) -> Result<(), Failure> {
    polymath_report::check_forms(&arguments.output, "audit").map_err(Failure::usage)?;
    let options = AuditOptions {
        folder: arguments.output.clone(),
        tokens: arguments.tokens,
        limit: arguments.limit,
        texts: arguments.texts.clone(),
        tasks: arguments.tasks.tasks.clone(),
        niche: arguments.niche.clone(),
        generate: arguments.generate,
        precision: arguments.precision,
        prompts: arguments.prompts,
        seed: arguments.seed,
    };
    let console = StudyConsole::new(environment);
    let setup = environment.setup(&console);
    let found = audit(&arguments.base, &arguments.tuned, &options, &setup)?;
    write(&found, &arguments.output)?;
    let page = arguments.output.join("audit.html");
    match arguments.json {
        true => results::announce(&serde_json::to_string_pretty(&found)?),
        false => results::announce(&format!("{}\n{}", found.table(), page.display())),
    }
    match found.verdict {
        AuditVerdict::Kept => Ok(()),
        AuditVerdict::Broken => Err(Failure::LimitBroken),
        AuditVerdict::Undecided => Err(Failure::LimitUndecided),
        AuditVerdict::Invalid => Err(Failure::AuditInvalid),
    }
}
