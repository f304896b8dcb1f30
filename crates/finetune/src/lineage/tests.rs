//! Tests of the lineage of a fine-tuned model.

use super::*;

fn stage(number: u32) -> Stage {
    Stage {
        base: format!("base{number}").into(),
        base_sha256: format!("sha{number}"),
        method: "full".into(),
        niche: format!("niche{number}"),
        dataset: format!("data{number}").into(),
    }
}

/// Returns the lineage of a third fine-tuning.
fn lineage() -> Lineage {
    Lineage {
        base: "base3".into(),
        checkpoint: None,
        base_sha256: "sha3".into(),
        method: "lora".into(),
        niche: "niche3".into(),
        dataset: "data3".into(),
        dataset_sha256: Some("aa".into()),
        retain: Some("kept".into()),
        retain_sha256: Some("bb".into()),
        chosen_on: Some(HeldoutSplit::Dev),
        earlier: vec![stage(1), stage(2)],
    }
}

/// Checks the fine-tunings of a chain, and those since each of its bases: none since the run's own base, nor since a
/// foreign one.
#[test]
fn a_chain_has_its_stages_in_order() {
    let lineage = lineage();
    let niches: Vec<String> = lineage
        .stages()
        .into_iter()
        .map(|stage| stage.niche)
        .collect();
    assert_eq!(niches, ["niche1", "niche2", "niche3"]);
    let last = lineage.stages().pop().unwrap();
    assert_eq!(
        (last.base_sha256.as_str(), last.method.as_str()),
        ("sha3", "lora")
    );
    assert_eq!(lineage.niches_since("sha1"), ["niche1", "niche2"]);
    assert_eq!(lineage.niches_since("sha2"), ["niche2"]);
    assert!(lineage.niches_since("sha3").is_empty() && lineage.niches_since("sha9").is_empty());
}

/// Checks that another base or another content of a dataset is refused with its key and both hashes, and that what an
/// earlier version did not record is not compared.
#[test]
fn what_a_run_was_begun_with_must_be_the_same() {
    let run = Path::new("runs/a");
    let check = |now: Lineage| {
        lineage()
            .check_same(&now, run)
            .map_err(|error| error.to_string())
    };
    assert_eq!(check(lineage()), Ok(()));
    for (now, expected) in [
        (
            Lineage {
                base_sha256: "sha4".into(),
                ..lineage()
            },
            ["the base `base3`, which", "`sha3` then, `sha4` now"],
        ),
        (
            Lineage {
                dataset_sha256: Some("cc".into()),
                ..lineage()
            },
            ["the dataset `data3` (`", "`aa` then, `cc` now"],
        ),
        (
            Lineage {
                retain_sha256: Some("cc".into()),
                ..lineage()
            },
            ["the dataset `kept` (`retain`)", "`bb` then, `cc` now"],
        ),
    ] {
        let said = check(now).unwrap_err();
        assert!(expected.iter().all(|part| said.contains(part)), "{said}");
    }
    let unknown = Lineage {
        dataset_sha256: None,
        retain_sha256: None,
        ..lineage()
    };
    assert_eq!(check(unknown), Ok(()));
    let resolved = Lineage {
        checkpoint: Some("base3/step-000009".into()),
        ..lineage()
    };
    let other = Lineage {
        base_sha256: "sha4".into(),
        ..lineage()
    };
    let said = resolved.check_same(&other, run).unwrap_err().to_string();
    assert!(
        said.contains("`base3`, which was `base3/step-000009`"),
        "{said}"
    );
}

/// Checks the datasets and the split of a checkpoint: from the lineage in its folder or in the run's, else from a
/// pretraining's `run.toml`, else none. A dataset that is both niche and retained is there once.
#[test]
fn datasets_come_from_the_lineage_or_the_run() {
    let root = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let folder = root.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    };
    let names = |checkpoint: &Path| -> Vec<String> {
        let paths = datasets_of(checkpoint).unwrap().into_iter();
        let name = |path: PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        paths.map(name).collect()
    };
    let tuned = make("tuned/step-000001");
    lineage().write(tuned.parent().unwrap()).unwrap();
    assert_eq!(names(&tuned), ["data3", "kept"]);
    assert_eq!(chosen_on(&tuned).unwrap(), Some(HeldoutSplit::Dev));
    let own = Lineage {
        retain: Some("data3".into()),
        chosen_on: None,
        ..lineage()
    };
    own.write(&tuned).unwrap();
    assert_eq!(names(&tuned), ["data3"]);
    assert_eq!(chosen_on(&tuned).unwrap(), None);
    let pretrained = make("pretrained/step-000001");
    assert!(names(&pretrained).is_empty());
    std::fs::write(
        root.path().join("pretrained/run.toml"),
        "dataset = \"texts\"",
    )
    .unwrap();
    assert_eq!(names(&pretrained), ["texts"]);
    std::fs::write(root.path().join("pretrained/run.toml"), "dataset = ").unwrap();
    assert!(datasets_of(&pretrained).is_err());
    std::fs::write(pretrained.join(FILE), "base = 3").unwrap();
    assert!(Lineage::of(&pretrained).is_err());
    assert_eq!(Lineage::of(&make("models/hub")).unwrap(), None);
}
