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
