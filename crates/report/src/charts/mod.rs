//! SVG charts. They are drawn without a plotting library, since none follows the page's light and dark colors: here,
//! shapes carry a class, and the page's style sheet sets color and type.

mod axis;
mod curves;
mod forest;
mod heatmap;
mod svg;
mod tradeoff;

pub use curves::curve;
pub use forest::{Width, forest};
pub use heatmap::{Cell, Colors, Heatmap, heatmap};
pub use svg::key;
pub use tradeoff::{Trade, tradeoff};
