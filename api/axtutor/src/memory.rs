//! `sbrk`, `mmap` and `munmap`.

use axmm::MappingFlags;
use axprocess::UserSpace;
use memory_addr::{MemoryAddr, PAGE_SIZE_4K, VirtAddr};

/// The memory behind the program that `sbrk` grows and shrinks.
#[derive(Clone, Copy)]
pub struct Heap {
    start: usize,
    end: usize,
}

/// The rights of the heap.
const HEAP: MappingFlags = MappingFlags::READ
    .union(MappingFlags::WRITE)
    .union(MappingFlags::USER);

impl Heap {
    /// A heap without memory at `start`, which is page-aligned.
    pub const fn new(start: usize) -> Self {
        Self { start, end: start }
    }

    /// Moves the end of the heap by `bytes`. Returns the end before, or `None` if the heap cannot end
    /// there, or if there is no memory.
    pub fn grow(&mut self, space: &UserSpace, bytes: isize) -> Option<usize> {
        let before = self.end;
        let after = before.checked_add_signed(bytes);
        let after = after.filter(|end| *end >= self.start)?;
        let page = |end: usize| VirtAddr::from_usize(end).align_up_4k();
        let last = VirtAddr::from_usize(usize::MAX).align_down_4k().as_usize();
        if after > last {
            return None;
        }
        let (mapped, wanted) = (page(before), page(after));
        let changed = match wanted > mapped {
            true => space.map_alloc(mapped, wanted - mapped, HEAP, false),
            false if wanted < mapped => space.unmap(wanted, mapped - wanted),
            false => Ok(()),
        };
        changed.ok()?;
        self.end = after;
        Some(before)
    }
}

/// Maps memory, as the call `mmap` of the tutorial does. Returns whether it could.
pub fn map(space: &UserSpace, start: usize, len: usize, port: usize) -> bool {
    let Some(size) = pages(start, len) else {
        return false;
    };
    if port & !7 != 0 || port & 7 == 0 {
        return false;
    }
    let mut flags = MappingFlags::USER;
    flags.set(MappingFlags::READ, port & 1 != 0);
    flags.set(MappingFlags::WRITE, port & 2 != 0);
    flags.set(MappingFlags::EXECUTE, port & 4 != 0);
    size == 0 || space.map_alloc(start.into(), size, flags, false).is_ok()
}

/// Unmaps memory, as the call `munmap` of the tutorial does. Returns whether it could: all of it must
/// be mapped.
pub fn unmap(space: &UserSpace, start: usize, len: usize) -> bool {
    let Some(size) = pages(start, len) else {
        return false;
    };
    let mut mapped_to = start;
    for area in space.areas_from(start.into()) {
        if mapped_to >= start + size || area.start().as_usize() > mapped_to {
            break;
        }
        mapped_to = area.end().as_usize();
    }
    mapped_to >= start + size && (size == 0 || space.unmap(start.into(), size).is_ok())
}

/// Returns the bytes of the pages of `len` bytes from `start` on. `None` if `start` is not
/// page-aligned, or if there are no such addresses.
fn pages(start: usize, len: usize) -> Option<usize> {
    let size = len.checked_next_multiple_of(PAGE_SIZE_4K)?;
    let is_right = start.is_multiple_of(PAGE_SIZE_4K) && start.checked_add(size).is_some();
    is_right.then_some(size)
}
