//! A memory test. Each row of its table is one test, most of them run on all harts at once:
//!
//! | rows | file | question |
//! |---|---|---|
//! | `map:` | `kernel_map` | Has each part of the kernel exactly the rights it should have? |
//! | `mappings:` | `mappings` | Do kernel mappings work, and free all their frames? |
//! | `spaces:` | `spaces` | Are user address spaces apart, with the kernel in each? |
//! | `spaces:` | `forks` | Does each side of a fork see its own writes only? |
//! | `code:` | `code` | Does every hart execute the code that was written last? |
//! | `races:`, `shootdown:` | `races` | Do harts that use one address space disturb each other? |
//! | `heap:` | `heap` | Does the heap keep what is written to it? |
//! | `frames:` | `frames` | Does every free frame keep every bit? |
//!
//! The last line is `PASS n/n` or `FAIL n/m`. The exit status is 0 when all tests have passed.
//! The boot argument `seed=N` repeats a run.
#![no_std]
#![no_main]

extern crate alloc;

mod code;
mod forks;
mod frames;
mod heap;
mod kernel_map;
mod mapped_memory;
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
    forks::run(&mut report);
    code::run(&mut report);
    races::run(&mut report);
    heap::run(&mut report, seed);
    frames::run(&mut report, seed);
    process::exit(report.finish());
}
