//! Temporary workspace for tests: sources, and a configuration to prepare datasets from them.

use std::collections::BTreeMap;
use std::fs;

use polymath_data::{
    DataError, Dataset, DomainConfig, NoProgress, PrepareConfig, TokenizerConfig, prepare,
};
use tempfile::TempDir;

/// A temporary folder of sources, and the configuration that names them.
pub struct Desk {
    pub folder: TempDir,
    pub config: PrepareConfig,
}

impl Desk {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = PrepareConfig {
            output: folder.path().join("output"),
            heldout_fraction: 0.2,
            seed: 0,
            tokenizer: TokenizerConfig {
                vocab_size: Some(300),
                sample_bytes: Some(100_000),
                ..TokenizerConfig::default()
            },
            domains: BTreeMap::new(),
        };
        Desk { folder, config }
    }

    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path.to_string_lossy().into_owned()
    }

    pub fn domain(&mut self, name: &str, paths: &[&str]) -> &mut DomainConfig {
        let folder = self.folder.path().to_string_lossy().into_owned();
        let paths = paths
            .iter()
            .map(|path| format!("{folder}/{path}"))
            .collect();
        let domain = DomainConfig {
            paths,
            ..DomainConfig::default()
        };
        self.config.domains.entry(name.into()).or_insert(domain)
    }

    pub fn prepare(&self) -> Result<Dataset, DataError> {
        prepare(&self.config, false, &NoProgress)
    }
}

/// Returns `count` lines of JSON with different sentences.
#[allow(dead_code, reason = "not every test's sources are lines")]
pub fn sentences(subject: &str, count: usize) -> String {
    let line = |number| {
        format!(
            "{{\"text\": \"{subject} number {number} was seen {} times.\"}}\n",
            number * 7
        )
    };
    (0..count).map(line).collect()
}
