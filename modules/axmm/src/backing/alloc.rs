//! The allocated backend: each page gets a fresh frame, full of zeroes.

use core::ops::Range;
use core::ptr;

use axalloc::{Frames, UsageKind, alloc_frames};
use axconfig::PHYS_VIRT_OFFSET;
use axerrno::{AxError, AxResult};
use memory_addr::{MemoryAddr, PAGE_SIZE_4K, PhysAddr, VirtAddr};
use memory_set::MemoryArea;
use page_table_multiarch::MappingFlags;

use super::Backend;
use super::grain::Grain;
use super::preallocated::PreallocatedFrames;
use super::zeroed::{FRAMES_PER_POLL, into_page_table, zero};
use crate::addr::{LARGE_PAGE_SIZE, PAGES_PER_LARGE_PAGE, as_span, block_around};
use crate::machine::Machine;
use crate::page_table::FrameSource;
use crate::page_table::frames::PageTableOf;
use crate::tlb::gather::TlbGather;

/// Maps every page of `span`, where no page is mapped, to a frame of its own.
///
/// # Errors
///
/// Fails with `NoMemory`. Pages that were mapped until then have been unmapped again, and are
/// in `undo`.
pub fn populate<M: Machine>(
    table: &PageTableOf<M>,
    span: Range<usize>,
    flags: MappingFlags,
    grain: Grain,
    undo: &mut TlbGather<M>,
) -> AxResult {
    let fill = |_, frames: &mut Frames| zero::<M>(frames);
    let mut source = FreshFrames::new(grain.allows_large_pages(flags), fill);
    table.map(span, flags, &mut source, undo)
}

/// Maps `span`, where no page is mapped, to copies of the frames from `original` on: with large
/// pages if `large`, where blocks of frames are free.
///
/// # Errors
///
/// Those of [`populate`].
pub fn copy<M: Machine>(
    table: &PageTableOf<M>,
    span: Range<usize>,
    flags: MappingFlags,
    large: bool,
    original: PhysAddr,
    undo: &mut TlbGather<M>,
) -> AxResult {
    let start = span.start;
    let fill = |vaddr, frames: &mut Frames| copy_frames::<M>(original + (vaddr - start), frames);
    let mut source = FreshFrames::new(large, fill);
    table.map(span, flags, &mut source, undo)
}

/// Fills `frames` with the bytes from `original` on, which are frames of mappings.
pub fn copy_frames<M: Machine>(original: PhysAddr, frames: &mut Frames) {
    let original = ptr::with_exposed_provenance::<u8>(original.as_usize() + PHYS_VIRT_OFFSET);
    let pieces = frames
        .as_bytes_mut()
        .chunks_mut(FRAMES_PER_POLL * PAGE_SIZE_4K);
    let mut done = 0;
    for piece in pieces {
        // SAFETY: all frames are in the linear mapping, so neither access faults. No Rust code has
        // a reference to the bytes of a mapped frame.
        unsafe { M::copy(original.add(done), piece.as_mut_ptr(), piece.len()) };
        done += piece.len();
        M::poll();
    }
}

/// Faults in the page at `vaddr` of an area, and as much around it as `grain` says, with
/// preallocated frames. Returns `None` when the page has been mapped. If other frames are needed,
/// changes nothing and returns the grain to allocate them for.
///
/// # Errors
///
/// Fails with `AlreadyExists` if the page is mapped, and with `NoMemory` if there is no frame
/// for the page or a table.
pub fn fault_in<M: Machine>(
    table: &PageTableOf<M>,
    area: &MemoryArea<Backend>,
    grain: Grain,
    vaddr: VirtAddr,
    frames: &mut PreallocatedFrames,
) -> AxResult<Option<Grain>> {
    match grain {
        Grain::Page => fault_in_page::<M>(table, vaddr, area.flags(), frames),
        _ => fault_in_block::<M>(table, area, grain, vaddr, frames),
    }
}

/// Faults in the page at `vaddr`, if a single frame is preallocated, the table for the page
/// exists, and the page is not mapped. Returns whether it has mapped the page.
#[inline(always)]
pub fn fault_in_at_once<M: Machine>(
    table: &PageTableOf<M>,
    vaddr: VirtAddr,
    flags: MappingFlags,
    frames: &mut PreallocatedFrames,
) -> bool {
    let Some(frame) = frames.peek_single() else {
        return false;
    };
    let is_mapped = matches!(
        table.map_page(vaddr.align_down_4k(), flags, frame),
        Ok(true)
    );
    if is_mapped {
        frames.take();
    }
    is_mapped
}

