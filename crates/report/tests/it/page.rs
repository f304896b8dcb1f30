//! Tests of reports in a browser.

#[path = "../../examples/measured/mod.rs"]
mod measured;
#[path = "../../../ops/src/skipped.rs"]
mod skipped;
#[path = "../../examples/synthetic/mod.rs"]
pub mod synthetic;

use std::path::{Path, PathBuf};
use std::process::Command;

use polymath_report::write;

use crate::support::simulated::{Random, Truth};
use skipped::skipped;

/// Script that counts the visible shapes and labels of every chart and adds the counts to the page for `--dump-dom`.
const PROBE: &str = "<script>
document.querySelectorAll('details').forEach(fold => { fold.open = true; });
const found = [...document.querySelectorAll('svg[role=img]')].map(chart => {
  const shapes = [...chart.querySelectorAll('line, rect, polyline, polygon, circle')]
    .filter(shape => { const box = shape.getBoundingClientRect(); return box.width + box.height > 0; });
  const box = chart.getBoundingClientRect();
  const labels = [...chart.querySelectorAll('text')].filter(text => text.textContent.trim() !== '');
  const outside = labels.filter(text => {
    const own = text.getBoundingClientRect();
    return own.width > 0 && (own.left < box.left - 2 || own.right > box.right + 2);
  });
  return [chart.getAttribute('aria-labelledby').split('-title')[0], Math.round(box.width), shapes.length, labels.length,
    outside.length].join(' ');
});
const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
document.body.insertAdjacentHTML('beforeend', '<pre id=probe>' + found.join('\\n') + '\\nspills ' + wide + '</pre>');
</script>";

fn chromium() -> Option<PathBuf> {
    ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .flat_map(|name| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path)
                .map(|folder| folder.join(name))
                .collect::<Vec<_>>()
        })
        .find(|path| path.is_file())
}

/// Returns the rendered page and the messages on the console.
fn open(chromium: &Path, page: &Path, width: u32) -> (String, Vec<String>) {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new(chromium)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
        ])
        .args(["--no-first-run", "--disable-background-networking"])
        .args(["--disable-component-update", "--disable-sync"])
        .args(["--enable-logging=stderr", "--dump-dom"])
        .arg(format!("--window-size={width},1000"))
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let console = said.lines().filter(|line| line.contains(":CONSOLE"));
    let page = String::from_utf8_lossy(&output.stdout).into_owned();
    (page, console.map(str::to_owned).collect())
}

/// Chart as the browser rendered it.
#[derive(Debug)]
struct Chart {
    name: String,
    width: u32,
    shapes: u32,
    labels: u32,
    /// Number of labels that extend beyond the picture.
    outside: u32,
}

/// Returns the charts of a page. Asserts that the console is silent and that nothing is wider than the window.
fn charts(chromium: &Path, page: &Path, width: u32) -> Vec<Chart> {
    let text = std::fs::read_to_string(page).unwrap();
    let probed = page.with_extension("probed.html");
    std::fs::write(&probed, text.replace("</body>", &format!("{PROBE}</body>"))).unwrap();
    let (drawn, console) = open(chromium, &probed, width);
    assert!(console.is_empty(), "{console:?}");
    let found = drawn.split("<pre id=\"probe\">").nth(1);
    let found = found.and_then(|rest| rest.split("</pre>").next());
    let found = found.expect("the probe ran");
    let (charts, spills) = found.rsplit_once('\n').unwrap();
    assert_eq!(spills, "spills 0", "at {width}");
    let chart = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        let numbers: Vec<u32> = fields[1..]
            .iter()
            .map(|field| field.parse().unwrap())
            .collect();
        Chart {
            name: fields[0].to_owned(),
            width: numbers[0],
            shapes: numbers[1],
            labels: numbers[2],
            outside: numbers[3],
        }
    };
    charts.lines().map(chart).collect()
}

fn assert_drawn(chart: &Chart) {
    assert!(chart.width > 200, "no room: {chart:?}");
    assert!(chart.shapes >= 6 && chart.labels >= 5, "empty: {chart:?}");
    assert_eq!(chart.outside, 0, "labels outside: {chart:?}");
}

