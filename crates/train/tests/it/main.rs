//! Integration tests of the crate in one program, since each program is linked anew.

mod boundaries;
mod damage;
mod penalties;
mod recovery;
mod resuming;
mod runs;
mod schedules_and_groups;
mod support;
mod updates;
