//! Download of a model or an adapter from a repository.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hf_hub::repository::RepoTypeModel;
use serde::Deserialize;

use crate::card::CARD;
use crate::error::failure;
use crate::remote::{Listing, Remote, RemoteFile, names_in};
use crate::{HubError, Repository};

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const ADAPTER_CONFIG: &str = "adapter_config.json";
const ADAPTER_WEIGHTS: &str = "adapter_model.safetensors";

/// Files that are downloaded together with the weights and their config, if they exist. Other files, such as training
/// logs, are not.
const COMPANIONS: [&str; 6] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    CARD,
];

/// Returns the folder in the hub's cache with the config, tokenizer and safetensors files of a model or an adapter;
/// downloads missing ones. The small files are downloaded first, and `accept` checks their folder before the weights
/// are downloaded. So an unusable model costs no large download.
///
/// # Errors
/// Fails if there is no such repository or revision, if access is denied, if the hub can't be reached, if the
/// repository has no safetensors files, or if `accept` fails.
pub fn model_folder(
    repository: &Repository,
    accept: &dyn Fn(&Path) -> Result<(), String>,
) -> Result<PathBuf, HubError> {
    let remote = Remote::<RepoTypeModel>::open(repository)?;
    let refused = |reason: String| failure(repository, reason);
    let files = match remote.list()? {
        Listing::Files(files) => files,
        Listing::Cached(folder, reason) => {
            let names = names_in(&folder);
            let missing = kind(&names).map_or(true, |kind| !is_whole(&folder, kind, &names));
            if missing {
                let reason = format!("only a part of it is in the cache, and {reason}");
                return Err(refused(reason));
            }
            accept(&folder).map_err(refused)?;
            return Ok(folder);
        }
    };
    let names: Vec<String> = files.iter().map(|file| file.path.clone()).collect();
    let kind = kind(&names).map_err(|reason| refused(reason.replace("{}", &repository.id())))?;
    let pick = |wanted: &dyn Fn(&str) -> bool| -> Vec<RemoteFile> {
        let picked = files.iter().filter(|file| wanted(&file.path));
        picked.cloned().collect()
    };
    let small = pick(&|name| is_small(kind, name));
    let folder = remote.fetch(&small)?;
    accept(&folder).map_err(refused)?;
    let weights = weight_names(&folder, kind, &names).map_err(refused)?;
    let all = pick(&|name| is_small(kind, name) || weights.contains(name));
    remote.fetch(&all)
}

/// Kind of content of a repository: a model or an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Model,
    Adapter,
}

/// Returns the kind of a repository with these files, or the reason why it can't be used; `{}` in the reason stands
/// for the repository's name.
fn kind(names: &[String]) -> Result<Kind, String> {
    let has = |name: &str| names.iter().any(|found| found == name);
    if has(ADAPTER_CONFIG) && has(ADAPTER_WEIGHTS) {
        return Ok(Kind::Adapter);
    }
    if has(CONFIG) && (has(WEIGHTS) || has(INDEX)) {
        return Ok(Kind::Model);
    }
    let ends = [".bin", ".pt", ".pth", ".ckpt", ".pkl"];
    let pickled = names
        .iter()
        .find(|name| ends.iter().any(|end| name.ends_with(end)));
    Err(match pickled {
        Some(name) => format!(
            "its weights are pickled (`{name}`): such a file is a program that runs when it is read, so it is not read \
             here, and none of it was downloaded. Name a revision that has `*.safetensors` files after `@`, or convert \
             the model where you trust it: `AutoModelForCausalLM.from_pretrained(\"{{}}\").save_pretrained(\"folder\", \
             safe_serialization=True)`, and give that folder"
        ),
        None => format!(
            "it has no `{CONFIG}` with `{WEIGHTS}` or `{INDEX}`, and no `{ADAPTER_CONFIG}` with `{ADAPTER_WEIGHTS}`: \
             name a repository that holds a model for `transformers`, or an adapter for `peft`"
        ),
    })
}

/// Returns true if the file belongs to the download and is small, that is, not weights.
fn is_small(kind: Kind, name: &str) -> bool {
    let own: &[&str] = match kind {
        Kind::Model => &[CONFIG, INDEX],
        Kind::Adapter => &[ADAPTER_CONFIG],
    };
    let is_template = |name: &str| name.ends_with(".jinja") && !name.contains('/');
    let inner = name.strip_prefix("additional_chat_templates/");
    let template = is_template(inner.unwrap_or(name));
    own.contains(&name) || COMPANIONS.contains(&name) || template
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Returns the names of the weight files: a single one, or those in the index in `folder`.
fn weight_names(folder: &Path, kind: Kind, names: &[String]) -> Result<BTreeSet<String>, String> {
    let one = |name: &str| Ok(BTreeSet::from([name.to_owned()]));
    match kind {
        Kind::Adapter => return one(ADAPTER_WEIGHTS),
        Kind::Model if names.iter().any(|name| name == WEIGHTS) => return one(WEIGHTS),
        Kind::Model => {}
    }
    let broken = |reason: String| format!("its `{INDEX}` can't be read: {reason}");
    let text = polymath_input::read_json_text(&folder.join(INDEX));
    let text = text.map_err(|error| broken(error.to_string()))?;
    let index: Index = serde_json::from_str(&text).map_err(|e| broken(e.to_string()))?;
    let files: BTreeSet<String> = index.weight_map.into_values().collect();
    match files.iter().find(|file| !names.contains(file)) {
        Some(missing) => Err(format!(
            "its `{INDEX}` names `{missing}`, which it does not have"
        )),
        None => Ok(files),
    }
}

/// Returns true if a folder of the hub's cache contains all weight files.
fn is_whole(folder: &Path, kind: Kind, names: &[String]) -> bool {
    let weights = weight_names(folder, kind, names);
    weights.is_ok_and(|files| files.iter().all(|file| folder.join(file).is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(names: &[&str]) -> Result<Kind, String> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        kind(&names)
    }

    /// Checks that the templates of a tokenizer belong to the small files, and those in other folders do not.
    #[test]
    fn templates_are_downloaded() {
        for (name, small) in [
            ("chat_template.jinja", true),
            ("additional_chat_templates/tool_use.jinja", true),
            ("examples/chat_template.jinja", false),
            ("training/config.json", false),
        ] {
            assert_eq!(is_small(Kind::Model, name), small, "{name}");
        }
    }

    /// Checks that file names distinguish models and adapters, and that the error for pickled weights tells how to
    /// convert them.
    #[test]
    fn file_names_tell_the_kind_of_repository() {
        assert_eq!(kind_of(&[CONFIG, WEIGHTS]), Ok(Kind::Model));
        assert_eq!(
            kind_of(&[CONFIG, INDEX, "pytorch_model.bin"]),
            Ok(Kind::Model)
        );
        assert_eq!(
            kind_of(&[CONFIG, ADAPTER_CONFIG, ADAPTER_WEIGHTS]),
            Ok(Kind::Adapter)
        );
        for name in [
            "pytorch_model.bin",
            "consolidated.00.pth",
            "adapter_model.bin",
        ] {
            let reason = kind_of(&[CONFIG, ADAPTER_CONFIG, name]).unwrap_err();
            assert!(
                reason.contains(name) && reason.contains("safe_serialization=True"),
                "{reason}"
            );
        }
        let reason = kind_of(&[CONFIG, "training/model.safetensors"]).unwrap_err();
        assert!(
            reason.starts_with("it has no `config.json` with"),
            "{reason}"
        );
    }
}
