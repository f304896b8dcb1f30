//! Drawing of a state as a frame.
//!
//! Color never carries information alone: numbers have signs, parts have titles, and the loss and its mean use
//! different marks.

mod domains;
mod losses;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::time::Duration;

use polymath_report::untrusted::printable;
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, Borders, LineGauge, Paragraph};

use super::state::{Activity, DashboardState};
use polymath_report::duration;

/// White space between two numbers on a line.
const GAP: &str = "   ";
/// Minimum visible length of the run's path, in characters. If less fits, the time is left out.
const SHORTEST_RUN: usize = 16;
/// Minimum width for loss and domains side by side.
const SIDE_BY_SIDE: u16 = 64;
/// Minimum height for loss above domains.
const ONE_ABOVE_THE_OTHER: u16 = 14;

/// Data of one frame of the dashboard: the run's state, log lines and time.
pub struct Moment<'a> {
    pub state: &'a DashboardState,
    /// Last lines of the log.
    pub log: &'a [String],
    /// Time since the dashboard was opened.
    pub elapsed: Duration,
    /// True if the run was asked to stop.
    pub stopping: bool,
}

/// Draws a frame of any size. Less important parts are left out first.
pub fn draw(frame: &mut Frame, moment: &Moment) {
    let area = frame.area();
    if area.is_empty() {
        return;
    }
    let extras = extras(moment.state);
    let rows = [
        1,
        u16::from(area.height > 1),
        u16::from(area.height > 2),
        u16::from(area.height > 9 && extras.is_some()),
        log_rows(area.height),
        u16::from(area.height > 4),
    ];
    let [heading, progress, figures, extra, middle, log, keys] = Layout::vertical([
        Constraint::Length(rows[0]),
        Constraint::Length(rows[1]),
        Constraint::Length(rows[2]),
        Constraint::Length(rows[3]),
        Constraint::Fill(1),
        Constraint::Length(rows[4]),
        Constraint::Length(rows[5]),
    ])
    .areas(area);
    draw_heading(frame, heading, moment);
    draw_progress(frame, progress, moment.state);
    let width = usize::from(figures.width);
    frame.render_widget(fitting(figures_of(moment.state), width), figures);
    if let Some(extras) = extras {
        frame.render_widget(fitting(extras, width), extra);
    }
    draw_middle(frame, middle, moment.state);
    draw_log(frame, log, moment.log);
    draw_keys(frame, keys, moment);
    neutralize(frame.buffer_mut());
}

/// Replaces characters that control a terminal, since names and lines may come from elsewhere.
fn neutralize(buffer: &mut Buffer) {
    let is_shown =
        |sign: &char| matches!(printable(sign.encode_utf8(&mut [0; 4])), Cow::Borrowed(_));
    for cell in &mut buffer.content {
        if matches!(printable(cell.symbol()), Cow::Owned(_)) {
            let shown: String = cell.symbol().chars().filter(is_shown).collect();
            cell.set_symbol(if shown.is_empty() { " " } else { &shown });
        }
    }
}

/// Returns the number of rows for the log, including its title.
fn log_rows(height: u16) -> u16 {
    match height {
        0..16 => 0,
        16..30 => 3,
        30..45 => 6,
        _ => 10,
    }
}

/// Draws the title and folder of the run, and its elapsed and remaining time.
fn draw_heading(frame: &mut Frame, area: Rect, moment: &Moment) {
    let state = moment.state;
    let mut time = format!("{} elapsed", duration(moment.elapsed.as_secs_f64()));
    if let Some(last) = &state.last {
        time += &format!(", {} left", duration(last.seconds_left));
    }
    let title = format!("polymath  {}  ", state.about.title);
    let run = state.about.run.display().to_string();
    let mut room = usize::from(area.width).saturating_sub(title.chars().count());
    // Leaves out the time if the window is too narrow for both.
    let beside = time.chars().count() + 2;
    if room >= beside + run.chars().count().min(SHORTEST_RUN) {
        room -= beside;
        frame.render_widget(Line::raw(time).right_aligned(), area);
    }
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let heading = Line::styled(format!("{title}{}", end_of(&run, room)), bold);
    // The heading is only as wide as its text, so that it does not cover the time.
    let width = (heading.width() as u16).min(area.width);
    frame.render_widget(heading, Rect { width, ..area });
}

/// Shortens a path at its beginning to fit into `room` characters, since its end identifies the run.
fn end_of(text: &str, room: usize) -> String {
    let length = text.chars().count();
    if length <= room {
        return text.to_owned();
    }
    let kept = text.chars().skip(length + 1 - room.max(1));
    format!("…{}", kept.collect::<String>())
}

fn draw_progress(frame: &mut Frame, area: Rect, state: &DashboardState) {
    let done = match state.activity {
        Activity::Preparing(done, all) => done as f64 / all.max(1) as f64,
        _ => state.step as f64 / state.total.max(1) as f64,
    };
    let label = match state.activity {
        Activity::Starting => "starting".to_owned(),
        Activity::Preparing(made, all) => format!("generating text: {made} of {all} tokens"),
        Activity::Training => format!(
            "step {} of {}, {:.0} %",
            state.step,
            state.total,
            done * 100.0
        ),
        Activity::Scoring(scored, all) => format!(
            "step {} of {}, scoring held-out text: {:.0} %",
            state.step,
            state.total,
            scored as f64 * 100.0 / all.max(1) as f64
        ),
    };
    let gauge = LineGauge::default()
        .ratio(done.clamp(0.0, 1.0))
        .label(label)
        .filled_symbol("━")
        .unfilled_symbol("╌")
        .filled_style(Style::new().fg(Color::Cyan))
        .unfilled_style(Style::new().fg(Color::DarkGray));
    frame.render_widget(gauge, area);
}

