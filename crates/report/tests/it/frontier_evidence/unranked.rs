//! Tests of methods that are not ranked or not recommended.

use super::*;

/// Checks that a single seed ranks nothing, that fewer than five groups have no interval, and that fewer than twenty
/// are noted. A method with a diverged seed is neither compared nor recommended. Other documents and other domains
/// are refused.
#[test]
fn insufficient_evidence_is_not_ranked() {
    let one = Truth {
        seeds: 1,
        methods: vec![(0.5, 0.04), (0.9, 0.01)],
        ..Truth::default()
    };
    let frontier = one.frontier(&mut Random(4));
    assert!(frontier.critical.is_none());
    assert!(
        frontier
            .methods
            .iter()
            .all(|method| method.beaten_by.is_none())
    );
    assert!(frontier.recommended.is_none());
    let said = frontier.markdown();
    assert!(
        said.contains("Nothing is recommended: one seed") && said.contains("One seed: runs"),
        "{said}"
    );

    let few = Truth {
        groups: 4,
        ..Truth::default()
    };
    let frontier = few.frontier(&mut Random(4));
    assert!(frontier.critical.is_none() && frontier.recommended.is_none());
    for method in &frontier.methods {
        assert_eq!(method.gain.interval, None);
        assert_eq!(method.mean_forgetting.interval, None);
    }
    assert!(frontier.runs.iter().all(|run| run.gain.interval.is_none()));
    assert!(frontier.markdown().contains("retained-0 (test: 4)"));
    let folder = tempfile::tempdir().unwrap();
    frontier.write(folder.path()).unwrap();
    let page = std::fs::read_to_string(folder.path().join("frontier.html")).unwrap();
    assert!(!page.contains(">none<") && !page.contains("NaN") && !page.contains('`'));
    let some = Truth {
        groups: 19,
        ..Truth::default()
    };
    assert!(
        some.frontier(&mut Random(4))
            .markdown()
            .contains("niche (test: 19)")
    );
    assert!(
        !Truth::default()
            .frontier(&mut Random(4))
            .markdown()
            .contains("Fewer than 20")
    );

    let truth = Truth::default();
    let (base, mut runs) = truth.draw(&mut Random(6));
    let lost = runs.remove(0).candidate;
    let mut settings = settings();
    settings.diverged.push(Diverged {
        name: lost.method.clone(),
        seed: lost.seed,
        message: "the loss is NaN".into(),
    });
    let frontier = Frontier::new(settings.clone(), &base, &runs).unwrap();
    for method in &frontier.methods {
        assert_eq!(method.frontier_share.is_none(), method.name == lost.method);
    }
    assert_ne!(frontier.recommended.unwrap().name, lost.method);

    // A method that lacks one of the others' seeds is not compared either.
    settings.diverged.clear();
    let missing = Frontier::new(settings.clone(), &base, &runs).unwrap();
    for method in &missing.methods {
        assert_eq!(method.frontier_share.is_none(), method.name == lost.method);
    }

    let mut other = runs.clone();
    other[1].scored.test.remove("retained-0");
    let error = Frontier::new(settings.clone(), &base, &other).unwrap_err();
    assert!(error.to_string().contains("different domains"), "{error}");
    runs[1]
        .scored
        .test
        .get_mut("retained-0")
        .unwrap()
        .documents
        .pop();
    let error = Frontier::new(settings, &base, &runs).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("different documents of `retained-0`"),
        "{error}"
    );
}

/// Checks that a method with a diverged run is neither compared nor recommended, even if it has a run for every seed
/// of the others and the largest gain.
#[test]
fn diverged_methods_are_not_recommended() {
    let truth = Truth {
        methods: vec![(0.4, 0.01), (0.9, 0.0), (0.5, 0.01)],
        ..Truth::default()
    };
    let (base, runs) = truth.draw(&mut Random(6));
    let mut settings = settings();
    let recommended = |settings: &polymath_report::frontier::FrontierSettings| {
        let frontier = Frontier::new(settings.clone(), &base, &runs).unwrap();
        let compared = frontier.methods.iter();
        let compared = compared.filter(|method| method.frontier_share.is_some());
        let mut names: Vec<String> = compared.map(|method| method.name.clone()).collect();
        names.sort();
        (frontier.recommended.unwrap().name, names)
    };
    let all = ["m00", "m01", "m02"].map(str::to_owned);
    assert_eq!(recommended(&settings), ("m01".to_owned(), all.to_vec()));
    settings.diverged.push(Diverged {
        name: "m01".into(),
        seed: 4,
        message: "the loss is NaN".into(),
    });
    let others = [&all[0], &all[2]].map(String::clone).to_vec();
    assert_eq!(recommended(&settings), ("m02".to_owned(), others));
}
