//! Charts as SVG. Drawn here: no plotting library draws them in colours that follow the page's, light and dark. Shapes
//! carry a class each; colour and type are the page's style sheet's.

pub mod axis;
mod heatmap;
pub mod svg;
mod tradeoff;

pub use heatmap::{Cell, Colours, Heatmap, heatmap};
pub use svg::key;
pub use tradeoff::{Trade, tradeoff};
