//! HTML form of an audit, `audit.html`: the page of its forgetting report with the findings, or the findings alone.

use minijinja::{Value, context};

use super::{Audit, AuditVerdict, BehaviorReport, Finding, Severity, wording};
use crate::forgetting::render_audited;
use crate::wording::probability;
use crate::{ReportError, page};

/// Renders an audit as an HTML page.
pub fn render(audit: &Audit) -> Result<String, ReportError> {
    let shown = shown(audit);
    match &audit.report {
        Some(report) => render_audited(report, shown),
        None => page::render(
            include_str!("page.html"),
            context! { audit => shown, base => &audit.base, tuned => &audit.tuned },
        ),
    }
}

fn shown(audit: &Audit) -> Value {
    let class = match audit.verdict {
        AuditVerdict::Kept => "kept",
        AuditVerdict::Broken | AuditVerdict::Invalid => "forgotten",
        AuditVerdict::Undecided => "undecided",
    };
    let begin = audit.settings.text.sha256.get(..12).unwrap_or_default();
    context! {
        sentence => audit.sentence(),
        class,
        findings => audit.findings.iter().map(of_finding).collect::<Vec<_>>(),
        settings => wording::settings(&audit.settings, &format!("{begin}…")),
        behavior => audit.behavior.iter().map(of_behavior).collect::<Vec<_>>(),
        behavior_left_out => &audit.behavior_left_out,
        again => wording::again(audit),
    }
}

fn of_behavior(report: &BehaviorReport) -> Value {
    let lost = report.lost.iter().map(|lost| {
        context! { prompt => &lost.prompt, base => &lost.base, tuned => &lost.tuned }
    });
    context! {
        model => &report.model,
        title => report.behavior.title(),
        count => report.count,
        base => report.base,
        tuned => report.tuned,
        p => probability(report.adjusted_p_value),
        is_lost => report.is_lost,
        lost => lost.collect::<Vec<_>>(),
    }
}

fn of_finding(finding: &Finding) -> Value {
    context! {
        word => finding.severity.word(),
        class => match finding.severity {
            Severity::Error => "forgotten",
            Severity::Warning => "undecided",
        },
        title => finding.kind.title(),
        model => &finding.model,
        what => &finding.what,
        fix => &finding.fix,
    }
}
