//! YAML front matter of a model card: the metadata that the hub shows and filters by.

use polymath_hub::{DatasetFiles, Repository};
use serde::Serialize;

use super::facts::Facts;
use super::text::name;
use crate::StudyError;

/// Front matter, with the hub's key names.
#[derive(Serialize)]
struct Metadata {
    #[serde(skip_serializing_if = "Option::is_none")]
    license: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_model_relation: Option<&'static str>,
    library_name: &'static str,
    pipeline_tag: &'static str,
    tags: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    datasets: Vec<String>,
    #[serde(rename = "model-index", skip_serializing_if = "Vec::is_empty")]
    model_index: Vec<IndexedModel>,
}

#[derive(Serialize)]
struct IndexedModel {
    name: String,
    results: Vec<IndexedResult>,
}

#[derive(Serialize)]
struct IndexedResult {
    task: Kind,
    dataset: NamedKind,
    metrics: Vec<Metric>,
}

#[derive(Serialize)]
struct Kind {
    r#type: &'static str,
}

#[derive(Serialize)]
struct NamedKind {
    r#type: String,
    name: String,
}

#[derive(Serialize)]
struct Metric {
    r#type: &'static str,
    name: &'static str,
    value: f64,
}

/// Returns the YAML, ending with a newline.
pub fn render(facts: &Facts) -> Result<String, StudyError> {
    let base = facts.base.as_ref().map(|base| base.name.clone());
    // A local path as the base is left out, since the hub can't resolve it.
    let base_model = base.filter(|name| is_on_the_hub(name));
    let relation = match facts.adapter {
        Some(_) => "adapter",
        None => "finetune",
    };
    let metadata = Metadata {
        license: facts.license.clone(),
        base_model_relation: base_model.is_some().then_some(relation),
        base_model,
        library_name: match facts.adapter {
            Some(_) => "peft",
            None => "transformers",
        },
        pipeline_tag: "text-generation",
        tags: tags(facts),
        datasets: datasets(facts),
        model_index: model_index(facts),
    };
    let yaml = serde_saphyr::to_string(&metadata)
        .map_err(|error| StudyError::Config(format!("the card's facts: {error}")))?;
    Ok(match yaml.ends_with('\n') {
        true => yaml,
        false => yaml + "\n",
    })
}

/// Returns true if `name` has the form of a repository id and no local path has this name.
pub fn is_on_the_hub(name: &str) -> bool {
    Repository::parse(name).is_some() && !std::path::Path::new(name).exists()
}

fn tags(facts: &Facts) -> Vec<String> {
    let mut tags = vec!["polymath".to_owned()];
    if let Some(lineage) = &facts.lineage {
        tags.extend(lineage.method.split(", ").map(str::to_owned));
        tags.push(lineage.niche.clone());
    }
    tags.extend(facts.shares.iter().map(|(name, _)| name.clone()));
    if facts.report.is_some() {
        tags.push("forgetting".into());
    }
    let mut seen = std::collections::BTreeSet::new();
    tags.retain(|tag| seen.insert(tag.clone()));
    tags
}

/// Returns the hub datasets among the `texts` in the run's configuration.
fn datasets(facts: &Facts) -> Vec<String> {
    let texts = facts.config.as_ref().and_then(|config| config.get("texts"));
    let texts = texts.and_then(toml::Value::as_array);
    let mut names: Vec<String> = texts
        .into_iter()
        .flatten()
        .filter_map(|text| Some(DatasetFiles::parse(text.as_str()?)?.repository.id()))
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Returns the bits per byte of each domain, from the report or else from the evaluation at the checkpoint.
fn model_index(facts: &Facts) -> Vec<IndexedModel> {
    let scores: Vec<(String, f64)> = match (&facts.report, &facts.scores) {
        (Some((run, _)), _) => run
            .domains
            .iter()
            .filter_map(|domain| Some((domain.name.clone(), domain.tuned_bits_per_byte?)))
            .collect(),
        (None, Some(point)) => point.heldout_bits_per_byte.clone().into_iter().collect(),
        (None, None) => Vec::new(),
    };
    let results: Vec<IndexedResult> = scores
        .into_iter()
        .map(|(domain, value)| IndexedResult {
            task: Kind {
                r#type: "text-generation",
            },
            dataset: NamedKind {
                r#type: domain.clone(),
                name: format!("{domain}, held-out documents"),
            },
            metrics: vec![Metric {
                r#type: "bits_per_byte",
                name: "bits per byte",
                value: (value * 1e4).round() / 1e4,
            }],
        })
        .collect();
    if results.is_empty() {
        return Vec::new();
    }
    vec![IndexedModel {
        name: name(facts).to_owned(),
        results,
    }]
}
