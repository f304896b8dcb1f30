//! Tests of significance in the report: groups, corrections and rankings.

use super::*;

/// Checks that the domains and questions of all runs are tested together: each p-value is Holm-corrected over all of
/// them.
#[test]
fn all_tests_are_corrected_together() {
    let ask_more = |mut model: ModelScores| {
        let unchanged = vec![true; 20];
        model.questions.insert("competition".into(), unchanged);
        model
    };
    let runs = ["a", "b"].map(|path| ModelScores {
        path: path.into(),
        ..ask_more(tuned())
    });
    let report =
        ForgettingReport::new(&ask_more(base()), &runs, ReportSettings::default()).unwrap();
    assert_eq!(report.settings.comparisons, 10);
    let (mut p_values, mut adjusted) = (Vec::new(), Vec::new());
    for run in &report.runs {
        for domain in &run.domains {
            p_values.push(domain.p_value.unwrap());
            adjusted.push(domain.adjusted_p_value.unwrap());
        }
        for questions in &run.questions {
            p_values.push(questions.accuracy.p_value);
            adjusted.push(questions.accuracy.adjusted_p_value);
        }
    }
    assert_eq!(p_values.len(), 10);
    assert_eq!(adjusted, polymath_eval::statistics::holm(&p_values));
    let chemistry = &report.runs[0].questions[0].accuracy;
    assert!(chemistry.adjusted_p_value > chemistry.p_value);
}

/// Checks that questions made from one template count once: ten losses with one template are not significant, and
/// with ten templates they are.
#[test]
fn questions_of_a_template_count_once() {
    let of = |groups: Vec<u64>| {
        let mut base = base();
        base.question_groups = BTreeMap::from([("chemistry".into(), groups)]);
        let report = ForgettingReport::new(&base, &[tuned()], ReportSettings::default()).unwrap();
        report.runs[0].questions[0].clone()
    };
    let (apart, together) = (of((0..20).collect()), of(vec![7; 20]));
    assert_eq!((apart.groups, together.groups), (20, 1));
    assert!(apart.accuracy.p_value < 0.01 && together.accuracy.p_value >= 0.5);
    let width = |questions: &QuestionReport| {
        let [low, high] = ends(questions.accuracy.change);
        high - low
    };
    // The losses are in two of five templates.
    let lost_in_two = |at: u64| {
        if at.is_multiple_of(2) {
            at / 10
        } else {
            2 + at / 7
        }
    };
    let of_five = of((0..20).map(lost_in_two).collect());
    assert!(width(&of_five) > 1.5 * width(&apart));
    assert_eq!(together.accuracy.change.interval, None);
}

/// Checks that documents of one work count once: in the number of groups, the interval and the verdict.
#[test]
fn documents_of_a_work_count_once() {
    let in_works = |mut model: ModelScores, works: u64| {
        for scores in model.domains.values_mut() {
            scores.groups = (0..scores.documents.len() as u64)
                .map(|at| at % works)
                .collect();
            scores.grouping = Some(polymath_data::Grouping::of(polymath_data::GroupKind::File));
        }
        model
    };
    let of = |works| {
        let runs = [in_works(tuned(), works)];
        let report =
            ForgettingReport::new(&in_works(base(), works), &runs, ReportSettings::default());
        report.unwrap()
    };
    let report = of(4);
    for domain in &report.runs[0].domains {
        assert_eq!((domain.documents, domain.groups), (39, 4));
        assert_eq!((domain.interval, domain.p_value), (None, None));
        assert_eq!(domain.verdict, Verdict::Undecided);
        assert!(
            domain
                .reason
                .as_ref()
                .unwrap()
                .contains("4 independent groups")
        );
    }
    let summary = &report.runs[0].summary;
    assert_eq!(summary.mean_forgetting.unwrap().interval, None);
    assert_eq!(summary.worst_forgetting.as_ref().unwrap().bound, None);
    for text in [markdown::render(&report), html::render(&report).unwrap()] {
        assert!(text.contains("4 files of 39 documents"), "{text}");
        assert!(!text.contains("stores no groups"));
    }
    let five = of(5);
    assert!(
        five.runs[0]
            .domains
            .iter()
            .all(|domain| domain.interval.is_some())
    );
    // Without groups, the report has a note.
    let text = markdown::render(&super::report());
    assert!(text.contains("stores no groups") && text.contains("How sure is this?"));
}

