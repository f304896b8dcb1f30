//! Held-out bits per byte of each domain.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Cell, Row, Table};

use super::part;
use crate::dashboard::state::State;

/// Of a figure's column.
const FIGURE: u16 = 8;
/// From this width of the screen on, there is room for more columns.
const WIDE: u16 = 110;

/// How wide the table is on a screen of this width.
pub fn width(screen: u16) -> u16 {
    if screen >= WIDE { 54 } else { 36 }
}

/// A line of the table.
enum Entry<'a> {
    Group(&'a str),
    Domain(&'a str),
}

/// Now, and the change since the first evaluation; a group's title stands in the heads' line, or in one of its own.
pub fn draw(frame: &mut Frame, area: Rect, state: &State) {
    let title = match &state.latest {
        Some(latest) => format!("held-out bits per byte, step {}", latest.step),
        None => "held-out bits per byte".to_owned(),
    };
    let block = part(&title);
    let wide = area.width >= width(WIDE);
    let groups = &state.about.groups;
    let mut entries: Vec<Entry> = groups
        .iter()
        .flat_map(|group| {
            let domains = group.domains.iter().map(|name| Entry::Domain(name));
            std::iter::once(Entry::Group(&group.title)).chain(domains)
        })
        .collect();
    let head = match entries.first() {
        Some(Entry::Group(title)) => *title,
        _ => "domain",
    };
    if !entries.is_empty() {
        entries.remove(0);
    }
    // Under the rule and the heads.
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

/// Takes out what has no room, titles first, and hands back the domains among it.
fn fit<'a>(entries: &mut Vec<Entry<'a>>, room: usize) -> Vec<&'a str> {
    if entries.len() > room {
        entries.retain(|entry| matches!(entry, Entry::Domain(_)));
    }
    if entries.len() <= room {
        return Vec::new();
    }
    let rest = entries.split_off(room.saturating_sub(1));
    let domains = rest.into_iter().filter_map(|entry| match entry {
        Entry::Domain(name) => Some(name),
        Entry::Group(_) => None,
    });
    domains.collect()
}

/// What is left out, with the change of the one that lost most.
fn rest(domains: &[&str], state: &State, wide: bool) -> Row<'static> {
    let changes = domains
        .iter()
        .filter_map(|name| state.bits_per_byte(name).map(|(first, now)| now - first));
    let mut cells = vec![Cell::from(format!("… {} more", domains.len()))];
    if let Some(worst) = changes.max_by(f64::total_cmp) {
        cells[0] = Cell::from(format!("… {} more, at worst", domains.len()));
        cells.extend((0..if wide { 2 } else { 1 }).map(|_| Cell::from("")));
        cells.push(figure(format!("{worst:+.3}"), colour(worst)));
    }
    Row::new(cells)
}

/// Losing is red, gaining green; the sign says it too.
fn colour(change: f64) -> Style {
    match change {
        change if change > 0.0 => Style::new().fg(Color::Red),
        change if change < 0.0 => Style::new().fg(Color::Green),
        _ => Style::new(),
    }
}

fn row<'a>(entry: &Entry<'a>, state: &State, wide: bool) -> Row<'a> {
    let name = match entry {
        Entry::Group(title) => {
            let quiet = Style::new().add_modifier(Modifier::DIM);
            return Row::new([Cell::from(*title).style(quiet)]);
        }
        Entry::Domain(name) => *name,
    };
    let mut cells = vec![Cell::from(format!(" {name}"))];
    let plain = Style::new();
    let Some((first, now)) = state.bits_per_byte(name) else {
        return Row::new(cells);
    };
    let change = now - first;
    let colour = colour(change);
    if wide {
        cells.push(figure(format!("{first:.3}"), plain));
    }
    cells.push(figure(format!("{now:.3}"), plain));
    cells.push(figure(format!("{change:+.3}"), colour));
    if wide {
        cells.push(figure(format!("{:+.1}", change / first * 100.0), colour));
    }
    Row::new(cells)
}

fn figure(text: String, style: Style) -> Cell<'static> {
    let line = Line::styled(text, style);
    Cell::from(Text::from(line).alignment(Alignment::Right))
}