/// Checks that every chart of the report is drawn within its frame, that the page fits the window, and that the
/// console is silent, in wide and narrow windows.
#[test]
fn report_renders_in_a_browser() {
    let Some(chromium) = chromium() else {
        skipped("Chromium");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    write(&synthetic::report().unwrap(), folder.path()).unwrap();
    let page = folder.path().join("report.html");
    for (width, hidden) in [(1200, "-narrow"), (780, "-narrow"), (420, "-wide")] {
        let charts = charts(&chromium, &page, width);
        // Forest plots of the retained domains and of the gain, each twice with one visible; a curve per run; the
        // trade-off.
        assert_eq!(charts.len(), 9, "{charts:?}");
        for chart in &charts {
            if chart.name.ends_with(hidden) {
                assert_eq!((chart.width, chart.shapes), (0, 0));
            } else {
                assert_drawn(chart);
            }
        }
    }
    // Errors on the console are detected.
    let broken = folder.path().join("broken.html");
    std::fs::write(&broken, "<script>nothing.there()</script>").unwrap();
    let (_, console) = open(&chromium, &broken, 800);
    assert_eq!(console.len(), 1, "{console:?}");
}

/// Checks that the charts of a chain and the pages of a frontier, a transfer matrix and a reset are rendered too.
#[test]
fn every_page_renders_in_a_browser() {
    let Some(chromium) = chromium() else {
        skipped("Chromium");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let report = synthetic::chain().unwrap();
    assert_eq!(report.chain.as_ref().unwrap().stages.len(), 3);
    write(&report, folder.path()).unwrap();
    synthetic::frontier().unwrap().write(folder.path()).unwrap();
    synthetic::transfer().write(folder.path()).unwrap();
    synthetic::reset().unwrap().write(folder.path()).unwrap();
    let pages = [
        ("frontier.html", ["tradeoff", "domains"]),
        ("transfer.html", ["changes", "cosines"]),
        ("reset.html", ["tradeoff", "blocks"]),
    ];
    for width in [1200, 420] {
        let report = charts(&chromium, &folder.path().join("report.html"), width);
        assert_drawn(report.iter().find(|chart| chart.name == "chain").unwrap());
        for (page, expected) in pages {
            let found = charts(&chromium, &folder.path().join(page), width);
            let names: Vec<&str> = found.iter().map(|chart| chart.name.as_str()).collect();
            assert_eq!(names, expected, "{page}");
            found.iter().for_each(assert_drawn);
        }
    }
}

/// Checks that the first sentence of every page says what to do: it names the recommended run or method, which is
/// marked once in the first table.
#[test]
fn the_first_sentence_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let report = synthetic::report().unwrap();
    let answer = report.answer();
    assert_eq!(answer.recommended, ["competition-limits"]);
    write(&report, folder.path()).unwrap();
    let frontier = synthetic::frontier().unwrap();
    let recommended = frontier.recommended.clone().unwrap().name;
    frontier.write(folder.path()).unwrap();
    synthetic::transfer().write(folder.path()).unwrap();
    synthetic::reset().unwrap().write(folder.path()).unwrap();
    let pages = [
        ("report.html", "take competition-limits.".to_owned()),
        (
            "frontier.html",
            format!("Take {recommended}: of the methods"),
        ),
        ("transfer.html", "Retain ".to_owned()),
        ("reset.html", "Take the model with ".to_owned()),
    ];
    for (name, expected) in pages {
        let page = std::fs::read_to_string(folder.path().join(name)).unwrap();
        let lead = page.split("<p class=\"lead\">").nth(1).unwrap();
        let lead = lead.split("</p>").next().unwrap();
        assert!(lead.contains(&expected), "{name}: {lead}");
        let first_table = page.split("<table").nth(1).unwrap();
        let first_table = first_table.split("</table>").next().unwrap();
        let marks = first_table.matches("class=\"take\"").count();
        assert_eq!(marks, usize::from(name != "transfer.html"), "{name}");
    }
}

/// Checks that the pictures of the documentation are those that the example `pictures` draws now.
#[test]
fn the_documentation_has_the_present_pictures() {
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/images");
    let report = synthetic::report().unwrap();
    for (name, picture) in measured::pictures(&report, &measured::speeds()).unwrap() {
        let found = std::fs::read_to_string(images.join(name)).unwrap();
        assert!(
            found == picture,
            "`docs/images/{name}` is another picture: `cargo run -p polymath-report --example pictures -- docs/images`"
        );
    }
}

/// Checks that each of many methods has a number at its point, which the legend explains.
#[test]
fn many_methods_are_numbered() {
    let methods = (0..8).map(|number| f64::from(number) / 20.0);
    let truth = Truth {
        methods: methods.map(|gain| (0.1 + gain, gain / 10.0)).collect(),
        ..Truth::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let frontier = truth.frontier(&mut Random(3));
    frontier.write(folder.path()).unwrap();
    let page = std::fs::read_to_string(folder.path().join("frontier.html")).unwrap();
    let chart = page
        .split("aria-labelledby=\"tradeoff-title")
        .nth(1)
        .unwrap();
    let chart = chart.split("</svg>").next().unwrap();
    for (number, method) in (1..).zip(frontier.trained()) {
        assert!(
            chart.contains(&format!(">{number}</text>")),
            "{number}: {chart}"
        );
        assert!(
            page.contains(&format!("</svg>{number} {}</li>", method.name)),
            "{number}"
        );
    }
}
