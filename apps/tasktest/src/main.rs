//! A test of threads:
//!
//! - their lives: values, names, harts, borrowing, and that nothing is left (`lives`);
//! - their turns: order, sleep, a hart taken from one that spins, floating point, and user
//!   address spaces (`turns`);
//! - work on all harts, from any (`work`);
//! - waiting for each other: no wake-up is lost, no count is wrong (`sync`);
//! - their stacks, and work of any size (`stacks`);
//! - little memory (`memory`);
//! - a stack that has just been mapped (`fresh`).
//!
//! It ends in `PASS n/n` or `FAIL n/m`, and its exit status says the same.
#![no_std]
#![no_main]

extern crate alloc;

mod fresh;
mod lives;
mod memory;
mod report;
mod stacks;
mod sync;
mod turns;
mod work;

use axstd::{harts, println, process};

#[unsafe(no_mangle)]
fn main() {
    println!("tasktest: {} harts", harts::online());
    let mut report = report::Report::default();
    lives::run(&mut report);
    turns::run(&mut report);
    work::run(&mut report);
    sync::run(&mut report);
    stacks::run(&mut report);
    memory::run(&mut report);
    fresh::run(&mut report);
    // Last: it leaves a thread that sleeps for ever.
    report.test("turns: a sleep without end", turns::endless_sleep);
    process::exit(report.finish());
}
