//! In-place optimizer updates (AdamW and Muon), the gradient of a quadratic penalty, and the sum of squares for the
//! gradient norm.

mod adamw;
mod muon;
mod pull;
mod square_sum;

pub(crate) use self::adamw::{UpdateFactors, adamw};
pub(crate) use self::muon::{MuonFactors, muon};
pub(crate) use self::pull::pull;
pub(crate) use self::square_sum::square_sum;
