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
