//! Per-hart data: the part of the crate `percpu` that the kernel uses, with the same names.
//! Other crates of the workspace have it as `percpu`.
//!
//! The rest of `percpu` is hidden. It has functions that are safe by their signature but
//! initialize the data of harts that already run. In a process of Linux `percpu` needs std,
//! so this crate has its own implementation there.
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
