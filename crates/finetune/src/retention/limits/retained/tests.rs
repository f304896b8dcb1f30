//! Tests of the shares of limits that the retained domains use.

use polymath_data::ShardWriter;
use polymath_eval::DocumentScore;

use super::*;

/// Checks that the confidence bound stays the same if the test split has as many groups as the dev split, is
/// widened by √((1 + 4) / 2) if it has a quarter of them, and is never narrowed.
#[test]
fn a_small_test_split_widens_the_bound() {
    assert_eq!(widening_for(40, 40), 1.0);
    assert!((widening_for(40, 10) - 2.5f64.sqrt()).abs() < 1e-12);
    assert_eq!(widening_for(10, 40), 1.0);
}

/// Checks the factor by which the bound of a sample is narrowed to predict that of the whole split: a quarter of the
/// effective groups has twice the distance from the mean. A sample is never widened.
#[test]
fn the_bound_of_a_sample_predicts_that_of_the_whole() {
    let groups = |by_size| ScoredGroups { count: 99, by_size };
    assert_eq!(narrowing_for(groups(16.0), groups(64.0)), 0.5);
    assert_eq!(narrowing_for(groups(30.0), groups(30.0)), 1.0);
    assert_eq!(narrowing_for(groups(31.0), groups(30.0)), 1.0);
}

/// Returns scored documents that all change by `change` from 2 bits per byte. Without variance, the confidence
/// interval shrinks to the change itself.
fn scored(change: f64) -> DomainScores {
    let document = |bytes: u64| DocumentScore {
        nats: (2.0 + change) * bytes as f64 * std::f64::consts::LN_2,
        tokens: bytes,
        bytes,
    };
    DomainScores {
        documents: (10..30).map(document).collect(),
        ..DomainScores::default()
    }
}

/// Makes a retained domain for tests that do not read its documents.
fn domain((name, limit): (&str, Option<f64>), (count, by_size): (usize, f64)) -> RetainedDomain {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heldout.safetensors");
    let mut writer = ShardWriter::create(&path, 5).unwrap();
    writer.push(&[1, 0], &[], 1).unwrap();
    writer.finish().unwrap();
    RetainedDomain {
        name: name.to_owned(),
        shard: Arc::new(TokenShard::open(&path).unwrap()),
        windows: WindowOptions::default(),
        limit,
        base: scored(0.0),
        widening: 1.0,
        test: ScoredGroups { count, by_size },
    }
}

/// Checks that the warning names the domains with a limit whose test split has too few effective groups, with the
/// number that they have and need.
#[test]
fn limits_that_cannot_be_shown_are_named() {
    let named = domain(("plays", Some(0.02)), (40, 9.4));
    let others = || {
        [
            domain(("law", Some(0.02)), (15, 15.0)),
            domain(("code", None), (5, 5.0)),
        ]
    };
    assert_eq!(RetainedDomains(others().into()).warning(), None);
    let warning = RetainedDomains(others().into_iter().chain([named]).collect())
        .warning()
        .unwrap();
    assert!(warning.contains("`plays` (40, as good as 9)"), "{warning}");
    assert!(
        !warning.contains("law") && !warning.contains("code"),
        "{warning}"
    );
}

/// Checks that a domain that did not get worse counts for the controller as using at most its whole limit, even
/// with few documents; a domain that got worse counts with its upper bound.
#[test]
fn few_documents_of_a_better_domain_do_not_press() {
    let spread = |change: f64| {
        let mut scores = scored(0.0);
        for (at, document) in scores.documents.iter_mut().enumerate() {
            let astray = if at % 2 == 0 { 2.0 } else { -2.0 };
            document.nats += (change + astray) * document.bytes as f64 * std::f64::consts::LN_2;
        }
        scores.documents.truncate(6);
        scores
    };
    let use_of = |change: f64| {
        let mut law = domain(("law", Some(0.02)), (6, 6.0));
        law.base.documents.truncate(6);
        let scores = [("law".to_owned(), spread(change))].into();
        RetainedDomains(vec![law]).limit_use(&scores).unwrap()
    };
    let better = use_of(-0.5);
    assert!(better.shares["law"] > 1.0 && better.worst.as_ref().unwrap().has_too_few());
    assert_eq!(better.pressing["law"], 1.0);
    let worse = use_of(0.5);
    assert!(!worse.worst.as_ref().unwrap().has_too_few());
    assert_eq!(worse.pressing["law"], worse.shares["law"]);
}

/// Checks that the worst domain is the one that uses the largest share of its own limit, not the one with the
/// largest increase, nor the first or last one. A domain that improved uses nothing, and a domain without a limit
/// does not count.
#[test]
fn the_worst_domain_uses_most_of_its_limit() {
    let domains = [
        ("atoms", 0.10, Some(0.5)),
        ("birds", 0.05, Some(0.04)),
        ("codes", 0.90, None),
        ("deeds", -0.20, Some(0.1)),
        ("earth", 0.12, Some(0.3)),
    ];
    let retained = domains.map(|(name, _, limit)| domain((name, limit), (20, 16.0)));
    let now = domains.map(|(name, change, _)| (name.to_owned(), scored(change)));
    let limit_use = RetainedDomains(retained.into())
        .limit_use(&now.into())
        .unwrap();
    let worst = limit_use.worst.as_ref().unwrap();
    assert_eq!((worst.domain.as_str(), worst.limit), ("birds", 0.04));
    assert!((limit_use.share() - 1.25).abs() < 1e-6, "{limit_use:?}");
    let expected = [
        ("atoms", 0.2),
        ("birds", 1.25),
        ("deeds", 0.0),
        ("earth", 0.4),
    ];
    assert_eq!(limit_use.shares.len(), expected.len());
    for (name, share) in expected {
        assert!((limit_use.shares[name] - share).abs() < 1e-6, "{name}");
    }
    let mean = (0.2 + 1.25 - 2.0 + 0.4) / 4.0;
    assert!((limit_use.mean - mean).abs() < 1e-6, "{limit_use:?}");
}

