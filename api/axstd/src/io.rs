//! Errors, under the names of `std::io`.

pub use axfeat::axalloc::{AxError as Error, AxResult as Result};
