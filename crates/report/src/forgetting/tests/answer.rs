//! Tests of the report's first sentence, which names the run to use or the reason why there is none.

use super::sureness::run_of;
use super::*;

/// Returns a report of runs with the given forgetting and gain, in bits per byte.
fn report_of(runs: &[(&str, [f64; 2])]) -> ForgettingReport {
    let runs: Vec<ModelScores> = runs
        .iter()
        .map(|(path, figures)| run_of(path, *figures))
        .collect();
    ForgettingReport::new(&base(), &runs, ReportSettings::default()).unwrap()
}

/// Checks that every form of the report recommends the run with the largest gain among those that keep all retained
/// domains.
#[test]
fn the_run_with_the_most_gain_among_those_that_keep_everything_is_recommended() {
    let report = report_of(&[
        ("greedy", [0.2, 0.4]),
        ("middle", [-0.01, 0.3]),
        ("thrifty", [-0.1, 0.1]),
    ]);
    let answer = report.answer();
    assert_eq!(answer.recommended, ["middle"]);
    assert_eq!(
        answer.sentence,
        "middle keeps both retained domains within 0.02 bits per byte and has 75 % of the largest gain on competition (+0.300 of \
        +0.400): take middle."
    );
    let markdown = markdown::render(&report);
    assert!(
        markdown.starts_with("# Forgetting report\n\n**middle keeps both"),
        "{markdown}"
    );
    assert!(
        markdown.contains("| **middle** (take this) | method full | +0.300 | "),
        "{markdown}"
    );
    assert_eq!(markdown.matches("take this").count(), 1);
    assert_eq!(report.table().matches("middle (take this)").count(), 1);
    assert!(
        report
            .table()
            .contains("\nmiddle keeps both retained domains")
    );
    let html = html::render(&report).unwrap();
    assert!(
        html.contains("<p class=\"lead\">middle keeps both"),
        "{html}"
    );
    assert_eq!(html.matches("niche-row recommended").count(), 1);
}

/// Checks that two runs that keep everything, and whose gains no test tells apart, are not ranked without a word.
#[test]
fn equal_gains_are_not_ranked() {
    let mut report = report_of(&[("first", [-0.01, 0.3]), ("second", [-0.01, 0.3])]);
    let gains = [0.31, 0.3];
    for (run, gain) in report.runs.iter_mut().zip(gains) {
        run.summary.niche_gain.as_mut().unwrap().value = gain;
    }
    let answer = report.answer();
    assert_eq!(answer.recommended, ["first"]);
    assert_eq!(
        answer.sentence,
        "first keeps both retained domains within 0.02 bits per byte and gains +0.310 bits per byte on competition: take first. No \
        test tells its gain apart from that of second, which also keeps all."
    );
    // A significant difference is a rank.
    let ranking = report.ranking.as_mut().unwrap();
    ranking.pairs[0].gain_p_value = 0.01;
    ranking.most_gain = Some("first".into());
    assert_eq!(
        report.answer().sentence,
        "first keeps both retained domains within 0.02 bits per byte and has the largest gain on competition (+0.310): take first."
    );
}

/// Checks that a single run is recommended, or not, by its own results.
#[test]
fn a_single_run_has_an_answer() {
    let sentence = |figures| report_of(&[("alone", figures)]).answer().sentence;
    assert_eq!(
        sentence([-0.01, 0.3]),
        "alone keeps both retained domains within 0.02 bits per byte and gains +0.300 bits per byte on competition: take alone."
    );
    assert_eq!(
        sentence([0.2, 0.3]),
        "alone is not shown to keep both retained domains within 0.02 bits per byte: it gains +0.300 bits per byte on competition, \
        forgot chemistry and leaky. Fine-tune with forgetting limits of 0.02 to keep them."
    );
    assert_eq!(
        sentence([-0.2, 0.0]),
        "alone shows no gain on competition: keep the base."
    );
}

/// Checks that a gain that can't be shown with so few documents is not called "no gain": the answer asks for more
/// documents.
#[test]
fn too_few_documents_are_no_reason_to_keep_the_base() {
    let few = |mut model: ModelScores| {
        for scores in model.domains.values_mut() {
            scores.documents.truncate(4);
        }
        model
    };
    let run = few(run_of("alone", [-0.01, 0.3]));
    let report = ForgettingReport::new(&few(base()), &[run], ReportSettings::default()).unwrap();
    let answer = report.answer();
    assert!(answer.recommended.is_empty());
    assert_eq!(
        answer.sentence,
        "Too little text of competition is held out to choose: alone gains +0.300 bits per byte, which 4 groups of documents cannot \
         prove. Hold out more."
    );
}

