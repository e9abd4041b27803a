//! A test of threads:
//!
//! | rows | file | tests |
//! |---|---|---|
//! | `threads:` | `threads` | values, names, pinning, scoped borrows, no leak |
//! | `sched:` | `scheduling` | order, sleep, preemption, kept registers and address spaces |
//! | `work:` | `work` | work that any thread hands out to all harts |
//! | `sync:` | `sync` | locks and waiting: no lost wake-up, no wrong count |
//! | `stacks:` | `stacks` | sizes, guard zones, closures of any size, reclaim of cached stacks |
//! | `memory:` | `low_memory` | `spawn` with no memory left |
//! | `stacks:` | `tlb_pairs` | a new stack beside a page in use |
//!
//! The last line is `PASS n/n` or `FAIL n/m`. The exit status is 0 when all tests have passed.
#![no_std]
#![no_main]

extern crate alloc;

mod low_memory;
mod report;
mod scheduling;
mod stacks;
mod sync;
mod threads;
mod tlb_pairs;
mod work;

use axstd::{harts, println, process};

#[unsafe(no_mangle)]
fn main() {
    println!("tasktest: {} harts", harts::online());
    let mut report = report::Report::default();
    threads::run(&mut report);
    scheduling::run(&mut report);
    work::run(&mut report);
    sync::run(&mut report);
    stacks::run(&mut report);
    low_memory::run(&mut report);
    tlb_pairs::run(&mut report);
    // The last test, since it leaves a thread that never wakes.
    report.test("sched: endless sleep", scheduling::endless_sleep);
    process::exit(report.finish());
}
