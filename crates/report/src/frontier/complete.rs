//! Methods that have a run for every seed.

use std::collections::{BTreeMap, BTreeSet};

use super::method::Method;
use super::scored::ScoredRun;
use crate::diverged::Diverged;

/// Methods that have a run for every seed, none of which diverged. Only these are compared.
pub struct Complete {
    pub names: Vec<String>,
    /// For each complete method, its index among all methods.
    pub places: Vec<usize>,
    /// For each complete method, the indices of its runs.
    pub runs: Vec<Vec<usize>>,
}

impl Complete {
    /// Selects the complete methods from all methods and the indices of their runs.
    pub fn of(
        methods: &[Method],
        numbers: &BTreeMap<String, Vec<usize>>,
        scored: &[ScoredRun],
        diverged: &[Diverged],
    ) -> Self {
        let seeds: BTreeSet<u64> = scored.iter().map(|run| run.candidate.seed).collect();
        let mut complete = Self {
            names: Vec::new(),
            places: Vec::new(),
            runs: Vec::new(),
        };
        for (place, method) in methods.iter().enumerate() {
            let runs = &numbers[&method.name];
            let own = &scored[runs[0]].candidate.method;
            if runs.len() == seeds.len() && diverged.iter().all(|lost| lost.name != *own) {
                complete.names.push(method.name.clone());
                complete.places.push(place);
                complete.runs.push(runs.clone());
            }
        }
        complete
    }
}
