//! A benchmark of memory management. Each row is the guest time of one operation, which under
//! QEMU's `-icount shift=0` is a number of guest instructions.
//!
//! | file | subject |
//! |---|---|
//! | `frames`, `heap` | loads of frame allocators and heaps |
//! | `aspace` | operations on address spaces, and TLB flushes |
//! | `forks` | forks of address spaces, and copy-on-write |
//! | `harts`, `joint_flushes` | flush requests to other harts |
//! | `objects`, `mapped_objects` | operations on memory objects |
//! | `ours`, `peers` | the allocators: Tessera's, and other projects' with the feature `peers` |
//! | `table` | measures and prints the rows |
//!
//! The last line of the output has all rows as JSON. `make bench` runs this application with the
//! boot argument `unit=instructions`, which names the unit of the rows; without it they are
//! nanoseconds. With `rows=harts` it prints only the rows of `harts` and `joint_flushes`, which
//! are counts and need several harts.
#![no_std]
#![no_main]

extern crate alloc;

mod aspace;
mod forks;
mod frames;
mod harts;
mod heap;
mod joint_flushes;
mod mapped_objects;
mod objects;
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

/// Adds the rows of all operations' costs.
fn costs(table: &mut table::Table) {
    frames::run(table);
    heap::run(table);
    aspace::run(table);
    forks::run(table);
    objects::run(table);
    mapped_objects::run(table);
    #[cfg(feature = "peers")]
    peers::run(table);
}
