//! What the memory manager costs: each row is one operation in guest time, which
//! under QEMU's `-icount shift=0` is guest instructions.
//!
//! One file a subject; `ours` is the one that knows how frames are asked for,
//! `table` times and prints. With the feature `peers` the loads are also put on
//! other people's allocators. The table's last line is the same as JSON.
//!
//! `make bench` runs it, and says by the boot argument `unit=instructions` what a
//! nanosecond of the guest is. Without one the rows are nanoseconds. With the boot argument
//! `rows=harts` there are only those of `harts`, which are no times: whom a change of an
//! address space disturbs on a machine of several harts.
#![no_std]
#![no_main]

extern crate alloc;

mod aspace;
mod frames;
mod harts;
mod heap;
mod ours;
#[cfg(feature = "peers")]
mod peers;
mod table;

use axstd::{env, process};

#[unsafe(no_mangle)]
fn main() {
    let mut table = table::Table::new();
    match env::var("rows") {
        Some("harts") => harts::run(&mut table),
        _ => costs(&mut table),
    }
    process::exit(table.finish());
}

/// What operations take.
fn costs(table: &mut table::Table) {
    frames::run(table);
    heap::run(table);
    aspace::run(table);
    #[cfg(feature = "peers")]
    peers::run(table);
}
