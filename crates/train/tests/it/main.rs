//! Integration tests of the crate in one program, since linking each separately would take long.

mod boundaries;
mod damage;
mod extending;
mod penalties;
mod recovery;
mod resuming;
mod runs;
mod schedules_and_groups;
mod support;
mod updates;