/// Makes scores of 20 documents of 100 bytes, whose bits per byte are 2 and `spread` times 0 to 6 sevenths more, in
/// no order, and `change` more.
fn spread(change: f64, spread: f64, turn: usize) -> DomainScores {
    let document = |at: usize| DocumentScore {
        nats: (2.0 + change + spread * ((at * at + turn * at) % 7) as f64 / 7.0)
            * 100.0
            * std::f64::consts::LN_2,
        tokens: 100,
        bytes: 100,
    };
    DomainScores {
        documents: (0..20).map(document).collect(),
        ..DomainScores::default()
    }
}

/// Checks that `widening` multiplies the distance of the bound from the change, and that the mean is that of the
/// changes, not of the bounds.
#[test]
fn the_distance_to_the_bound_is_widened() {
    let use_of = |widening: f64| {
        let mut law = domain(("law", Some(0.25)), (20, 20.0));
        law.base = spread(0.0, 0.0, 0);
        law.widening = widening;
        let scores = [("law".to_owned(), spread(0.1, 0.5, 1))].into();
        RetainedDomains(vec![law]).limit_use(&scores).unwrap()
    };
    let (once, thrice) = (use_of(1.0), use_of(3.0));
    let worst = once.worst.clone().unwrap();
    let distance = worst.bound - worst.change;
    assert!(distance > 0.01 && worst.groups == 20, "{worst:?}");
    assert!((once.share() - worst.bound / 0.25).abs() < 1e-12);
    assert!((thrice.share() - (worst.change + 3.0 * distance) / 0.25).abs() < 1e-9);
    for found in [once, thrice] {
        assert!((found.mean - worst.change / 0.25).abs() < 1e-12);
    }
    assert_eq!(
        RetainedDomains(Vec::new())
            .limit_use(&BTreeMap::new())
            .unwrap()
            .share(),
        0.0
    );
}

/// Checks that a choice among candidates widens the bound: not at all among one or among copies of one, more among
/// those that differ, and only of domains with a limit.
#[test]
fn a_choice_among_candidates_widens_the_bound() {
    let widened = |candidates: &[DomainScores], limit: Option<f64>| {
        let mut law = domain(("law", limit), (20, 20.0));
        law.base = spread(0.0, 0.0, 0);
        law.widening = 2.0;
        let mut retained = RetainedDomains(vec![law]);
        let scored = |scores: &DomainScores| [("law".to_owned(), scores.clone())].into();
        let candidates: Vec<ScoresByDomain> = candidates.iter().map(scored).collect();
        let candidates: Vec<&ScoresByDomain> = candidates.iter().collect();
        let factors = retained.choice_factors(&candidates).unwrap();
        assert_eq!(factors.contains_key("law"), limit.is_some());
        retained.widen(&factors);
        retained.0[0].widening
    };
    let one = spread(0.1, 0.5, 1);
    assert_eq!(widened(std::slice::from_ref(&one), Some(0.1)), 2.0);
    assert_eq!(widened(&[one.clone(), one.clone()], Some(0.1)), 2.0);
    let others: Vec<DomainScores> = (0..5).map(|turn| spread(0.1, 0.5, turn)).collect();
    let price = widened(&others, Some(0.1)) / 2.0;
    assert!((1.05..2.0).contains(&price), "{price}");
    assert_eq!(widened(&others, None), 2.0);
}

/// Checks what counts as too few documents: no increase, with a bound beyond the limit.
#[test]
fn too_few_documents_have_no_increase_and_a_far_bound() {
    let of = |change: f64, share: f64| {
        WorstDomain {
            domain: "law".into(),
            change,
            bound: 0.1,
            limit: 0.05,
            share,
            groups: 6,
        }
        .has_too_few()
    };
    assert!(of(0.0, 1.001) && of(-0.5, 2.0));
    assert!(!of(0.001, 2.0) && !of(0.0, 1.0) && !of(-0.5, 0.5));
}

/// Checks the advice for too few groups: to generate more text, or to prepare the dataset again.
#[test]
fn too_few_groups_are_refused_by_their_source() {
    let named = NamedShard {
        name: "law".into(),
        shard: domain(("law", Some(0.02)), (4, 4.0)).shard,
    };
    let said = |is_generated| too_few(&named, (4, 3), is_generated).to_string();
    let of_dataset = said(false);
    assert!(
        of_dataset.contains("prepare `law` again")
            && of_dataset.contains("4 independent groups in the dev split"),
        "{of_dataset}"
    );
    let generated = said(true);
    assert!(
        generated.contains("`retention.replay.tokens`")
            && generated
                .contains("4 independent groups of documents in the dev split and 3 in the test"),
        "{generated}"
    );
    assert!(!generated.contains("prepare"), "{generated}");
}
