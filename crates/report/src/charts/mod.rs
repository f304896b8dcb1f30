//! Charts as SVG. Drawn here: no plotting library draws them in colours that follow the page's, light and dark. Shapes
//! carry a class each; colour and type are the page's style sheet's.

mod axis;
mod curves;
mod forest;
mod heatmap;
mod svg;
mod tradeoff;

pub use curves::curve;
pub use forest::{Width, forest};
pub use heatmap::{Cell, Colours, Heatmap, heatmap};
pub use svg::key;
pub use tradeoff::{Trade, tradeoff};