/// Checks that few effective groups never give the verdict "kept", and that the report says how many groups would
/// decide.
#[test]
fn few_groups_are_never_called_kept() {
    let uneven = |mut model: ModelScores| {
        for scores in model.domains.values_mut() {
            for (at, document) in scores.documents.iter_mut().enumerate() {
                let size = if at < 6 { 5000 } else { 50 };
                *document = DocumentScore {
                    nats: size as f64 * 0.6,
                    tokens: 30,
                    bytes: size,
                };
            }
        }
        model
    };
    let report = ForgettingReport::new(
        &uneven(base()),
        &[uneven(tuned())],
        ReportSettings::default(),
    );
    let report = report.unwrap();
    let domain = &report.runs[0].domains[1];
    assert_eq!(
        (domain.change, domain.interval),
        (Some(0.0), Some([0.0, 0.0]))
    );
    assert_eq!(domain.verdict, Verdict::Undecided);
    assert!(domain.effective_groups < 15.0 && domain.deciding_groups > Some(39));
    let reason = domain.reason.as_ref().unwrap();
    assert!(
        reason.contains("fewer than the 15") && reason.contains("would decide"),
        "{reason}"
    );
}

/// Checks that two seeds of one method are not ranked, that a clearly better run is, and that runs with different
/// niches are not compared.
#[test]
fn runs_are_ranked_by_significant_differences() {
    let run = |path: &str, shift: f64| {
        let mut model = tuned();
        model.path = path.into();
        for scores in model.domains.values_mut() {
            for (at, document) in scores.documents.iter_mut().enumerate() {
                let noise = ((at * 7919 + path.len() * 31) % 17) as f64 / 16.0 - 0.5;
                document.nats += document.bytes as f64 * (0.02 * noise + shift);
            }
        }
        model
    };
    let of = |runs: &[ModelScores]| {
        ForgettingReport::new(&base(), runs, ReportSettings::default()).unwrap()
    };
    let alike = of(&[run("seed", 0.0), run("other-seed", 0.0)]);
    let ranking = alike.ranking.as_ref().unwrap();
    assert_eq!(
        (&ranking.least_forgetting, &ranking.most_gain),
        (&None, &None)
    );
    assert!(
        alike
            .headline()
            .contains("None of the 2 runs is significantly better"),
        "{}",
        alike.headline()
    );
    let apart = of(&[
        run("seed", 0.0),
        run("other-seed", 0.0),
        run("better", -0.05),
    ]);
    let ranking = apart.ranking.as_ref().unwrap();
    assert_eq!(ranking.least_forgetting.as_deref(), Some("better"));
    assert_eq!(ranking.most_gain.as_deref(), Some("better"));
    assert!(
        apart
            .headline()
            .contains("significantly against every other run. With other seeds")
    );
    assert_eq!(ranking.pairs.len(), 3);
    let mut elsewhere = run("elsewhere", 0.0);
    elsewhere.niche = Some("chemistry".into());
    let mixed = of(&[run("seed", 0.0), elsewhere]);
    assert!(
        mixed
            .headline()
            .contains("not ranked: they were tuned for different niches")
    );
}

/// Returns a run with the given forgetting and gain, in bits per byte.
pub(super) fn run_of(path: &str, [forgotten, gained]: [f64; 2]) -> ModelScores {
    let mut model = tuned();
    model.path = path.into();
    for (name, scores) in &mut model.domains {
        let by_byte = match &name[..] {
            "competition" => -gained,
            _ => forgotten,
        };
        scores.documents = base().domains[name].documents.clone();
        // 19 pairs of documents deviate symmetrically, by a different amount in each run.
        let astray = [1.0, -1.0].into_iter().cycle().take(38).chain([0.0]);
        for (document, astray) in scores.documents.iter_mut().zip(astray) {
            document.nats += document.bytes as f64 * by_byte * std::f64::consts::LN_2;
            document.nats += astray * f64::from(path.as_bytes()[0] - b'a');
        }
    }
    model
}

