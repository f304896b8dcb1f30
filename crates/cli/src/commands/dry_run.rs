//! Cost of a run before it starts: parameters, tokens, memory, disk and time.

use polymath_report::{bytes, duration};
use polymath_train::{Cost, DiskPlan, Launch, Plan, memory_of};

use super::pretrain::own_memory;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::results;

/// Prints the cost of a run. Calls `measure`, which times a few of its steps, only if the run fits into memory and
/// disk.
pub fn print(
    (plan, disk): (&Plan, &DiskPlan),
    environment: &Environment,
    measure: impl FnOnce(&Launch) -> Result<Cost, Failure>,
) -> Result<(), Failure> {
    let available = memory_of(&environment.device);
    results::print(&sizes(plan, disk, available))?;
    if let Some(chosen) = plan.memory_choice() {
        results::line(&chosen)?;
    }
    plan.check_memory(available).map_err(Failure::usage)?;
    disk.check().map_err(Failure::usage)?;
    results::print(&times(&measure(&launch(environment))?))
}

/// Returns the start options of the few steps that a dry run times.
pub fn launch(environment: &Environment) -> Launch {
    Launch {
        implementation: environment.implementation,
        ..Launch::on(environment.device.clone())
    }
}

fn sizes(plan: &Plan, disk: &DiskPlan, available: Option<u64>) -> String {
    let mut text = format!(
        "parameters            {:>16}  ({} of them trained)\n",
        plan.parameters, plan.trainable_parameters
    );
    text += &format!("steps                 {:>16}\n", plan.steps);
    text += &format!("tokens                {:>16}", plan.tokens);
    let padding = plan.positions - plan.tokens.min(plan.positions);
    if padding > 0 {
        let share = padding as f64 * 100.0 / plan.positions as f64;
        text += &format!("  and {share:.1} % of all positions are padding");
    }
    text += &format!(
        "\noperations            {:>16.3e}  floating-point, {:.3e} per position\n",
        plan.flops(),
        plan.flops_per_token
    );
    text += &format!(
        "memory                {:>13} MB  of parameters, gradients and moments\n",
        plan.state_bytes / 1_000_000
    );
    text += &format!(
        "                      {:>13} MB  of activations and scratch memory, estimated\n",
        plan.activation_bytes / 1_000_000
    );
    if plan.retention_bytes > 0 {
        text += &format!(
            "                      {:>13} MB  for retention: copies of the base and the like\n",
            plan.retention_bytes / 1_000_000
        );
    }
    text += &format!(
        "                      {:>13} MB  of the program and the tokenizer\n",
        own_memory() / 1_000_000
    );
    if let Some(available) = available {
        text += &format!(
            "                      {:>13} MB  available\n",
            available / 1_000_000
        );
    }
    text += &format!(
        "disk                  {:>16}  at most, for {} checkpoints of {}\n",
        bytes(disk.bytes()),
        disk.checkpoints,
        bytes(disk.checkpoint_bytes)
    );
    text
}

/// Formats the estimated time of a run and of each of its parts, one line for each.
fn times(cost: &Cost) -> String {
    let mut text = format!(
        "time                  {:>16}  measured on a few steps of this run:\n",
        duration(cost.seconds())
    );
    for part in &cost.parts {
        text += &format!("{:>38}  {}\n", duration(part.seconds), part.name);
    }
    text
}

#[cfg(test)]
mod tests {
    use polymath_model::EndTokens;
    use polymath_pretrain::{DatasetFacts, PretrainConfig};

    use super::*;

    /// Returns the plan of a run with made-up sizes.
    fn plan() -> Plan {
        let config: PretrainConfig = toml::from_str(
            "dataset = \"d\"\nrun = \"r\"\n[model]\nhidden_size = 8\nnum_hidden_layers = 1\nnum_attention_heads = 1\n\
             [training]\nsteps = 3\nbatch_size = 2\nsequence_length = 5",
        )
        .unwrap();
        let facts = DatasetFacts {
            vocab_size: 50,
            ends: EndTokens { begin: 0, end: 0 },
            epoch_tokens: 100,
            padding: 0.0,
        };
        let resolved = config.resolve(&facts).unwrap();
        let mut plan = Plan::new(resolved.architecture(), &resolved.training, 0.0, &|_| true);
        (plan.parameters, plan.trainable_parameters) = (7000, 5000);
        (plan.steps, plan.tokens, plan.positions) = (30, 900, 1000);
        (plan.flops_per_token, plan.preparation_flops) = (2e6, 5e8);
        (plan.state_bytes, plan.activation_bytes) = (11_900_000, 22_000_000);
        plan.retention_bytes = 33_000_000;
        plan
    }

    /// Checks every line about the sizes of a run but that of the program's own memory.
    #[test]
    fn the_sizes_of_a_run_are_told() {
        let disk = DiskPlan {
            run: "r".into(),
            checkpoint_bytes: 2_000_000,
            checkpoints: 5,
            stored_bytes: 1_000_000,
        };
        let told = |plan: &Plan, available| -> Vec<String> {
            let text = sizes(plan, &disk, available);
            let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            let lines = text.lines().map(words);
            lines
                .filter(|line| !line.contains("MB of the program"))
                .collect()
        };
        let mut plan = plan();
        assert_eq!(
            told(&plan, Some(44_000_000)),
            [
                "parameters 7000 (5000 of them trained)",
                "steps 30",
                "tokens 900 and 10.0 % of all positions are padding",
                "operations 2.500e9 floating-point, 2.000e6 per position",
                "memory 11 MB of parameters, gradients and moments",
                "22 MB of activations and scratch memory, estimated",
                "33 MB for retention: copies of the base and the like",
                "44 MB available",
                "disk 9.0 MB at most, for 5 checkpoints of 2.0 MB",
            ]
        );
        (plan.positions, plan.retention_bytes) = (900, 0);
        let lines = told(&plan, None);
        assert_eq!(lines[2], "tokens 900");
        let memory = lines.iter().filter(|line| line.contains(" MB "));
        assert_eq!(memory.count(), 3, "{lines:?}");
    }

    /// Checks that the time of a run is the sum of its parts.
    #[test]
    fn the_time_of_a_run_is_told_by_its_parts() {
        let mut cost = Cost::default();
        cost.add("30 steps", 30, 2.5);
        cost.add("2 evaluations", 2, 20.0);
        let text = times(&cost);
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert!(
            lines[0].starts_with("time ") && lines[0].contains(" 1 min 55 s  measured"),
            "{text}"
        );
        assert_eq!(lines[1..], ["1 min 15 s  30 steps", "40 s  2 evaluations"]);
    }
}
