//! Pushes a checkpoint and its card to the hub, or writes the card alone, for `polymath export`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use polymath_hub::{CARD, Content, Push, Repository, Upload};
use polymath_model::is_adapter;
use polymath_study::card::{self, CardOptions, Facts};

use crate::arguments;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::{lines, results};

const ADAPTER_CONFIG: &str = "adapter_config.json";
/// Files that are pushed only to resume the run: the optimizer's state, and `state.json`, which would describe no
/// complete checkpoint without it.
const STATE: [&str; 2] = ["optimizer.safetensors", "state.json"];
/// File with the lineage of a model. It contains paths of this machine.
const LINEAGE: &str = "base.toml";

/// Returns the model card of a checkpoint that is or will be published as `place`.
fn card(folder: &Path, place: String, arguments: &arguments::Export) -> Result<String, Failure> {
    let options = CardOptions {
        place,
        report: arguments.report.as_deref(),
        license: arguments.license.as_deref(),
        base: arguments.base.as_deref(),
    };
    Ok(card::render(&Facts::gather(folder, &options)?)?)
}

/// Writes the card only.
pub fn write_card(
    folder: &Path,
    given: &Path,
    arguments: &arguments::Export,
) -> Result<(), Failure> {
    let file = card_file(given);
    if file.exists() {
        return Err(Failure::usage(anyhow!(
            "`{}` is already there: name another file with `--card`, or remove this one",
            file.display()
        )));
    }
    // Shows the path of the checkpoint folder, which other programs can open, instead of the run folder. Of an
    // absolute path, only the run's name is shown.
    let best = arguments.checkpoint.join("best");
    let place = match arguments.checkpoint.is_relative() && best.is_dir() {
        true => &best,
        false => &arguments.checkpoint,
    };
    let text = card(folder, card::shown(place), arguments)?;
    polymath_base::write(&file, text.as_bytes())
        .with_context(|| format!("can't write `{}`", file.display()))?;
    results::announce(&file.display().to_string());
    Ok(())
}

/// Returns the path of the card's file: for a folder, its `README.md`.
fn card_file(path: &Path) -> PathBuf {
    match path.is_dir() {
        true => path.join(CARD),
        false => path.to_path_buf(),
    }
}

/// Lists the checkpoint's files and its card. Pushes them unless `--dry-run` is given.
pub fn push(
    folder: &Path,
    name: &str,
    arguments: &arguments::Export,
    environment: &Environment,
) -> Result<(), Failure> {
    let repository = repository(name, arguments.revision.as_deref()).map_err(Failure::Usage)?;
    // A missing model is reported before any other problem.
    if !is_adapter(folder) {
        polymath_model::load_config(folder).map_err(Failure::usage)?;
    }
    let mut files = files_of(folder, arguments.with_state)?;
    if is_adapter(folder) {
        let config = adapter_config(arguments, folder).map_err(Failure::Usage)?;
        // The base on the hub must be the one that the adapter was trained on.
        let base = polymath_train::resolve_base(folder, arguments.base.as_deref())?;
        polymath_model::load_adapter(folder, base.as_deref()).map_err(Failure::usage)?;
        files.retain(|file| file.name != ADAPTER_CONFIG);
        files.push(upload(ADAPTER_CONFIG, config));
    }
    let card = chosen_card(arguments, folder, &repository)?;
    let gets = match arguments.dry_run {
        true => "would get",
        false => "gets",
    };
    environment.say(&format!("`{repository}` {gets}:"));
    for file in files.iter().chain([&card]) {
        let megabytes = file.content.size() as f64 / 1e6;
        environment.say(&format!("  {:32} {megabytes:>10.3} MB", file.name));
    }
    if arguments.dry_run {
        if let Content::Bytes(text) = &card.content {
            results::print(&String::from_utf8_lossy(text))?;
        }
        return Ok(());
    }
    if !arguments.yes && !is_confirmed()? {
        environment.say("nothing was sent");
        return Ok(());
    }
    files.push(card);
    let message = arguments.message.clone();
    let pushed = polymath_hub::push(&Push {
        repository: &repository,
        private: arguments.private,
        files,
        message: message.unwrap_or_else(|| "A checkpoint, pushed by Polymath".into()),
    })?;
    if pushed.kept_existing {
        environment.say(&format!(
            "the `{CARD}` that `{repository}` has was left as it is: to replace it, give another with `--card`"
        ));
    }
    results::announce(&pushed.url);
    Ok(())
}

