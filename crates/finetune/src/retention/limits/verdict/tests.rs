//! Tests of the verdict on all limits together, and of its sentences.

use super::*;

fn judged(inside_on_the_way: bool, mixed: Option<Shares>) -> Judged {
    Judged {
        checkpoint: "runs/a/best".into(),
        inside_on_the_way,
        on_generated_text: false,
        mixed,
    }
}

fn domain(name: &str, verdict: Option<LimitVerdict>) -> DomainVerdict {
    DomainVerdict {
        domain: name.into(),
        change: 0.03,
        interval: Some([0.01, 0.05]),
        groups: 20,
        effective_groups: 18.0,
        limited: verdict.map(|verdict| LimitedDomain {
            limit: 0.02,
            verdict,
            bound: Some(0.05),
            deciding_groups: None,
        }),
    }
}

fn verdict(inside: bool, verdicts: &[Option<LimitVerdict>]) -> LimitsVerdict {
    LimitsVerdict {
        judged: judged(inside, None),
        domains: verdicts
            .iter()
            .map(|verdict| domain("law", *verdict))
            .collect(),
    }
}

/// Checks the verdict on all limits: one broken limit breaks all, one undecided leaves all undecided, domains without a
/// limit do not count, and a model that was never within the limits broke them.
#[test]
fn one_limit_decides_for_all() {
    use LimitVerdict::{Broken, Kept, Undecided};
    for (verdicts, expected) in [
        (vec![None, Some(Kept), Some(Kept)], Kept),
        (vec![None, Some(Kept), Some(Undecided)], Undecided),
        (vec![None, Some(Undecided), Some(Kept)], Undecided),
        (vec![None, Some(Undecided), Some(Broken)], Broken),
        (vec![None, Some(Broken), Some(Kept)], Broken),
        (vec![None], Kept),
    ] {
        assert_eq!(verdict(true, &verdicts).verdict(), expected, "{verdicts:?}");
        assert_eq!(verdict(false, &verdicts).verdict(), Broken);
    }
    let mut mixed = verdict(false, &[None, Some(Kept)]);
    assert!(!mixed.is_inside());
    mixed.judged.mixed = Some(Shares::from([("all".to_owned(), 0.5)]));
    assert!(mixed.is_inside() && mixed.verdict() == Kept);
}

/// Checks that the written file has the word and whether the limits are kept, and is read again.
#[test]
fn a_verdict_is_read_as_written() {
    let folder = tempfile::tempdir().unwrap();
    for (found, word, kept) in [
        (LimitVerdict::Kept, "kept", true),
        (LimitVerdict::Broken, "broken", false),
        (LimitVerdict::Undecided, "undecided", false),
    ] {
        assert_eq!(super::word(found), word);
        let said = verdict(true, &[None, Some(found)]);
        said.write(folder.path()).unwrap();
        let text = std::fs::read_to_string(folder.path().join(FILE)).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["verdict"], word);
        assert_eq!(value["kept"], kept);
        let again = LimitsVerdict::read(folder.path()).unwrap();
        assert_eq!((again.verdict(), again.domains.len()), (found, 2));
    }
    assert!(LimitsVerdict::read(&folder.path().join("none")).is_none());
}

/// Checks the list of domains with a verdict: the excess of a broken limit, and for an undecided one the groups, those
/// that are effective where too few are, and those that would decide.
#[test]
fn domains_are_named_with_their_reasons() {
    let mut said = verdict(
        true,
        &[
            None,
            Some(LimitVerdict::Broken),
            Some(LimitVerdict::Undecided),
        ],
    );
    assert_eq!(said.named(LimitVerdict::Broken), "law by 0.0100");
    assert_eq!(
        said.named(LimitVerdict::Undecided),
        "law (20 groups of documents)"
    );
    assert_eq!(said.named(LimitVerdict::Kept), "");
    let undecided = &mut said.domains[2];
    (undecided.effective_groups, undecided.change) = (7.25, 0.02);
    undecided.limited.as_mut().unwrap().deciding_groups = Some(33);
    let expected = "law (20 groups of documents, 7.2 of them effective, and “kept” takes 15, about 33 would decide)";
    assert_eq!(said.named(LimitVerdict::Undecided), expected);
    // Enough effective groups, or a change beyond the limit: “kept” is not what is missing.
    said.domains[2].effective_groups = 15.0;
    assert!(!said.named(LimitVerdict::Undecided).contains("effective"));
    (said.domains[2].effective_groups, said.domains[2].change) = (7.25, 0.0201);
    assert!(!said.named(LimitVerdict::Undecided).contains("effective"));
}

/// Checks the shares of a mix in percent: one number where all layers have the same, else the ends with their layers.
#[test]
fn shares_of_a_mix_are_percentages() {
    let shares = |values: &[(&str, f64)]| -> Shares {
        values
            .iter()
            .map(|(name, share)| ((*name).to_owned(), *share))
            .collect()
    };
    assert_eq!(mixture(&shares(&[("a", 0.4375), ("b", 0.4375)])), "43.8 %");
    let found = mixture(&shares(&[("a", 0.5), ("b", 1.3125), ("c", 0.0625)]));
    assert_eq!(found, "from 6.2 % (c) to 131.2 % (b)");
    assert_eq!(mixture(&shares(&[])), "nothing");
}

