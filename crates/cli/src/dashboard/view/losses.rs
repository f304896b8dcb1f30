//! Chart of the loss curve.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, Paragraph};

use super::part;
use crate::dashboard::curve::LossPoint;
use crate::dashboard::state::DashboardState;

/// Share of the first points of the curve that do not count for the chart's height, since early losses are high.
const HEAD: f64 = 0.1;
/// Quantile of the remaining points that sets the chart's height: the highest losses may be clipped.
const BELOW: f64 = 0.98;
/// Number of points below which all points count for the chart's height.
const FEW: usize = 20;

/// Draws the losses of the steps as dots and their mean as a line, clipped to the chart.
pub fn draw(frame: &mut Frame, area: Rect, state: &DashboardState) {
    let block = part("loss: steps ⠢ and their mean ━");
    let points = state.losses.points();
    let Some(steps) = state.losses.steps() else {
        frame.render_widget(Paragraph::new("no step yet").block(block), area);
        return;
    };
    let y = bounds(points);
    let at = |point: &LossPoint, loss: f64| (point.step as f64, loss.clamp(y[0], y[1]));
    let each: Vec<(f64, f64)> = points
        .iter()
        .flat_map(|point| [at(point, point.lowest), at(point, point.highest)])
        .collect();
    let mean: Vec<(f64, f64)> = points.iter().map(|point| at(point, point.smooth)).collect();
    // A single step would have no width.
    let x = [steps[0] as f64, steps[1].max(steps[0] + 1) as f64];
    let middle = f64::midpoint(y[0], y[1]);
    let quiet = Style::new().fg(Color::DarkGray);
    let chart = Chart::new(vec![
        Dataset::default()
            .data(&each)
            .marker(Marker::Braille)
            .style(quiet),
        Dataset::default()
            .data(&mean)
            .marker(Marker::Custom('━'))
            .graph_type(GraphType::Line)
            .style(Style::new().fg(Color::Cyan)),
    ])
    .block(block)
    .legend_position(None)
    .x_axis(
        Axis::default()
            .bounds(x)
            .labels(steps.map(|step| Line::raw(step.to_string())))
            .style(quiet),
    )
    .y_axis(
        Axis::default()
            .bounds(y)
            .labels([y[0], middle, y[1]].map(|loss| Line::raw(format!("{loss:.2}"))))
            .style(quiet),
    );
    frame.render_widget(chart, area);
}

/// Returns the lowest and the highest loss to show, with a margin.
fn bounds(points: &[LossPoint]) -> [f64; 2] {
    let many = points.len() >= FEW;
    let head = if many {
        (points.len() as f64 * HEAD) as usize
    } else {
        0
    };
    let shown = &points[head..];
    let low = shown
        .iter()
        .map(|point| point.lowest)
        .fold(f64::INFINITY, f64::min);
    let mut highest: Vec<f64> = shown.iter().map(|point| point.highest).collect();
    highest.sort_by(f64::total_cmp);
    let last = highest.len() - 1;
    let high = highest[if many {
        (last as f64 * BELOW) as usize
    } else {
        last
    }];
    let margin = ((high - low) * 0.05).max(0.01);
    [low - margin, high + margin]
}
