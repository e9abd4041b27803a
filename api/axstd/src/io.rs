//! Errors, under the names that `std` has for them.

pub use axfeat::axalloc::{AxError as Error, AxResult as Result};
