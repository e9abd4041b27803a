//! A memory test. It asks of every hart, alone and together with the others:
//!
//! - does the heap keep what is put into it (`heap`);
//! - does every free frame keep every bit (`frames`);
//! - has each part of the kernel exactly the rights it should have
//!   (`kernel_map`);
//! - do mappings in the kernel's address space do what they say, and give
//!   everything back (`mappings`);
//! - are address spaces of user programs apart, and the kernel's mappings in each
//!   (`spaces`);
//! - does every hart execute the code that was written last (`code`);
//! - do harts leave each other's pages and frames alone (`races`).
//!
//! It ends in a table, then `PASS n/n` or `FAIL n/m`, and its exit status says
//! the same. The boot argument `seed=N` repeats a run.
#![no_std]
#![no_main]

extern crate alloc;

mod code;
mod frames;
mod heap;
mod kernel_map;
mod mapped;
mod mappings;
mod races;
mod report;
mod spaces;

use axstd::{env, harts, memory, println, process, time};

#[unsafe(no_mangle)]
fn main() {
    let seed = match env::var("seed").map(str::parse) {
        Some(Ok(seed)) => seed,
        Some(Err(_)) => {
            println!(
                "seed={} is not a number from 0 to {}",
                env::var("seed").unwrap_or(""),
                u64::MAX
            );
            process::exit(2);
        }
        None => time::Instant::now().since_power_on().as_nanos() as u64,
    };
    let usage = memory::usage();
    println!(
        "memtest: {} harts, {} MiB free in {} frames, seed={seed}",
        harts::online(),
        usage.free >> 8,
        usage.free
    );
    let mut report = report::Report::new();
    kernel_map::run(&mut report);
    mappings::run(&mut report, seed);
    spaces::run(&mut report);
    code::run(&mut report);
    races::run(&mut report);
    heap::run(&mut report, seed);
    frames::run(&mut report, seed);
    process::exit(report.finish());
}