/// Faults in one page.
fn fault_in_page<M: Machine>(
    table: &PageTableOf<M>,
    vaddr: VirtAddr,
    flags: MappingFlags,
    frames: &mut PreallocatedFrames,
) -> AxResult<Option<Grain>> {
    let page = vaddr.align_down_4k();
    let Some(frame) = frames.peek() else {
        return request_frame::<M>(table, page, frames);
    };
    table.map_with_tables(page, 0, flags, frame)?;
    frames.take();
    Ok(None)
}

/// Ends a fault for which no frame is preallocated. Returns the grain to allocate a frame for.
///
/// # Errors
///
/// Fails with `AlreadyExists` if `page` is mapped, and with `NoMemory` if the caller has tried to
/// allocate a frame before.
#[cold]
fn request_frame<M: Machine>(
    table: &PageTableOf<M>,
    page: VirtAddr,
    frames: &PreallocatedFrames,
) -> AxResult<Option<Grain>> {
    match table.query(page) {
        Some(_) => Err(AxError::AlreadyExists),
        None if frames.grain().is_none() => Ok(Some(Grain::Page)),
        None => Err(AxError::NoMemory),
    }
}

/// Faults in a large page, or a page and the pages around it.
#[inline(never)]
fn fault_in_block<M: Machine>(
    table: &PageTableOf<M>,
    area: &MemoryArea<Backend>,
    grain: Grain,
    vaddr: VirtAddr,
    frames: &mut PreallocatedFrames,
) -> AxResult<Option<Grain>> {
    let (flags, in_area) = (area.flags(), as_span(area.va_range()));
    let large = grain.allows_large_pages(flags);
    let count = match grain {
        Grain::Around(pages) => usize::from(pages),
        Grain::Large if large => PAGES_PER_LARGE_PAGE,
        Grain::Large | Grain::Page => 1,
    };
    // The aligned pages of the grain, and those of them that lie in the area.
    let block = block_around(vaddr.as_usize(), count * PAGE_SIZE_4K);
    let around = block.start.max(in_area.start)..block.end.min(in_area.end);
    let fits_large_page = || around == block && table.is_unpopulated(&block);
    if count == 1 || (large && !fits_large_page()) {
        return fault_in_page::<M>(table, vaddr, flags, frames);
    }
    if frames.grain() != Some(grain) {
        // Frames are only requested for a page that is not mapped.
        return match table.query(vaddr) {
            Some(_) => Err(AxError::AlreadyExists),
            None => Ok(Some(grain)),
        };
    }
    if large && let Some(frame) = frames.peek_block() {
        match table.map_with_tables(VirtAddr::from_usize(block.start), 1, flags, frame) {
            // No frame is free for a table above the large page. `fault_in_around` maps a small
            // page instead, and frees the rest of the block if the tables need memory.
            Err(AxError::NoMemory) => {}
            result => {
                return result.map(|()| {
                    frames.take_block();
                    None
                });
            }
        }
    }
    fault_in_around::<M>(table, vaddr, around, flags, frames, large)
}

/// Faults in the page at `vaddr`. Then maps the other pages of `around`, unless the area has the
/// grain [`Grain::Large`], as `large` says.
fn fault_in_around<M: Machine>(
    table: &PageTableOf<M>,
    vaddr: VirtAddr,
    around: Range<usize>,
    flags: MappingFlags,
    frames: &mut PreallocatedFrames,
    large: bool,
) -> AxResult<Option<Grain>> {
    let mut result = fault_in_page::<M>(table, vaddr, flags, frames);
    // No frame is free for a table. The preallocated frames are freed for tables.
    if result == Err(AxError::NoMemory) && frames.free_run() {
        result = fault_in_page::<M>(table, vaddr, flags, frames);
    }
    if result.is_ok() && !large {
        map_around::<M>(table, around, flags, frames);
    }
    result
}

