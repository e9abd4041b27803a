//! Code without `unsafe` that must not compile, because it would break the kernel.
//!
//! `make test` compiles the module `misuse`, and compares the compiler's errors with the
//! comments there.
#![no_std]
#![forbid(unsafe_code)]
#![cfg(target_os = "linux")]

#[cfg(feature = "misuse")]
mod misuse;
