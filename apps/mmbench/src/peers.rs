//! The same rows of other people's allocators, over memory that was ours.

use alloc::format;

use axbench::peers::{self, Memory};
use axbench::{HeapBench, PAGE_SIZE, PageBench, Visit};

use crate::table::Table;
use crate::{frames, heap, ours};

/// How much memory they get: of 128 MiB this is free in one piece.
const SIZE: usize = 32 << 20;

/// What the memory is aligned to.
const ALIGN: usize = 2 << 20;

/// The rows of all peers.
pub fn run(table: &mut Table) {
    let Ok(mut run) = ours::frames(SIZE / PAGE_SIZE, ALIGN) else {
        return table.fail("peers", "32 MiB cannot be had in one piece");
    };
    let bytes = run.as_bytes_mut();
    // SAFETY: `run` is ours alone, and outlives the visit.
    let memory = unsafe { Memory::new(bytes.as_mut_ptr() as usize, bytes.len()) };
    peers::visit(memory, &mut Rows(table));
}

/// Adds the rows of whomever it is shown.
struct Rows<'table>(&'table mut Table);

impl Visit for Rows<'_> {
    fn pages<A: PageBench>(&mut self, name: &str, alloc: &A) {
        frames::rows(self.0, &format!("@{name}"), alloc);
    }

    fn heap<A: HeapBench>(&mut self, name: &str, alloc: &A) {
        heap::rows(self.0, &format!("@{name}"), alloc);
    }
}
