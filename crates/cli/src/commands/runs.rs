//! `polymath runs`: lists the runs on the disk, and removes checkpoints that are no longer needed.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::anyhow;
use polymath_report::{bytes, counted};
use polymath_study::runs::{LastScore, PrunePlan, Run, RunCondition, plan_prune, prune, runs};
use polymath_train::Check;

use crate::arguments;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::{lines, results};

/// Lists the runs, or removes old checkpoints.
pub fn run(arguments: &arguments::Runs, environment: &Environment) -> Result<(), Failure> {
    let folders = match arguments.folders.is_empty() {
        true => vec![PathBuf::from(".")],
        false => arguments.folders.clone(),
    };
    let check = match arguments.verify {
        true => Check::Digests,
        false => Check::Lengths,
    };
    let found = runs(&folders, check)?;
    if arguments.json {
        return results::line(&serde_json::to_string_pretty(&as_json(&found))?);
    }
    if found.is_empty() {
        let shown: Vec<String> = folders
            .iter()
            .map(|folder| folder.display().to_string())
            .collect();
        return results::line(&format!("no run in `{}`", shown.join("`, `")));
    }
    if !arguments.prune {
        return results::print(&table(&found));
    }
    let plan = plan_prune(&found, &folders)?;
    results::print(&list(&plan))?;
    if plan.removals.is_empty() {
        return Ok(());
    }
    if !arguments.yes && !is_confirmed(&plan)? {
        environment.say("nothing was removed");
        return Ok(());
    }
    prune(&plan)?;
    results::announce(&format!(
        "removed {} folders, {}",
        plan.removals.len(),
        bytes(plan.bytes())
    ));
    Ok(())
}

/// Asks the user before a removal. Without a terminal, a removal needs `--yes`.
fn is_confirmed(plan: &PrunePlan) -> Result<bool, Failure> {
    if !(std::io::stdin().is_terminal() && lines::is_terminal()) {
        return Err(Failure::usage(anyhow!(
            "`--prune`: nothing was removed; give `--yes` to remove what is listed"
        )));
    }
    lines::say(&format!(
        "remove these {} folders, {}? [y/N]",
        plan.removals.len(),
        bytes(plan.bytes())
    ));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

/// Lists the folders that a removal would take, and those that it keeps for a special reason.
fn list(plan: &PrunePlan) -> String {
    let mut text = String::new();
    for removal in &plan.removals {
        let path = removal.path.display().to_string();
        text += &format!(
            "remove  {path:40} {:>10}  {}\n",
            bytes(removal.bytes),
            removal.why
        );
    }
    for kept in &plan.kept {
        text += &format!(
            "keep    {:40} {:>10}  {}\n",
            kept.path.display().to_string(),
            "",
            kept.why
        );
    }
    if plan.removals.is_empty() {
        text += "nothing to remove\n";
    }
    let searched: Vec<String> = plan
        .searched
        .iter()
        .map(|folder| format!("`{}`", folder.display()))
        .collect();
    text += &format!(
        "searched for runs and models that were made from a checkpoint below {}; give other folders to search there too\n",
        searched.join(", ")
    );
    text
}

fn as_json(found: &[Run]) -> serde_json::Value {
    let runs = found.iter().map(|run| {
        let mut value = serde_json::to_value(run).expect("a run is numbers and names");
        value["date"] = run.date.map(date).into();
        value
    });
    runs.collect()
}

/// Returns a table with one line for each run, followed by the faults of broken runs.
fn table(found: &[Run]) -> String {
    let heads = ["run", "state", "size", "date (UTC)", "from", "held-out"];
    let mut rows = vec![heads.map(str::to_owned)];
    let mut reasons = String::new();
    for run in found {
        rows.push([
            run.folder.display().to_string(),
            state(run),
            bytes(run.bytes),
            run.date.map_or_else(|| "–".into(), date),
            origin(run),
            run.last_score.as_ref().map_or_else(|| "–".into(), score),
        ]);
        if let RunCondition::Broken { message } | RunCondition::Diverged { message } =
            &run.condition
        {
            reasons += &format!("{}: {message}\n", run.folder.display());
        }
        for message in &run.broken_checkpoints {
            reasons += &format!("{}: {message}\n", run.folder.display());
        }
    }
    aligned(&rows) + &reasons
}

/// Joins rows into lines with columns of equal width.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().enumerate();
        let line: String = cells
            .map(|(column, cell)| {
                let space = width(column).unwrap_or(0) + 2 - cell.chars().count();
                format!("{cell}{}", " ".repeat(space))
            })
            .collect();
        text += line.trim_end();
        text.push('\n');
    }
    text
}

fn state(run: &Run) -> String {
    let broken = match run.broken_checkpoints.len() {
        0 => String::new(),
        count => format!(", {} broken", counted(count as u64, "checkpoint")),
    };
    condition(&run.condition) + &broken
}

fn condition(condition: &RunCondition) -> String {
    let of = |of: &Option<u64>| of.map_or(String::new(), |of| format!(" of {of}"));
    match condition {
        RunCondition::Finished { step } => format!("finished, {}", counted(*step, "step")),
        RunCondition::Running {
            step,
            of: all,
            process,
        } => {
            let process = process.map_or(String::new(), |id| format!(" (process {id})"));
            format!("running, saved at step {step}{}{process}", of(all))
        }
        RunCondition::Interrupted { step, of: all } => {
            format!("interrupted, step {step}{}", of(all))
        }
        RunCondition::Unjudged { step } => format!("{}, limits not judged", counted(*step, "step")),
        RunCondition::NotBegun => "no checkpoint".into(),
        RunCondition::Diverged { .. } => "diverged".into(),
        RunCondition::Broken { .. } => "broken".into(),
    }
}

/// Returns the origin of a fine-tuning in words: base, method and niche.
fn origin(run: &Run) -> String {
    let (Some(base), Some(niche)) = (&run.base, &run.niche) else {
        return run.kind.clone();
    };
    let niches = run.earlier_niches.iter().chain([niche]);
    let niches: Vec<&str> = niches.map(String::as_str).collect();
    format!("{} → {} ({})", base.display(), niches.join(" → "), run.kind)
}

fn score(last: &LastScore) -> String {
    format!("{} {:.4}", last.name, last.bits_per_byte)
}

/// Formats a time as date, hour and minute.
fn date(time: SystemTime) -> String {
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text[..16].replace('T', " ")
}
