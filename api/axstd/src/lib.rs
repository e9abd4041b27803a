//! The interface for applications. It uses the names of `std` where `std` has the same thing.
//! It is the same on every machine.
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//!
//! use axstd::println;
//!
//! #[unsafe(no_mangle)]
//! fn main() {
//!     println!("Hello, world!");
//! }
//! ```
#![no_std]
#![cfg(any(target_os = "none", target_os = "linux"))]

#[cfg(feature = "alloc")]
extern crate alloc;

pub mod env;
pub mod harts;
#[cfg(feature = "alloc")]
pub mod io;
#[cfg(feature = "alloc")]
pub mod memory;
pub mod os;
pub mod process;
pub mod sync;
pub mod time;

#[cfg(feature = "irq")]
pub mod thread;

#[cfg(feature = "alloc")]
pub use alloc::{borrow, boxed, collections, format, rc, string, vec};
pub use core::{
    any, array, cell, char, clone, cmp, convert, default, f32, f64, fmt, hash, hint, iter, marker,
    mem, num, ops, option, ptr, result, slice, str,
};

pub use axfeat::axlog::{ax_print as print, ax_println as println};