/// Asks the user on a terminal before sending. Returns true without a terminal, where nobody could answer.
fn is_confirmed() -> Result<bool, Failure> {
    if !(std::io::stdin().is_terminal() && lines::is_terminal()) {
        return Ok(true);
    }
    lines::say("send these files? [y/N]");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

fn repository(name: &str, revision: Option<&str>) -> anyhow::Result<Repository> {
    let named = match revision {
        Some(revision) => format!("{name}@{revision}"),
        None => name.to_owned(),
    };
    // A revision is given by `--revision`, not in the name.
    let parsed = Repository::parse(&named).filter(|_| !name.contains('@'));
    parsed.ok_or_else(|| {
        anyhow!("`{named}` is not a name on the hub: expected `--push owner/name`, with a branch in `--revision`")
    })
}

/// Returns the files of a checkpoint without its card, its lineage and, unless `with_state` is true, the state of its
/// run.
fn files_of(folder: &Path, with_state: bool) -> Result<Vec<Upload>, Failure> {
    let mut files = Vec::new();
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("can't read the folder `{}`", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("can't read `{}`", folder.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let left_out = [CARD, LINEAGE].contains(&name.as_str())
            || name.starts_with('.')
            || (STATE.contains(&name.as_str()) && !with_state);
        if !left_out && let Some(path) = file_within(folder, &name).map_err(Failure::Usage)? {
            files.push(Upload {
                name,
                content: Content::File(path),
                keep_existing: false,
            });
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// Resolves the path of a file in the folder. Returns `None` if it is not a file. A link may lead to another file of
/// the folder or, for a model in the hub's cache, to that model's own content. Fails for any other link, which could
/// send a file from elsewhere.
fn file_within(folder: &Path, name: &str) -> anyhow::Result<Option<PathBuf>> {
    let path = folder.join(name);
    let failed = || format!("can't read `{}`", path.display());
    let place = path.canonicalize().with_context(failed)?;
    if !place.is_file() {
        return Ok(None);
    }
    let home = folder.canonicalize().with_context(failed)?;
    if place.parent() == Some(&home) || is_in_cache(&home, &place) {
        return Ok(Some(place));
    }
    Err(anyhow!(
        "`{}` is a link to `{}`, outside of the folder that is pushed: remove it, or put a copy in its place",
        path.display(),
        place.display()
    ))
}

/// Returns true if `place` is content of the model whose snapshot in the hub's cache is `home`: `<model>/blobs/…` for
/// `<model>/snapshots/<commit>`.
fn is_in_cache(home: &Path, place: &Path) -> bool {
    let Some(snapshots) = home.parent().filter(|parent| parent.ends_with("snapshots")) else {
        return false;
    };
    let model = snapshots.parent();
    model.is_some_and(|model| {
        place.parent() == Some(&model.join("blobs"))
            && model
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("models--"))
    })
}

fn upload(name: &str, text: String) -> Upload {
    Upload {
        name: name.to_owned(),
        content: Content::Bytes(text.into_bytes()),
        keep_existing: false,
    }
}

/// Returns the given card or the one in the checkpoint's folder. Otherwise, makes a new card that does not replace an
/// existing one in the repository.
fn chosen_card(
    arguments: &arguments::Export,
    folder: &Path,
    repository: &Repository,
) -> Result<Upload, Failure> {
    let file = match &arguments.destination.card {
        Some(given) => Some(card_file(given)),
        None if folder.join(CARD).exists() => file_within(folder, CARD).map_err(Failure::Usage)?,
        None => None,
    };
    if let Some(file) = file {
        let text = polymath_base::read_to_string(&file)
            .with_context(|| format!("can't read the card `{}`", file.display()))
            .map_err(Failure::Usage)?;
        return Ok(upload(CARD, text));
    }
    let text = card(folder, repository.id(), arguments)?;
    Ok(Upload {
        keep_existing: true,
        ..upload(CARD, text)
    })
}

/// Returns an adapter's config that names a base on the hub.
fn adapter_config(arguments: &arguments::Export, folder: &Path) -> anyhow::Result<String> {
    let path = folder.join(ADAPTER_CONFIG);
    let text = polymath_base::read_to_string(&path)?;
    let Some(given) = &arguments.base else {
        let named = polymath_model::named_base(folder)?.name;
        if card::is_on_the_hub(&named) {
            return Ok(text);
        }
        return Err(anyhow!(
            "`{}` is an adapter for the folder `{named}`, which exists only on this machine: push that base first, and name it with \
             `--base owner/name`",
            folder.display()
        ));
    };
    let named = given.to_str().filter(|name| card::is_on_the_hub(name));
    let repository = named.and_then(Repository::parse).ok_or_else(|| {
        anyhow!(
            "`--base {}` is not on the hub, where others could find it: expected `owner/name[@revision]`",
            given.display()
        )
    })?;
    let mut config: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&text).with_context(|| format!("can't read `{}`", path.display()))?;
    let revision = Some(repository.revision()).filter(|name| *name != "main");
    config.insert("base_model_name_or_path".into(), repository.id().into());
    config.insert("revision".into(), revision.into());
    Ok(format!("{:#}\n", serde_json::Value::Object(config)))
}
