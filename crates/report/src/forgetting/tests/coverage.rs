//! Tests of the coverage of intervals and the error rates of verdicts in simulated domains: a few rows in every test
//! run, and the whole table with `scripts/check/coverage.sh`.

mod simulated;

use simulated::{Changes, Row, SPREAD, Trials, family_wise};

fn quick() -> Trials {
    Trials {
        number: 600,
        room: 0.0,
    }
}

fn row(sizes: f64, changes: Changes, groups: usize, clustered: bool) -> Row {
    Row {
        sizes,
        changes,
        groups,
        clustered,
    }
}

/// Checks that intervals cover the truth in 93–98 % of the trials: for changes without skew and any document sizes,
/// and for works of several documents if these are grouped, but not if they count as independent.
#[test]
fn intervals_cover_the_truth() {
    for sizes in [0.0, 1.0, 1.5] {
        for changes in [Changes::Normal, Changes::Heavy] {
            let outcome = quick().of(&row(sizes, changes, 30, false));
            let covered = outcome.covered;
            assert!(
                (0.94..=0.99).contains(&covered),
                "{sizes} {changes:?}: {covered}"
            );
        }
    }
    let outcome = quick().of(&row(1.0, Changes::Normal, 30, true));
    assert!((0.93..=0.985).contains(&outcome.covered), "{outcome:?}");
    assert!(outcome.covered_by_documents < 0.88, "{outcome:?}");
}

/// Checks that with a limit equal to the truth, the verdicts "kept" and "forgotten" each occur in at most 3.5 % of
/// the trials (5 % with simulation error), also for skewed changes and if larger documents lose more per byte.
#[test]
fn wrong_verdicts_are_rare() {
    let rows = [
        row(0.0, Changes::LogNormal, 16, false),
        row(1.0, Changes::LogNormal, 64, false),
        row(1.0, Changes::GrowingLogNormal(0.25), 32, true),
        row(1.5, Changes::Growing(0.25), 64, true),
        row(1.5, Changes::GrowingLogNormal(0.25), 128, false),
        row(1.5, Changes::Growing(0.5), 64, false),
        row(1.0, Changes::Normal, 6, true),
    ];
    for row in rows {
        let outcome = quick().of(&row);
        assert!(
            outcome.kept <= 0.05 && outcome.broken <= 0.05,
            "{row:?}: {outcome:?}"
        );
    }
}

/// Checks that 70 % of domains (less simulation error) are called kept if the true change is 0, the tolerance is half
/// the standard deviation, and there are 32 groups.
#[test]
fn small_changes_are_kept() {
    let trials = Trials {
        number: 1500,
        room: SPREAD / 2.0,
    };
    let outcome = trials.of(&row(0.0, Changes::Normal, 32, false));
    assert!(outcome.power > 0.675, "{outcome:?}");
}

/// Checks that at most 6 % of reports (8 % with simulation error) with six tests on skewed changes in groups of
/// documents have a wrong verdict.
#[test]
fn reports_are_rarely_wrong() {
    let wrong = family_wise(&row(1.0, Changes::LogNormal, 24, true), (3, 2), 150);
    assert!(wrong <= 0.08, "{wrong}");
}

/// Checks that a loss is rarely shown where there is none, also with few groups of which a few change far less than
/// the rest. The nominal rate is 2.5 %; widening by 15 / (effective groups) alone gave 7 to 10 %.
#[test]
fn losses_of_few_groups_are_rarely_false() {
    let trials = Trials {
        number: 1000,
        room: 0.0,
    };
    for (groups, clustered) in [(10, false), (16, true)] {
        let outcome = trials.of(&row(2.0, Changes::Growing(0.5), groups, clustered));
        assert!(outcome.broken_mirrored <= 0.04, "{groups}: {outcome:?}");
    }
}

/// Prints the whole table of `scripts/check/coverage.sh`.
#[test]
#[ignore = "takes minutes: scripts/check/coverage.sh runs it"]
fn coverage_table() {
    let number = std::env::var("TRIALS").map_or(1000, |number| number.parse().expect("a number"));
    let percent = |share: f64| format!("{:.1}", 100.0 * share);
    println!(
        "| σ of lengths | changes | documents per group | groups | covered, % | by documents, % | false kept, % | false forgotten, % | mirrored, % |"
    );
    println!("|--:|---|---|--:|--:|--:|--:|--:|--:|");
    let kinds = [
        Changes::Normal,
        Changes::Heavy,
        Changes::LogNormal,
        Changes::Growing(0.25),
        Changes::GrowingLogNormal(0.25),
        Changes::Growing(0.5),
    ];
    let trials = Trials { number, room: 0.0 };
    let mut worst = [0.0f64; 2];
    for changes in kinds {
        for sizes in [1.0, 1.5, 2.0] {
            for clustered in [false, true] {
                for groups in [5, 10, 16, 32, 64, 128, 400] {
                    let row = row(sizes, changes, groups, clustered);
                    let outcome = trials.of(&row);
                    let found = [outcome.kept, outcome.broken.max(outcome.broken_mirrored)];
                    worst = [worst[0].max(found[0]), worst[1].max(found[1])];
                    let by_documents = match row.is_counted_by_documents() {
                        true => percent(outcome.covered_by_documents),
                        false => "–".into(),
                    };
                    println!(
                        "| {sizes} | {changes:?} | {} | {groups} | {} | {by_documents} | {} | {} | {} |",
                        if clustered { "1 to 10" } else { "1" },
                        percent(outcome.covered),
                        percent(outcome.kept),
                        percent(outcome.broken),
                        percent(outcome.broken_mirrored),
                    );
                }
            }
        }
    }
    let [kept, forgotten] = worst.map(percent);
    println!("\nmost false kept of any row: {kept} %; most false forgotten: {forgotten} %");
    let trials = Trials {
        number,
        room: SPREAD / 2.0,
    };
    println!(
        "\n| groups | kept at a true change of 0, a tolerance of half the standard deviation, % |\n|--:|--:|"
    );
    for groups in [16, 24, 32, 64] {
        let outcome = trials.of(&row(0.0, Changes::Normal, groups, false));
        println!("| {groups} | {} |", percent(outcome.power));
    }
    println!("\n| domains × runs | changes | reports with any wrong verdict, % |\n|---|---|--:|");
    for family in [(1, 1), (3, 1), (8, 1), (3, 4), (8, 8)] {
        for changes in [Changes::Normal, Changes::LogNormal] {
            let row = row(1.0, changes, 24, true);
            let wrong = family_wise(&row, family, number / 5);
            println!(
                "| {} × {} | {changes:?} | {} |",
                family.0,
                family.1,
                percent(wrong)
            );
        }
    }
}
