//! What an address space holds, for people and for programs.

pub mod listing;
mod rights;

#[cfg(feature = "hal")]
pub(crate) use rights::Rights;
