//! Tests of the forms of a report: JSON, HTML and Markdown.

use super::*;

/// Checks that `report.json` has its keys and is read as it was written.
#[test]
fn json_keeps_its_schema() {
    let report = report();
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["schema"], 6);
    assert_eq!(json["base"], "checkpoints/base/best");
    let run = &json["runs"][0];
    assert_eq!(run["path"], "checkpoints/tuned/best");
    let niche = &run["domains"][0];
    assert_eq!(
        (&niche["role"], &niche["verdict"]),
        (&"niche".into(), &"gained".into())
    );
    assert_eq!(run["domains"][1]["role"], "retained");
    for key in [
        "base_bits_per_byte",
        "tuned_bits_per_byte",
        "change",
        "relative_change",
    ] {
        assert!(niche[key].is_f64(), "{key}");
        assert!(run["domains"][2][key].is_null(), "{key}");
    }
    assert!(niche["interval"][0].as_f64() < niche["interval"][1].as_f64());
    assert_eq!(run["questions"][0]["count"], 20);
    assert_eq!(run["curve"][1]["step"], 50);
    assert!(run["summary"]["mean_forgetting"]["value"].is_f64());
    assert!(json["settings"]["tolerance"].is_f64() && json["definitions"].is_object());
    let back: ForgettingReport = serde_json::from_value(json).unwrap();
    assert_eq!(back, report);
}

/// Checks that a stored report of schema version 4, with its other words, can be read, and that other versions are
/// refused.
#[test]
fn earlier_reports_are_read() {
    let text = include_str!("fixtures/report-4.json");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    std::fs::write(&path, text).unwrap();
    let report = ForgettingReport::read(&path).unwrap();
    let settings = &report.settings;
    assert_eq!(
        (settings.chosen_on, settings.split),
        (Some(HeldoutSplit::Dev), Some(HeldoutSplit::Test))
    );
    let retained: Vec<&DomainReport> = report.runs[0].retained().collect();
    assert_eq!(retained.len(), 1);
    assert_eq!(retained[0].name, "chemistry");
    assert!(report.headline().contains("forgot chemistry (+0.210)"));
    assert!(html::render(&report).unwrap().contains("chemistry"));

    std::fs::write(&path, text.replace("\"schema\": 4", "\"schema\": 3")).unwrap();
    let error = ForgettingReport::read(&path).unwrap_err().to_string();
    assert!(
        error.contains("its `schema` is 3, expected 4 to 6"),
        "{error}"
    );
}

/// Checks that each form of the report contains the results, that no other file remains in the folder, and that the
/// page loads nothing from elsewhere.
#[test]
fn every_form_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let report = report();
    write(&report, folder.path()).unwrap();
    let mut names: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["report.html", "report.json", "report.md"]);
    let read = |name: &str| polymath_base::read_to_string(folder.path().join(name)).unwrap();
    let change = crate::wording::signed(report.runs[0].domains[1].change.unwrap());
    for text in [read("report.md"), read("report.html"), report.table()] {
        assert!(
            text.contains(&change) && text.contains("withheld"),
            "{text}"
        );
    }
    let html = read("report.html");
    assert_eq!(html.matches("role=\"img\"").count(), 6);
    for outside in ["http:", "https:", "src=", "@import", "url("] {
        assert!(!html.contains(outside), "{outside}");
    }
}

/// Checks that names with special characters of HTML and Markdown are shown as text.
#[test]
fn names_are_escaped() {
    let rename = |mut model: ModelScores| {
        let scores = model.domains.remove("leaky").unwrap();
        model.domains.insert("<b>|x".into(), scores);
        model
    };
    let report = ForgettingReport::new(
        &rename(base()),
        &[rename(tuned())],
        ReportSettings::default(),
    );
    let report = report.unwrap();
    assert!(!html::render(&report).unwrap().contains("<b>"));
    assert!(markdown::render(&report).contains("| \\<b\\>\\|x |"));
    // The report must have the same lines for any domain name and path.
    let name = "x\n\n# h\n![i](https://t.example/p.png)\n```\n| a | b |";
    let named = |report: &ForgettingReport| {
        let mut report = report.clone();
        report.base = name.into();
        report.runs[0].path = name.into();
        report.runs[0].name = name.into();
        report.runs[0].method = name.into();
        for domain in &mut report.runs[0].domains {
            domain.name = name.into();
            domain.reason = domain.reason.take().map(|_| name.to_owned());
        }
        report
    };
    let (plain, hostile) = (markdown::render(&report), markdown::render(&named(&report)));
    assert_eq!(hostile.lines().count(), plain.lines().count(), "{hostile}");
    for (plain, hostile) in plain.lines().zip(hostile.lines()) {
        let cells = |line: &str| line.replace("\\|", "").matches('|').count();
        let quoted = hostile.contains('`');
        assert!(quoted || cells(hostile) == cells(plain), "{hostile}");
    }
    assert!(
        !hostile.replace("`x␊␊# h␊![i]", "").contains("![i]"),
        "{hostile}"
    );
}

/// Checks that the ledger shows each training text and held-out domain with both shares, and marks what was not
/// measured.
#[test]
fn leak_ledger_is_shown() {
    let mut report = report();
    for text in [markdown::render(&report), html::render(&report).unwrap()] {
        assert!(text.contains("40.0 %") && text.contains("7.0 %"), "{text}");
        assert!(!text.contains("not measured"));
    }
    report.runs[0].overlaps.pop();
    for text in [markdown::render(&report), html::render(&report).unwrap()] {
        assert!(text.contains("not measured"));
    }
}

/// Checks that evidence is shown with its numbers and as plain text, and that a withheld domain has none.
#[test]
fn evidence_is_shown() {
    let report = report();
    let run = &report.runs[0];
    assert!(run.evidence.contains_key("chemistry") && !run.evidence.contains_key("leaky"));
    let page = html::render(&report).unwrap();
    assert!(page.contains("title=\"+6.5 bits\""));
    assert!(!page.contains("<i>water") && !page.contains("<b>H2O"));
    assert!(page.contains("now: &lt;i&gt;ice") && !page.contains("<i>ice"));
    assert!(page.contains("&lt;i&gt;water&lt;&#x2f;i&gt;"), "{page}");
    let text = markdown::render(&report);
    assert!(!text.contains("<i>") && !text.contains("<b>"));
    for text in [page, text] {
        assert!(text.contains("+0.750") && text.contains("[+0.500, +1.000]"));
        assert!(text.contains("12 questions"), "{text}");
    }
}
