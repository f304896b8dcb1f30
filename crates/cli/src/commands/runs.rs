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

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use polymath_study::runs::{Removal, Skipped};

    use super::*;

    fn run(folder: &str, condition: RunCondition) -> Run {
        Run {
            folder: folder.into(),
            kind: "pretrain".into(),
            condition,
            broken_checkpoints: Vec::new(),
            bytes: 7,
            date: None,
            base: None,
            niche: None,
            earlier_niches: Vec::new(),
            last_score: None,
        }
    }

    /// Returns the second fine-tuning of a chain, which was interrupted on 2026-03-04 at 05:06:07.
    fn tuned() -> Run {
        Run {
            kind: "lora".into(),
            broken_checkpoints: vec!["`c/step-000003`: was cut off".into()],
            bytes: 2_345_678,
            date: Some(UNIX_EPOCH + Duration::from_secs(1_772_600_767)),
            base: Some("base/best".into()),
            niche: Some("asked".into()),
            earlier_niches: vec!["law".into(), "code".into()],
            last_score: Some(LastScore {
                step: 14,
                name: "asked".into(),
                bits_per_byte: 0.512_36,
            }),
            ..run(
                "c",
                RunCondition::Interrupted {
                    step: 15,
                    of: Some(20),
                },
            )
        }
    }

    /// Checks every cell of the list for each state of a run, and the reasons below the list.
    #[test]
    fn every_state_is_listed() {
        let step = 6;
        let running = |of, process| RunCondition::Running { step, of, process };
        let message = |text: &str| text.to_owned();
        let found = [
            run("a", RunCondition::Finished { step }),
            run("b", RunCondition::Unjudged { step }),
            tuned(),
            run("d", running(Some(9), Some(42))),
            run("e", running(None, None)),
            run("f", RunCondition::Interrupted { step, of: None }),
            run("g", RunCondition::NotBegun),
            run(
                "h",
                RunCondition::Diverged {
                    message: message("the loss is NaN"),
                },
            ),
            run(
                "i",
                RunCondition::Broken {
                    message: message("a file is gone"),
                },
            ),
        ];
        let table = table(&found);
        let lines: Vec<Vec<&str>> = table
            .lines()
            .map(|line| {
                line.split("  ")
                    .map(str::trim)
                    .filter(|cell| !cell.is_empty())
            })
            .map(Iterator::collect)
            .collect();
        let rest = ["7 B", "–", "pretrain", "–"];
        let row = |folder, state| [&[folder, state][..], &rest].concat();
        let of_tuned = "base/best → law → code → asked (lora)";
        let expected = [
            vec!["run", "state", "size", "date (UTC)", "from", "held-out"],
            row("a", "finished, 6 steps"),
            row("b", "6 steps, limits not judged"),
            vec![
                "c",
                "interrupted, step 15 of 20, 1 checkpoint broken",
                "2.3 MB",
                "2026-03-04 05:06",
                of_tuned,
                "asked 0.5124",
            ],
            row("d", "running, saved at step 6 of 9 (process 42)"),
            row("e", "running, saved at step 6"),
            row("f", "interrupted, step 6"),
            row("g", "no checkpoint"),
            row("h", "diverged"),
            row("i", "broken"),
            vec!["c: `c/step-000003`: was cut off"],
            vec!["h: the loss is NaN"],
            vec!["i: a file is gone"],
        ];
        assert_eq!(lines, expected, "{table}");
        let starts = |line: &str, cell: &str| line.find(cell).map(|at| line[..at].chars().count());
        let [head, second] = [0, 3].map(|at| table.lines().nth(at).unwrap());
        assert_eq!(starts(head, "size"), starts(second, "2.3 MB"), "{table}");
    }

    /// Checks every key of the JSON of a run.
    #[test]
    fn the_json_has_the_facts_of_a_run() {
        assert_eq!(
            as_json(&[tuned()]),
            serde_json::json!([{
                "folder": "c", "kind": "lora", "state": "interrupted", "step": 15, "of": 20,
                "broken_checkpoints": ["`c/step-000003`: was cut off"], "bytes": 2_345_678, "base": "base/best", "niche": "asked",
                "earlier_niches": ["law", "code"], "last_score": {"step": 14, "name": "asked", "bits_per_byte": 0.512_36},
                "date": "2026-03-04 05:06"
            }])
        );
    }

    /// Checks the list of a removal: what goes and why, what stays and why, and where runs were searched for.
    #[test]
    fn a_removal_is_listed_whole() {
        let removal = |path: &str, bytes, why| Removal {
            run: "r".into(),
            path: path.into(),
            bytes,
            why,
        };
        let mut plan = PrunePlan {
            removals: vec![
                removal("r/one", 1_500_000, "old"),
                removal("r/two", 20, "torn"),
            ],
            kept: vec![Skipped {
                path: "r/three".into(),
                why: "needed".into(),
            }],
            searched: vec![".".into(), "other".into()],
        };
        let lines = |plan: &PrunePlan| -> Vec<String> {
            let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            list(plan).lines().map(words).collect()
        };
        let searched = "searched for runs and models that were made from a checkpoint below `.`, `other`; give other folders \
                        to search there too";
        assert_eq!(
            lines(&plan),
            [
                "remove r/one 1.5 MB old",
                "remove r/two 20 B torn",
                "keep r/three needed",
                searched
            ]
        );
        assert_eq!(plan.bytes(), 1_500_020);
        plan.removals.clear();
        assert_eq!(
            lines(&plan),
            ["keep r/three needed", "nothing to remove", searched]
        );
    }
}