/// Maps those of `pages` that are not mapped, as long as there are frames. The page that was
/// accessed is mapped already, so it is no error if the frames do not suffice.
fn map_around<M: Machine>(
    table: &PageTableOf<M>,
    pages: Range<usize>,
    flags: MappingFlags,
    frames: &mut PreallocatedFrames,
) {
    for page in pages.step_by(PAGE_SIZE_4K) {
        let Some(frame) = frames.peek() else { return };
        // One table of the lowest level translates all of `pages`, and it exists because it
        // holds the page that was accessed.
        if table.map_page(VirtAddr::from_usize(page), flags, frame) == Ok(true) {
            frames.take();
        }
    }
}

/// Fresh frames for a mapping, allocated in runs as long as possible. The page table then owns
/// and frees each frame separately.
struct FreshFrames<F> {
    /// The longest run that is worth trying. Longer runs were not free.
    longest_run: usize,
    /// Whether the mapping uses large pages where it can.
    large: bool,
    /// The frames of the next large page.
    block: Option<Frames>,
    /// Fills frames for the pages from an address on.
    fill: F,
}

impl<F: FnMut(usize, &mut Frames)> FrameSource for FreshFrames<F> {
    #[inline(always)]
    fn prepare(&mut self, _vaddr: usize, size: usize) -> bool {
        size == PAGE_SIZE_4K || (self.large && size == LARGE_PAGE_SIZE && self.allocate_block())
    }

    #[inline(always)]
    fn frames(&mut self, vaddr: usize, size: usize, count: usize) -> AxResult<(PhysAddr, usize)> {
        let mut frames = match size {
            LARGE_PAGE_SIZE => self.block.take().ok_or(AxError::NoMemory)?,
            _ => self.run(count)?,
        };
        (self.fill)(vaddr, &mut frames);
        let (first, count) = into_page_table(frames);
        Ok((first, if size == LARGE_PAGE_SIZE { 1 } else { count }))
    }
}

impl<F> FreshFrames<F> {
    fn new(large: bool, fill: F) -> Self {
        Self {
            longest_run: usize::MAX,
            large,
            block: None,
            fill,
        }
    }

    /// Allocates the frames of the next large page. Returns whether there were any.
    fn allocate_block(&mut self) -> bool {
        let count = PAGES_PER_LARGE_PAGE;
        self.block = alloc_frames(count, count * PAGE_SIZE_4K, UsageKind::VirtMem).ok();
        self.block.is_some()
    }

    /// Allocates a run of at most `count` frames.
    fn run(&mut self, count: usize) -> AxResult<Frames> {
        let mut run = count.min(self.longest_run);
        loop {
            match alloc_frames(run, PAGE_SIZE_4K, UsageKind::VirtMem) {
                Err(AxError::NoMemory) if run > 1 => {
                    // The next lower power of two.
                    run = run.next_power_of_two() / 2;
                    self.longest_run = run;
                }
                result => return result,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aspace::AddrSpace;
    use crate::test_memory;

    /// The first run of a mapping is short if the table for it ends soon.
    #[test]
    fn a_short_run_does_not_shorten_those_after_it() {
        test_memory::add_once();
        let mut source = FreshFrames::new(false, ());
        for wanted in [3, 512, 5, 64] {
            let run = source.run(wanted).unwrap();
            assert_eq!(run.count(), wanted);
        }
    }

    #[test]
    fn a_fault_in_the_last_block_of_all_addresses_maps_only_pages_of_the_area() {
        test_memory::add_once();
        // All of the block but its last page, which is never mapped.
        let start = VirtAddr::from_usize(usize::MAX - (LARGE_PAGE_SIZE - 1));
        let size = LARGE_PAGE_SIZE - PAGE_SIZE_4K;
        let rights = MappingFlags::READ | MappingFlags::WRITE;
        let grains = [Grain::Large, Grain::Around(512), Grain::Around(2)];
        for (grain, mapped) in grains.into_iter().zip([1, 511, 1]) {
            let space: AddrSpace = AddrSpace::new_empty(start, size).unwrap();
            space
                .map_alloc_with(start, size, rights, false, grain)
                .unwrap();
            let last = start + size - PAGE_SIZE_4K;
            assert!(space.handle_page_fault(last, rights));
            let pages = (start.as_usize()..(start + size).as_usize()).step_by(PAGE_SIZE_4K);
            let found = pages.filter_map(|page| space.page_table().query(page.into()));
            assert_eq!(found.count(), mapped, "{grain:?}");
            assert_eq!(space.page_table().query(start + size), None, "{grain:?}");
        }
    }
}
