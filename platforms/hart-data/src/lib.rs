//! Per-hart data: what the kernel uses of the crate `percpu`, under that name and its own
//! names.
//!
//! The rest of that crate stays in here. It has functions that are safe to call by their
//! signature and set up the data of harts that run. It also needs std outside a bare
//! machine; there this crate does the same without.
#![no_std]
#![cfg(any(target_os = "none", all(target_arch = "x86_64", target_os = "linux")))]

#[cfg(target_os = "linux")]
mod linux;

#[cfg(target_os = "none")]
pub use ::percpu::{def_percpu, percpu_area_base, percpu_area_size, write_percpu_reg};
#[cfg(target_os = "linux")]
pub use linux::{percpu_area_base, percpu_area_size, write_percpu_reg};
#[cfg(target_os = "linux")]
pub use percpu_macros::def_percpu;
