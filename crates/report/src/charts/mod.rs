//! SVG charts. They are drawn without a plotting library, since none follows the page's light and dark colors: here,
//! shapes carry a class, and the page's style sheet sets color and type.

mod axis;
mod bars;
mod curves;
mod forest;
mod heatmap;
mod picture;
mod svg;
mod tradeoff;

pub use bars::{Bar, BarPanel, bars};
pub use curves::curve;
pub use forest::{Part, Width, forest};
pub use heatmap::{Cell, Colors, Heatmap, heatmap};
pub use picture::{Legend, standalone};
pub use svg::key;
pub use tradeoff::{TradeoffPoint, tradeoff};
