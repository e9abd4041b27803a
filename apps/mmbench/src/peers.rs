//! The rows of other projects' allocators. They manage memory that was allocated from Tessera's
//! frame allocator.

use alloc::format;

use axbench::peers::{self, Memory};
use axbench::{HeapBench, PAGE_SIZE, PageBench, Visit};

use crate::table::Table;
use crate::{frames, heap, ours};

/// The size of their memory in bytes. A machine of 128 MiB has a free run of this size.
const SIZE: usize = 32 << 20;

/// The alignment of the memory in bytes.
const ALIGN: usize = 2 << 20;

/// Adds the rows of all peers.
pub fn run(table: &mut Table) {
    let Ok(mut run) = ours::frames(SIZE / PAGE_SIZE, ALIGN) else {
        return table.fail("peers", "no free run of 32 MiB");
    };
    let bytes = run.as_bytes_mut();
    // SAFETY: this function owns `run`, does not access it otherwise, and drops it after the visit.
    let memory = unsafe { Memory::new(bytes.as_mut_ptr() as usize, bytes.len()) };
    peers::visit(memory, &mut Rows(table));
}

/// Adds the rows of each allocator that it visits.
struct Rows<'table>(&'table mut Table);

impl Visit for Rows<'_> {
    fn pages<A: PageBench>(&mut self, name: &str, alloc: &A) {
        frames::rows(self.0, &format!("@{name}"), alloc);
    }

    fn heap<A: HeapBench>(&mut self, name: &str, alloc: &A) {
        heap::rows(self.0, &format!("@{name}"), alloc);
    }
}
