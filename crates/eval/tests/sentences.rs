//! The report's sentences name the right run with the right word, and the tolerance decides what is forgotten.

use std::collections::BTreeMap;
use std::f64::consts::LN_2;

use polymath_eval::statistics::Verdict;
use polymath_eval::{DocumentScore, DomainScores, ForgettingReport, ModelScores, Settings};

/// Forty documents of 300 bytes, each with so many bits per byte.
fn documents(bits: f64) -> DomainScores {
    let document = DocumentScore {
        nats: bits * 300.0 * LN_2,
        tokens: 75,
        bytes: 300,
    };
    DomainScores {
        documents: vec![document; 40],
        ..DomainScores::default()
    }
}

/// A model whose niche `dance` and old domain `atoms` are by so much above the base's 2 bits per byte.
fn model(path: &str, niche: f64, old: f64) -> ModelScores {
    ModelScores {
        path: path.into(),
        niche: if path == "base" { "" } else { "dance" }.into(),
        domains: BTreeMap::from([
            ("dance".into(), documents(2.0 + niche)),
            ("atoms".into(), documents(2.0 + old)),
        ]),
        ..ModelScores::default()
    }
}

fn report(runs: &[ModelScores], tolerance: f64) -> ForgettingReport {
    let settings = Settings {
        tolerance,
        ..Settings::default()
    };
    ForgettingReport::new(&model("base", 0.0, 0.0), runs, settings).unwrap()
}

#[test]
fn headlines_name_who_gained_most_and_who_forgot_least() {
    let runs = [
        model("middling", -0.3, 0.2),
        model("eager", -0.5, 0.4),
        model("careful", -0.1, 0.05),
    ];
    let said = report(&runs, 0.01).headline();
    assert!(
        said.starts_with("eager gained most on its niche: +0.500 bits per byte, at +0.400 of"),
        "{said}"
    );
    assert!(
        said.ends_with("careful forgot least: +0.050 on average, for a gain of +0.100."),
        "{said}"
    );
    let both = [model("best", -0.5, 0.05), model("worst", -0.1, 0.4)];
    let said = report(&both, 0.01).headline();
    assert!(
        said.starts_with("Of 2 runs, best both gained most on its niche (+0.500"),
        "{said}"
    );
}

#[test]
fn gains_and_losses_have_their_own_words() {
    let said = |niche, old| report(&[model("run", niche, old)], 0.01).headline();
    assert_eq!(
        said(-0.5, 0.25),
        "run gained 0.500 bits per byte (25 %) on dance; it forgot atoms (+0.250)."
    );
    assert_eq!(
        said(0.5, 0.0),
        "run lost 0.500 bits per byte (25 %) on dance, its own niche; it kept its old domain."
    );
}

#[test]
fn a_rise_within_the_tolerance_is_kept() {
    for (tolerance, verdict) in [(0.1, Verdict::Kept), (0.02, Verdict::Forgotten)] {
        let report = report(&[model("run", -0.5, 0.05)], tolerance);
        let old = report.runs[0].old().next().unwrap();
        assert_eq!(old.verdict, verdict, "{tolerance}");
    }
    // Of the niche, any sure loss is one.
    let lost = report(&[model("run", 0.05, 0.0)], 0.1);
    assert_eq!(lost.runs[0].niche().unwrap().verdict, Verdict::Lost);
}

/// What was stopped between two of the forms is an earlier result, which the same command may write again.
#[test]
fn stopped_between_forms_is_an_earlier_result() {
    let folder = tempfile::tempdir().unwrap();
    let report = report(&[model("run", -0.5, 0.25)], 0.1);
    for missing in ["html", "md"] {
        // A folder in its place stops the writing there.
        let place = folder.path().join(missing);
        let stop = place.join(format!("report.{missing}"));
        std::fs::create_dir_all(stop.join("full")).unwrap();
        polymath_eval::write(&report, &place).unwrap_err();
        std::fs::remove_dir_all(stop).unwrap();
        polymath_eval::check_forms(&place, "report").unwrap();
        polymath_eval::write(&report, &place).unwrap();
    }
}
