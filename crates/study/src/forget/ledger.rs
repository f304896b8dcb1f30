//! Leak ledger: overlap of each run's fine-tuning text with all held-out documents.

use std::path::PathBuf;
use std::time::Instant;

use polymath_data::{Dataset, DatasetDomain, Overlap, measure_overlaps};
use polymath_finetune::Lineage;
use polymath_report::counted;

use crate::{StudyError, StudyProgress};

/// Measurement of the leak ledger. It measures each fine-tuning text only once, even if several runs were tuned on it.
pub struct Ledger<'a> {
    heldout: Vec<DatasetDomain<'a>>,
    datasets: &'a [Dataset],
    measured: Vec<((PathBuf, String), Vec<Overlap>)>,
    progress: &'a dyn StudyProgress,
}

impl<'a> Ledger<'a> {
    /// Creates the measurement for all domains. If two datasets have a domain of the same name, the first one counts,
    /// as in scoring.
    pub fn new(datasets: &'a [Dataset], progress: &'a dyn StudyProgress) -> Self {
        let mut heldout: Vec<DatasetDomain> = Vec::new();
        for dataset in datasets {
            for name in dataset.domain_names() {
                if heldout.iter().all(|known| known.name != name) {
                    heldout.push(DatasetDomain { dataset, name });
                }
            }
        }
        Self {
            heldout,
            datasets,
            measured: Vec::new(),
            progress,
        }
    }

    /// Returns the overlap of each domain's held-out documents with the text that a run was tuned on. If that text no
    /// longer exists, warns and returns nothing.
    ///
    /// # Errors
    /// Fails if a dataset can't be read.
    pub fn of(&mut self, lineage: &Lineage) -> Result<Vec<Overlap>, StudyError> {
        let key = (lineage.dataset.clone(), lineage.niche.clone());
        if let Some((_, known)) = self.measured.iter().find(|(measured, _)| *measured == key) {
            return Ok(known.clone());
        }
        let opened;
        let given = self.datasets.iter();
        let dataset = match given.into_iter().find(|dataset| dataset.path() == key.0) {
            Some(dataset) => dataset,
            None => match Dataset::open(&key.0) {
                Ok(dataset) => {
                    opened = dataset;
                    &opened
                }
                Err(error) => {
                    tracing::warn!("the leak ledger lacks the fine-tuning text: {error}");
                    return Ok(Vec::new());
                }
            },
        };
        if lineage.is_of_other_data(dataset) {
            tracing::warn!(
                "the leak ledger lacks the fine-tuning text: `{}` was prepared again after the run",
                key.0.display()
            );
            return Ok(Vec::new());
        }
        let begin = Instant::now();
        let found = measure_overlaps(&self.heldout, dataset.of_domain(&key.1))?;
        self.progress.say(&format!(
            "leak ledger: `{}` of `{}` against {} in {:.1} s",
            key.1,
            key.0.display(),
            counted(self.heldout.len() as u64, "domain"),
            begin.elapsed().as_secs_f64()
        ));
        self.measured.push((key, found.clone()));
        Ok(found)
    }
}
