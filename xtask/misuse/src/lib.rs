//! What an application without unsafe code must not be able to do.
//!
//! `make test` compiles [`misuse`], and compares the compiler's errors with the comments
//! there.
#![no_std]
#![forbid(unsafe_code)]
#![cfg(target_os = "linux")]

#[cfg(feature = "misuse")]
mod misuse;
