//! Measures the rows of `apps/mmbench` on ArceOS as published, with its own boot, allocator,
//! `axmm` and trap handler.
//!
//! It prints what `make bench` reads: a line of JSON, and then the exit line.
#![no_std]
#![no_main]

extern crate alloc;

mod allocator;
mod clock;
mod kernel;
mod table;

use axbench_aspace::rows;
use axstd::println;

use kernel::Kernel;
use table::Table;

#[unsafe(no_mangle)]
fn main() {
    let mut table = Table::new();
    allocator::rows(&mut table);
    table.whole();
    rows(&mut table, &mut Kernel);
    println!("{}", table.json());
    println!("[exit 0]");
}
