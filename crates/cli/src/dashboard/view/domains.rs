//! Table of the domains' held-out bits per byte.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Cell, Row, Table};

use super::part;
use crate::dashboard::state::DashboardState;

/// Width of a column of numbers, in characters.
const FIGURE: u16 = 8;
/// Screen width in columns from which the table shows more columns.
const WIDE: u16 = 110;

/// Returns the width of the table for a screen of the given width.
pub fn width(screen: u16) -> u16 {
    if screen >= WIDE { 54 } else { 36 }
}

/// Row of the table: the title of a group, or a domain.
enum TableRow<'a> {
    Group(&'a str),
    Domain(&'a str),
}

/// Draws the current values, and their changes since the first evaluation. The title of a single group is in the
/// header row; with several, each has its own row.
pub fn draw(frame: &mut Frame, area: Rect, state: &DashboardState) {
    let title = match &state.latest {
        Some(latest) => format!("held-out bits per byte, step {}", latest.step),
        None => "held-out bits per byte".to_owned(),
    };
    let block = part(&title);
    let wide = area.width >= width(WIDE);
    let groups = &state.about.groups;
    let mut entries: Vec<TableRow> = groups
        .iter()
        .flat_map(|group| {
            let domains = group.domains.iter().map(|name| TableRow::Domain(name));
            std::iter::once(TableRow::Group(&group.title)).chain(domains)
        })
        .collect();
    let head = match entries.first() {
        Some(TableRow::Group(title)) => *title,
        _ => "domain",
    };
    if !entries.is_empty() {
        entries.remove(0);
    }
    // Rows of the area that remain below the rule and the header.
    let room = usize::from(area.height.saturating_sub(2));
    let left_out = fit(&mut entries, room);
    let mut rows: Vec<Row> = entries
        .iter()
        .map(|entry| row(entry, state, wide))
        .collect();
    if !left_out.is_empty() {
        rows.push(rest(&left_out, state, wide));
    }
    let mut heads = vec!["now", "change"];
    if wide {
        heads = vec!["first", "now", "change", "in %"];
    }
    let mut widths = vec![Constraint::Fill(1)];
    widths.extend(heads.iter().map(|_| Constraint::Length(FIGURE)));
    let heads = heads
        .into_iter()
        .map(|head| figure(head.to_owned(), Style::new()));
    let table = Table::new(rows, widths)
        .header(
            Row::new(std::iter::once(Cell::from(head)).chain(heads))
                .style(Style::new().add_modifier(Modifier::DIM)),
        )
        .block(block);
    frame.render_widget(table, area);
}

/// Removes the rows that do not fit, titles first. Returns the domains that were removed.
fn fit<'a>(entries: &mut Vec<TableRow<'a>>, room: usize) -> Vec<&'a str> {
    if entries.len() > room {
        entries.retain(|entry| matches!(entry, TableRow::Domain(_)));
    }
    if entries.len() <= room {
        return Vec::new();
    }
    let rest = entries.split_off(room.saturating_sub(1));
    let domains = rest.into_iter().filter_map(|entry| match entry {
        TableRow::Domain(name) => Some(name),
        TableRow::Group(_) => None,
    });
    domains.collect()
}

/// Returns the row that stands for the omitted domains, with the largest increase among them.
fn rest(domains: &[&str], state: &DashboardState, wide: bool) -> Row<'static> {
    let changes = domains
        .iter()
        .filter_map(|name| state.bits_per_byte(name).map(|(first, now)| now - first));
    let mut cells = vec![Cell::from(format!("… {} more", domains.len()))];
    if let Some(worst) = changes.max_by(f64::total_cmp) {
        cells[0] = Cell::from(format!("… {} more, at worst", domains.len()));
        cells.extend((0..if wide { 2 } else { 1 }).map(|_| Cell::from("")));
        cells.push(figure(format!("{worst:+.3}"), color(worst)));
    }
    Row::new(cells)
}

/// Returns red for an increase and green for a decrease. The sign of the number shows it too.
fn color(change: f64) -> Style {
    match change {
        change if change > 0.0 => Style::new().fg(Color::Red),
        change if change < 0.0 => Style::new().fg(Color::Green),
        _ => Style::new(),
    }
}

fn row<'a>(entry: &TableRow<'a>, state: &DashboardState, wide: bool) -> Row<'a> {
    let name = match entry {
        TableRow::Group(title) => {
            let quiet = Style::new().add_modifier(Modifier::DIM);
            return Row::new([Cell::from(*title).style(quiet)]);
        }
        TableRow::Domain(name) => *name,
    };
    let mut cells = vec![Cell::from(format!(" {name}"))];
    let plain = Style::new();
    let Some((first, now)) = state.bits_per_byte(name) else {
        return Row::new(cells);
    };
    let change = now - first;
    let color = color(change);
    if wide {
        cells.push(figure(format!("{first:.3}"), plain));
    }
    cells.push(figure(format!("{now:.3}"), plain));
    cells.push(figure(format!("{change:+.3}"), color));
    if wide {
        cells.push(figure(format!("{:+.1}", change / first * 100.0), color));
    }
    Row::new(cells)
}

fn figure(text: String, style: Style) -> Cell<'static> {
    let line = Line::styled(text, style);
    Cell::from(Text::from(line).alignment(Alignment::Right))
}
