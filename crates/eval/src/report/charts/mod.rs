//! The report's charts as SVG. Drawn here: no plotting library draws a forest plot whose colours follow the page's,
//! light and dark. Shapes carry a class each; colour and type are the page's style sheet's.

mod axis;
mod curves;
mod forest;
mod svg;
mod tradeoff;

pub use curves::curve;
pub use forest::{Width, forest};
pub use svg::key;
pub use tradeoff::tradeoff;
