//! What an address space holds, for people and for programs.

pub mod listing;
