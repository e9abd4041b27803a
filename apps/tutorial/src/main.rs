//! Holds the user programs of `user/src/bin`, and prints their size.
#![no_std]
#![no_main]

use axstd::println;

/// The programs for this machine, as a cpio archive.
static ARCHIVE: &[u8] = include_bytes!(env!("AX_ARCHIVE"));

#[unsafe(no_mangle)]
fn main() {
    println!("an archive of {} bytes", ARCHIVE.len());
}
