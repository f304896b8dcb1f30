//! Stand-in for the dashboard in a build without it.
//! [`Environment::check_dashboard`](crate::environment::Environment) refuses `--dashboard` before it is used.
#![allow(dead_code, reason = "nothing shows what is described")]

use std::path::PathBuf;

use polymath_train::Observer;

/// Facts about a run that are known before it begins.
pub struct About {
    pub title: String,
    pub run: PathBuf,
    pub groups: Vec<Group>,
}

/// Domains with the same role.
pub struct Group;

impl Group {
    pub fn new<T>(_title: &str, _domains: impl IntoIterator<Item = T>) -> Self {
        Self
    }
}

/// Dashboard that can't be opened.
pub enum Dashboard {}

impl Dashboard {
    /// Fails, since this build has no dashboard.
    ///
    /// # Errors
    /// Always fails.
    pub fn open(_about: About, _flops_per_token: f64, _peak: f64) -> std::io::Result<Self> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

impl Observer for Dashboard {}

/// Does nothing, since no dashboard is ever open.
pub fn leave() {}
