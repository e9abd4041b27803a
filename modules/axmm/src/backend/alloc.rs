//! Fresh zeroed frames.

use axalloc::{Frames, UsageKind, alloc_frame_zeroed, alloc_frames_zeroed};
use axerrno::{AxError, AxResult};
use memory_addr::{MemoryAddr, PAGE_SIZE_4K, PhysAddr, VirtAddr};
use page_table_multiarch::MappingFlags;

use crate::areas::Span;
use crate::machine::Machine;
use crate::pagetable::Source;
use crate::table::Table;
use crate::tlb::TlbGather;

/// Maps every page of `span`, where none is mapped, to a frame of its own.
pub fn populate<M: Machine>(table: &mut Table<M>, span: Span, flags: MappingFlags) -> AxResult {
    let mut source = Fresh { most: usize::MAX };
    table.map(span, flags, &mut source, &mut TlbGather::<M>::new(true))
}

/// Maps the page at `vaddr`, where none is mapped, to a frame.
#[inline(always)]
pub fn bring<M: Machine>(table: &mut Table<M>, vaddr: VirtAddr, flags: MappingFlags) -> AxResult {
    let page = vaddr.align_down_4k();
    let frame = || alloc_frame_zeroed(UsageKind::VirtMem).map(Frames::into_raw);
    match table.map_page(page, flags, frame)? {
        true => Ok(()),
        false => first_of_table::<M>(table, page, flags),
    }
}

/// The same where the table for the page is missing too.
#[cold]
#[inline(never)]
fn first_of_table<M: Machine>(
    table: &mut Table<M>,
    page: VirtAddr,
    flags: MappingFlags,
) -> AxResult {
    let start = page.as_usize();
    populate::<M>(table, start..start + PAGE_SIZE_4K, flags)
}

/// Frames that go back one by one. They are taken in runs where there are some.
struct Fresh {
    /// Longer runs are not asked for: there was none.
    most: usize,
}

impl Source for Fresh {
    #[inline(always)]
    fn fits(&self, _vaddr: usize, size: usize) -> bool {
        size == PAGE_SIZE_4K
    }

    #[inline(always)]
    fn frames(&mut self, _vaddr: usize, _size: usize, count: usize) -> AxResult<(PhysAddr, usize)> {
        if count == 1 {
            let frame = alloc_frame_zeroed(UsageKind::VirtMem)?;
            return Ok((frame.into_raw(), 1));
        }
        let run = self.run(count)?;
        let (start, count) = (run.start(), run.count());
        give_away(run);
        Ok((start, count))
    }
}

impl Fresh {
    /// A run of at most `count` frames.
    fn run(&mut self, count: usize) -> AxResult<Frames> {
        self.most = self.most.min(count.next_power_of_two());
        loop {
            let count = count.min(self.most);
            match alloc_frames_zeroed(count, PAGE_SIZE_4K, UsageKind::VirtMem) {
                Err(AxError::NoMemory) if count > 1 => self.most = count / 2,
                result => return result,
            }
        }
    }
}

/// Gives each frame of a run into the page table's hands.
fn give_away(mut run: Frames) {
    loop {
        match run.split_at(1) {
            Ok((frame, rest)) => {
                frame.into_raw();
                run = rest;
            }
            Err(last) => {
                last.into_raw();
                return;
            }
        }
    }
}