/// Checks that the sentence about a run tells whether its niche gained, lost or neither, and describes the retained
/// domains.
#[test]
fn run_sentences_follow_the_verdicts() {
    let sentence = |figures: [f64; 2]| {
        let runs = [run_of("middle", figures)];
        let report = ForgettingReport::new(&base(), &runs, ReportSettings::default()).unwrap();
        report.headline()
    };
    for (figures, niche, retained) in [
        (
            [0.2, 0.3],
            "middle gained 0.300 bits per byte (34 %) on competition; it ",
            "; it forgot chemistry (+0.200) and leaky (+0.200).",
        ),
        (
            [0.2, -0.3],
            "middle lost 0.300 bits per byte (34 %) on competition, its own niche; it ",
            "; it forgot chemistry (+0.200) and leaky (+0.200).",
        ),
        (
            [-0.2, 0.0],
            "middle shows no significant gain on competition (0.000 bits per byte, 39 held-out groups); it ",
            "; it kept all 2 ",
        ),
    ] {
        let sentence = sentence(figures);
        assert!(sentence.starts_with(niche), "{sentence}");
        assert!(sentence.contains(retained), "{sentence}");
    }
}

/// Checks that if one run gains most and another forgets least, each has its own sentence with its numbers. A run
/// that is significantly better in only one respect is named only for that.
#[test]
fn each_best_run_is_named_with_its_figures() {
    let headline = |figures: [[f64; 2]; 3]| {
        let paths = ["greedy", "middle", "thrifty"].iter().zip(figures);
        let runs: Vec<ModelScores> = paths.map(|(path, figures)| run_of(path, figures)).collect();
        let report = ForgettingReport::new(&base(), &runs, ReportSettings::default()).unwrap();
        report.headline()
    };
    let greedy =
        "greedy gained most on its niche: +0.500 bits per byte, at +0.300 of forgetting on average";
    let thrifty = "thrifty forgot least: +0.100 on average, for a gain of +0.250.";
    let both = "thrifty both gained most on its niche (+0.500 bits per byte) and forgot least (+0.100 on average";
    let [no_gain, no_loss] = ["gained significantly more", "forgot significantly less"]
        .map(|what| format!("No run {what} than all others."));
    for (figures, said) in [
        ([[0.3, 0.5], [0.2, 0.4], [0.1, 0.25]], [greedy, thrifty]),
        ([[0.3, 0.5], [0.1, 0.4], [0.1, 0.25]], [greedy, &no_loss]),
        ([[0.3, 0.5], [0.2, 0.5], [0.1, 0.25]], [&no_gain, thrifty]),
        ([[0.3, 0.25], [0.2, 0.4], [0.1, 0.5]], ["Of 3 runs, ", both]),
    ] {
        let headline = headline(figures);
        let [first, second] = said.map(|part| headline.matches(part).count());
        assert_eq!((first, second), (1, 1), "{headline}");
    }
}

/// Checks that the upper bound for the worst retained domain holds for all of them: it is above the largest change.
#[test]
fn worst_domain_has_a_simultaneous_bound() {
    let report = ForgettingReport::new(&base(), &[tuned()], ReportSettings::default()).unwrap();
    let worst = report.runs[0].summary.worst_forgetting.as_ref().unwrap();
    let retained: Vec<&DomainReport> = report.runs[0].retained().collect();
    assert_eq!(retained.len(), 2);
    let largest = retained
        .iter()
        .filter_map(|domain| domain.change)
        .fold(f64::MIN, f64::max);
    assert_eq!(worst.change, largest);
    assert!(worst.bound.unwrap() > largest);
}