/// Formats the numbers of the last training step, the most important first.
fn figures_of(state: &DashboardState) -> Vec<String> {
    let mut figures = Vec::new();
    let Some(last) = &state.last else {
        return figures;
    };
    figures.push(match state.losses.smooth() {
        Some(smooth) => format!("loss {:.3}, mean {smooth:.3}", last.loss),
        None => format!("loss {:.3}", last.loss),
    });
    figures.extend(
        state
            .tokens_per_second()
            .map(|pace| format!("{pace:.0} tokens/s")),
    );
    figures.extend(
        state
            .share_of_peak()
            .map(|share| format!("{:.0} % of peak", share * 100.0)),
    );
    figures.push(format!("learning rate {:.2e}", last.learning_rate));
    figures.push(format!("gradient norm {:.2}", last.gradient_norm));
    figures.push(format!("{} tokens", last.tokens));
    figures
}

/// Returns the loss terms of the penalties and the values of the forgetting controller; `None` if the run has neither.
fn extras(state: &DashboardState) -> Option<Vec<String>> {
    let penalties = state.last.iter().flat_map(|last| &last.penalties);
    let control = state.latest.iter().flat_map(|latest| &latest.control);
    let figures: Vec<String> = penalties
        .map(|(name, value)| format!("{name} +{value:.4}"))
        .chain(control.map(|(name, value)| format!("{} {value:.3}", name.replace('_', " "))))
        .collect();
    (!figures.is_empty()).then_some(figures)
}

/// Returns the first numbers of a line, as many as fit into its width.
fn fitting(figures: Vec<String>, width: usize) -> Line<'static> {
    let mut line = String::new();
    for figure in figures {
        let gap = if line.is_empty() { "" } else { GAP };
        if line.chars().count() + gap.len() + figure.chars().count() > width {
            break;
        }
        line += gap;
        line += &figure;
    }
    Line::raw(line)
}

/// Draws the loss and the domains side by side, or one above the other, or the domains alone, as the size allows.
fn draw_middle(frame: &mut Frame, area: Rect, state: &DashboardState) {
    if area.height < 2 || area.width < 12 {
        return;
    }
    if area.width >= SIDE_BY_SIDE {
        let [left, _, right] = Layout::horizontal([
            Constraint::Fill(1),
            Constraint::Length(1),
            Constraint::Length(domains::width(area.width)),
        ])
        .areas(area);
        losses::draw(frame, left, state);
        domains::draw(frame, right, state);
    } else if area.height >= ONE_ABOVE_THE_OTHER {
        let [above, below] =
            Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(area);
        losses::draw(frame, above, state);
        domains::draw(frame, below, state);
    } else {
        domains::draw(frame, area, state);
    }
}

/// Returns a block of the layout with a titled rule at its top.
fn part(title: &str) -> Block<'_> {
    Block::new()
        .borders(Borders::TOP)
        .border_style(Style::new().fg(Color::DarkGray))
        .title(Line::styled(
            format!(" {title} "),
            Style::new().add_modifier(Modifier::BOLD),
        ))
}

/// Draws the last lines that fit, wrapping long ones.
fn draw_log(frame: &mut Frame, area: Rect, log: &[String]) {
    if area.is_empty() {
        return;
    }
    let block = part("messages");
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let mut rows = Vec::new();
    for line in log {
        let letters: Vec<char> = line.chars().collect();
        let broken = letters.chunks(usize::from(inner.width).max(1));
        rows.extend(broken.map(|row| row.iter().collect::<String>()));
    }
    let first = rows.len().saturating_sub(usize::from(inner.height));
    let last: Vec<Line> = rows.into_iter().skip(first).map(Line::raw).collect();
    frame.render_widget(Paragraph::new(Text::from(last)), inner);
}

/// Draws the available keys and the saved checkpoint.
fn draw_keys(frame: &mut Frame, area: Rect, moment: &Moment) {
    let keys = if moment.stopping {
        "stopping after this step, then saving; q once more leaves at once"
    } else {
        "q stops and saves"
    };
    let quiet = Style::new().add_modifier(Modifier::DIM);
    frame.render_widget(Line::styled(keys, quiet), area);
    let state = moment.state;
    let best = state.best.map(|step| match &state.best_by {
        None => format!("best so far: step {step}"),
        Some(by) => format!("best so far by {by}: step {step}"),
    });
    let saved = state.saved.as_ref().map(|name| format!("saved: {name}"));
    let kept: Vec<String> = best.into_iter().chain(saved).collect();
    let room = usize::from(area.width).saturating_sub(keys.chars().count() + GAP.len());
    let line = fitting(kept, room).style(quiet).right_aligned();
    frame.render_widget(line, area);
}
