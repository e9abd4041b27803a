//! A benchmark of interrupt latency: the longest time that an operation of the memory manager keeps
//! interrupts off. Each row is a guest time, which under QEMU's `-icount shift=0` is a number of
//! instructions.
//!
//! | file | subject |
//! |---|---|
//! | `meter` | the timer that interrupts an operation, and how late its interrupts are |
//! | `operations` | the operations that are interrupted |
//! | `table` | the rows on the console, and as JSON in the last line |
//!
//! `make bench` runs it on one hart, with the boot argument `unit=instructions`, which names the
//! unit of the rows. It is not part of `apps/mmbench`, since more code in that image would change
//! how the compiler builds the operations that are measured there.
#![no_std]
#![no_main]

extern crate alloc;

mod meter;
mod operations;
mod table;

use axstd::process;

#[unsafe(no_mangle)]
fn main() {
    let mut table = table::Table::new();
    match meter::install() {
        true => operations::run(&mut table),
        false => table.fail("irqs_out", "the timer's handler cannot be replaced"),
    }
    process::exit(table.finish());
}