/// Checks that if no run keeps all domains, the report names the one that forgot the fewest domains, or least.
#[test]
fn the_nearest_run_is_named_if_none_keeps_everything() {
    let report = report_of(&[("greedy", [0.2, 0.4]), ("middle", [0.1, 0.3])]);
    let answer = report.answer();
    assert!(answer.recommended.is_empty());
    assert!(
        answer.sentence.starts_with(
            "No run is shown to keep both retained domains within 0.02 bits per byte; middle is nearest: it has 75 % of the largest"
        ),
        "{}",
        answer.sentence
    );
    assert!(!markdown::render(&report).contains("take this"));

    let unclear = report_of(&[("middle", [0.02, 0.3])]).answer().sentence;
    assert!(
        unclear.contains(
            "and chemistry and leaky are undecided. More held-out documents would decide."
        ),
        "{unclear}"
    );
}

/// Checks that withheld domains do not count for or against a run, and that without a judged domain there is no
/// recommendation.
#[test]
fn withheld_domains_are_left_out() {
    let mut run = run_of("alone", [-0.01, 0.3]);
    run.domains.retain(|name, _| name != "chemistry");
    let mut base = base();
    base.domains.retain(|name, _| name != "chemistry");
    base.questions.clear();
    run.questions.clear();
    run.overlaps = vec![Overlap {
        train: "competition".into(),
        heldout: "leaky".into(),
        exact_share: 0.9,
        ngram_share: 0.9,
        ngrams: 500,
    }];
    let mut leaked = run.clone();
    leaked.overlaps[0].heldout = "competition".into();
    let report = ForgettingReport::new(&base, &[leaked], ReportSettings::default()).unwrap();
    let sentence = report.answer().sentence;
    assert!(
        sentence.starts_with("The figures on competition are withheld"),
        "{sentence}"
    );
    let report = ForgettingReport::new(&base, &[run], ReportSettings::default()).unwrap();
    let answer = report.answer();
    assert!(answer.recommended.is_empty());
    assert!(
        answer.sentence.starts_with(
            "alone gains +0.300 bits per byte on competition. No retained domain was judged, so this report cannot say what was \
             forgotten"
        ),
        "{}",
        answer.sentence
    );
}

/// Checks that runs with different niches get an answer for each niche.
#[test]
fn each_niche_has_an_answer() {
    let mut other = run_of("other", [-0.01, 0.3]);
    other.niche = Some("chemistry".into());
    let runs = [run_of("middle", [-0.01, 0.3]), other];
    let report = ForgettingReport::new(&base(), &runs, ReportSettings::default()).unwrap();
    let sentence = report.answer().sentence;
    assert!(
        sentence.contains("On chemistry: ") && sentence.contains("On competition: middle keeps"),
        "{sentence}"
    );
}

/// Checks that runs of which no niche is known still have an answer.
#[test]
fn runs_without_a_niche_have_an_answer() {
    let unnamed = |path, forgotten| ModelScores {
        niche: None,
        ..run_of(path, [forgotten, 0.0])
    };
    let of = |runs: &[ModelScores]| {
        let report = ForgettingReport::new(&base(), runs, ReportSettings::default()).unwrap();
        report.answer()
    };
    let answer = of(&[unnamed("a", 0.2), unnamed("b", 0.0)]);
    assert!(answer.recommended.is_empty());
    assert!(
        answer.sentence.starts_with("b keeps all it was judged on")
            && answer.sentence.contains("name the niche"),
        "{}",
        answer.sentence
    );
    let forgot = of(&[unnamed("a", 0.2)]).sentence;
    assert!(forgot.starts_with("a is not shown to keep all"), "{forgot}");
}

/// Checks that a run that had limits and forgot is not told to use limits.
#[test]
fn a_run_with_limits_is_told_to_lower_them() {
    let mut run = run_of("alone", [0.2, 0.3]);
    let limits = ("retention.limits.default".to_owned(), "0.5".to_owned());
    run.provenance.settings = [limits].into();
    let report = ForgettingReport::new(&base(), &[run], ReportSettings::default()).unwrap();
    let sentence = report.answer().sentence;
    assert!(
        sentence.ends_with("than this report: lower them."),
        "{sentence}"
    );
}