/// Checks that a domain without a document in the report's split is scored as a whole, and that the report then does
/// not claim that these documents had no part in the choice of the checkpoint. Tests that can't be made do not count
/// in the correction.
#[test]
fn a_domain_without_the_split_is_named() {
    let (mut base, mut run) = (base(), tuned());
    for model in [&mut base, &mut run] {
        let leaky = model.domains.get_mut("leaky").unwrap();
        leaky.groups = vec![7; leaky.documents.len()];
        leaky.whole = true;
    }
    let settings = ReportSettings {
        split: Some(HeldoutSplit::Test),
        chosen_on: Some(HeldoutSplit::Dev),
        ..ReportSettings::default()
    };
    let report = ForgettingReport::new(&base, &[run], settings.clone()).unwrap();
    // Two domains of three, and the questions of one.
    assert_eq!(report.settings.comparisons, 3);
    let said = "But leaky has no document there: all its held-out documents were scored";
    for text in [markdown::render(&report), html::render(&report).unwrap()] {
        assert!(
            text.contains(said) && text.contains("over the 3 tests"),
            "{text}"
        );
    }
    let other = ReportSettings {
        chosen_unknown: vec!["runs/other".into()],
        ..settings.clone()
    };
    let of = |settings| {
        let report = ForgettingReport::new(&super::base(), &[tuned()], settings);
        markdown::render(&report.unwrap())
    };
    assert!(!of(settings).contains("has no document there"));
    assert!(of(other).contains("Of runs/other, nothing says on which documents"));
}

/// Checks that the report notes a run whose tokenizer differs from its base's.
#[test]
fn other_tokens_are_noted() {
    let mut run = tuned();
    run.own_tokens = true;
    let report = ForgettingReport::new(&base(), &[run], ReportSettings::default()).unwrap();
    for text in [markdown::render(&report), html::render(&report).unwrap()] {
        assert!(text.contains("in other tokens than its base"));
    }
    assert!(!markdown::render(&super::report()).contains("in other tokens than its base"));
}

/// Checks that with many tests, an interval that barely excludes the tolerance gives no verdict, for which the report
/// gives the reason, and that clear changes stay decided.
#[test]
fn verdicts_are_corrected_for_the_number_of_tests() {
    // Documents of equal size; every second one changes.
    let uneven = |factor: f64| {
        let mut scores = scores(1.0);
        for (at, document) in scores.documents.iter_mut().enumerate() {
            *document = DocumentScore {
                nats: if at % 2 == 0 { 100.0 * factor } else { 100.0 },
                tokens: 30,
                bytes: 100,
            };
        }
        scores
    };
    let model = |path: &str, factors: [f64; 2]| ModelScores {
        path: path.into(),
        domains: BTreeMap::from([
            ("slight".into(), uneven(factors[0])),
            ("clear".into(), uneven(factors[1])),
        ]),
        ..ModelScores::default()
    };
    let report = |count: usize| {
        let runs: Vec<ModelScores> = (0..count)
            .map(|run| model(&format!("run-{run}"), [1.0415, 1.5]))
            .collect();
        ForgettingReport::new(&model("base", [1.0, 1.0]), &runs, ReportSettings::default()).unwrap()
    };
    let verdict = |report: &ForgettingReport, name: &str| {
        let found = report.runs[0]
            .domains
            .iter()
            .find(|domain| domain.name == name);
        found.unwrap().clone()
    };
    let alone = verdict(&report(1), "slight");
    assert_eq!(alone.verdict, Verdict::Forgotten, "{alone:?}");
    let many = report(10);
    let slight = verdict(&many, "slight");
    assert_eq!(slight.interval, alone.interval);
    assert_eq!(slight.p_value, alone.p_value);
    assert_eq!(slight.verdict, Verdict::Undecided);
    let reason = slight.reason.unwrap();
    assert!(
        reason.contains("forgotten by its own test") && reason.contains("would decide"),
        "{reason}"
    );
    assert_eq!(verdict(&many, "clear").verdict, Verdict::Forgotten);
}
