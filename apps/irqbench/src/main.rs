//! How long operations of the memory manager keep interrupts out, at most. Each row is a
//! time of the guest, which under QEMU's `-icount shift=0` is a number of instructions.
//!
//! | file | has |
//! |---|---|
//! | `meter` | the timer that interrupts an operation, and how late its interrupts are |
//! | `operations` | what is interrupted |
//! | `table` | the rows on the console, the last line the same as JSON |
//!
//! `make bench` runs it on one hart, and says by the boot argument `unit=instructions` what
//! a nanosecond of the guest is. It is an application of its own, apart from `apps/mmbench`:
//! more code in that image changes how the compiler builds what is measured there.
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
