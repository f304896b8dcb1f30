//! Tests of the remarks on a prepared domain.

use polymath_data::{DomainManifest, GroupKind};

use super::{few, little, remarks};

/// Checks the warning about a held-out split of a few bytes beside a book.
#[test]
fn little_held_out_text_is_reported() {
    let mut domain = DomainManifest::default();
    (domain.heldout.bytes, domain.train.bytes) = (8, 152_000);
    let said = little("v1.2", &domain);
    assert!(
        said.contains("8 B of text are held out beside 152 kB")
            && said.contains("`domains.\"v1.2\".heldout_paths`"),
        "{said}"
    );
    domain.train.bytes = 700;
    assert_eq!(little("law", &domain), "");
    (domain.heldout.bytes, domain.train.bytes) = (600, 152_000);
    assert_eq!(little("law", &domain), "");
}

/// Checks the warning about few groups, which counts those in `test`: half of the held-out ones.
#[test]
fn few_groups_are_reported() {
    for (held, said) in [
        (
            1,
            "1 held-out group is too few: scores on them get no interval",
        ),
        (4, "4 held-out groups are too few: scores"),
        (
            9,
            "9 held-out groups are too few: half of them are in `test`",
        ),
        (
            10,
            "10 held-out groups are few: about 5 of them are in `test`",
        ),
        (31, "31 held-out groups are few: about 15 of them"),
    ] {
        let text = few("law", held, 400, GroupKind::File);
        let advice =
            "hold out 32 or more with `domains.law.heldout_groups = 32` (it has 400 groups)";
        assert!(text.contains(said) && text.contains(advice), "{text}");
        assert!(!text.contains("section"), "{text}");
    }
    assert_eq!(few("law", 32, 400, GroupKind::File), "");
}

/// Checks that the proposed number of held-out groups is at most half of the domain's groups.
#[test]
fn remedies_fit_the_groups() {
    let of = |held, all, kind| few("law", held, all, kind);
    let some = of(1, 31, GroupKind::File);
    assert!(
        some.contains("hold out 15 with `domains.law.heldout_groups = 15`, half of its 31 groups"),
        "{some}"
    );
    assert!(
        some.contains("give more text, to hold out 32")
            && some.contains("`domains.law.group = \"section\"`")
    );
    let most = of(15, 31, GroupKind::Section);
    assert!(
        !most.contains("heldout_groups") && !most.contains("section"),
        "{most}"
    );
    assert!(most.contains("give more text"), "{most}");
}

/// Checks every remark on a domain, in its order, with the count that it is about.
#[test]
fn every_remark_has_its_count() {
    let mut domain = DomainManifest {
        bad_records_dropped: 1,
        empty_dropped: 2,
        heldout_cut: 3,
        heldout_by_quota: 4,
        near_duplicates_to_train: 5,
        near_duplicates_joined: 1,
        near_duplicates_left_out: 6,
        near_duplicates_left: 7,
        group: GroupKind::Record,
        ..DomainManifest::default()
    };
    (domain.train.groups, domain.train.bytes) = (300, 90_000);
    let held = &mut domain.heldout;
    (held.groups, held.documents, held.bytes) = (40, 45, 8000);
    domain.notes.unused_keys = [("url".to_owned(), 9)].into();
    let notes = domain.notes.lines();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(
        notes[0].contains("`url`") && notes[0].contains('9'),
        "{notes:?}"
    );
    let expected = [
        "left out since it contains no document: 1 record",
        "left out since it has nothing to learn (only white space, or no response): 2 texts",
        "cut into pieces: 3 long held-out documents",
        "held out in addition to those that the hash chose, which were too few: 4 documents",
        "not held out, since near-duplicates are training text: 5 documents",
        "counted with another, since both hold near-duplicates of each other: 1 held-out group",
        "left out, since other groups hold near-duplicates: 6 held-out documents",
        "held out although near-duplicates are training text, so that their scores say little about new text: 7 held-out \
         documents",
        "300 groups (records) to train on, 40 held out",
        &notes[0],
    ];
    let lines: String = expected
        .iter()
        .map(|line| format!("  law: {line}\n"))
        .collect();
    assert_eq!(remarks("law", &domain), lines);

    // The tail of an only document, in passages of one work.
    let mut only = DomainManifest {
        tail_held_out: true,
        heldout_cut: 3,
        group: GroupKind::Section,
        ..DomainManifest::default()
    };
    (only.train.groups, only.train.bytes) = (90, 90_000);
    (only.heldout, only.heldout.sha256) = (domain.heldout.clone(), String::new());
    let said = remarks("law", &only);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines,
        [
            "  law: its only document is cut; the tail is held out, in 45 pieces",
            "  law: 90 groups (passages of the same work) to train on, 40 held out",
            "  law: passages are the groups: scores apply to new passages of the same work, not to other works",
        ]
    );
    only.heldout.groups = 0;
    assert!(remarks("law", &only).contains("no groups are stored"));
    only.heldout.documents = 0;
    assert_eq!(remarks("law", &only).lines().count(), 1);
}