/// Returns a domain whose change, bound, limit, groups and verdict differ from those of others.
fn measured(name: &str, change: f64, limited: Option<(f64, f64, LimitVerdict)>) -> DomainVerdict {
    DomainVerdict {
        domain: name.into(),
        change,
        interval: None,
        groups: 40,
        effective_groups: 31.26,
        limited: limited.map(|(limit, bound, verdict)| LimitedDomain {
            limit,
            verdict,
            bound: Some(bound),
            deciding_groups: (verdict == LimitVerdict::Undecided).then_some(90),
        }),
    }
}

/// Checks every line that a verdict prints, and every key of its file.
#[test]
fn a_verdict_is_told_whole() {
    use LimitVerdict::{Broken, Kept, Undecided};
    let said = LimitsVerdict {
        judged: Judged {
            checkpoint: "runs/a/mixed".into(),
            inside_on_the_way: false,
            on_generated_text: true,
            mixed: Some(Shares::from([
                ("layer 000".into(), 0.25),
                ("layer 001".into(), 1.5),
            ])),
        },
        domains: vec![
            measured("asked", -0.5, None),
            measured("code", 0.01, Some((0.02, 0.018, Kept))),
            measured("law", 0.05, Some((0.03, 0.034, Broken))),
            measured("notes", 0.015, Some((0.04, 0.06, Undecided))),
        ],
    };
    let text = said.to_string();
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = text.lines().map(words).collect();
    assert_eq!(
        lines,
        [
            "limits, on the test split of the held-out documents (bits per byte, runs/a/mixed)",
            "domain change deciding bound limit groups effective",
            "asked -0.5000 40 31.3",
            "code +0.0100 at most +0.0180 0.02 40 31.3 kept",
            "law +0.0500 at least +0.0340 0.03 40 31.3 broken",
            "notes +0.0150 at most +0.0600 0.04 40 31.3 undecided",
            "`best` is a mix, chosen on the dev split: the base's weights plus from 25.0 % (layer 000) to 150.0 % (layer 001) of \
             their change in the run (above 100 %, further in the direction of training)",
            "the limits apply to text that the base generated (`self`); no other text was measured, and it may lose more",
            "within the limits on the dev split, but significantly above the limit on the test split: law by 0.0200",
        ]
    );
    let folder = tempfile::tempdir().unwrap();
    said.write(folder.path()).unwrap();
    let text = std::fs::read_to_string(folder.path().join(FILE)).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let domain = |name: &str, change: f64| serde_json::json!({"domain": name, "change": change, "groups": 40, "effective_groups": 31.26});
    let mut domains = [
        domain("asked", -0.5),
        domain("code", 0.01),
        domain("law", 0.05),
        domain("notes", 0.015),
    ];
    for (domain, (limit, verdict, bound)) in domains[1..].iter_mut().zip([
        (0.02, "kept", 0.018),
        (0.03, "broken", 0.034),
        (0.04, "undecided", 0.06),
    ]) {
        (domain["limit"], domain["verdict"]) = (limit.into(), verdict.into());
        domain["bound"] = bound.into();
    }
    domains[3]["deciding_groups"] = 90.into();
    assert_eq!(
        value,
        serde_json::json!({
            "checkpoint": "runs/a/mixed", "inside_on_the_way": false, "on_generated_text": true,
            "mixed": {"layer 000": 0.25, "layer 001": 1.5}, "domains": domains, "verdict": "broken", "kept": false
        })
    );
}

/// Checks the conclusion for each combination of the dev and the test split.
#[test]
fn every_conclusion_is_told() {
    use LimitVerdict::{Broken, Kept, Undecided};
    let law = |verdict| measured("law", 0.05, Some((0.03, 0.034, verdict)));
    let conclusion = |inside_on_the_way: bool, verdict: LimitVerdict| {
        let said = LimitsVerdict {
            judged: judged(inside_on_the_way, None),
            domains: vec![measured("asked", -0.5, None), law(verdict)],
        };
        said.conclusion()
    };
    assert_eq!(
        [
            conclusion(true, Kept),
            conclusion(true, Undecided),
            conclusion(true, Broken),
            conclusion(false, Kept),
            conclusion(false, Broken),
        ],
        [
            "all limits kept: each upper bound is within its limit (one-sided, 95 %)",
            "undecided: within the limits on the dev split, but the test split does not show it for law (40 groups of documents, \
             about 90 would decide). Hold out more, raise `evaluation.max_tokens`, or train with a smaller limit",
            "within the limits on the dev split, but significantly above the limit on the test split: law by 0.0200",
            "no model was within the limits by its upper bounds on the dev split; the closest one is not significantly above a \
             limit on the test split, which may be chance",
            "no model was within the limits; the closest one is significantly above the limit on the test split: law by 0.0200",
        ]
    );
    let mut generated = LimitsVerdict {
        judged: judged(true, None),
        domains: vec![law(Undecided)],
    };
    generated.judged.on_generated_text = true;
    assert!(generated.conclusion().contains(
        "about 90 would decide). Generate more text with a greater `retention.replay.tokens`, or train with a smaller limit"
    ));
}
