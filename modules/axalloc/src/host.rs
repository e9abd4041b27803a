//! Physical memory for tests and benchmarks in a process: anonymous pages at the addresses
//! where a kernel has its linear mapping.

use std::alloc::GlobalAlloc;
use std::io;
use std::ops::Range;

#[cfg(miri)]
use axconfig::PAGE_SIZE;
#[cfg(not(miri))]
use axconfig::{MAX_PHYS, PHYS_VIRT_OFFSET};

use crate::machine::HEAP;

/// Maps `size` bytes of memory as the physical addresses from `start` on. It stays mapped until
/// the process ends. A page takes real memory when it is first written.
///
/// Returns the range of physical addresses in bytes, for [`add_memory`](crate::add_memory).
///
/// # Errors
///
/// Returns an error if `start` and `size` are not multiples of 4 KiB, if the range ends above
/// [`MAX_PHYS`], or if a part of it is mapped already.
#[cfg(not(miri))]
pub fn physical_memory(start: usize, size: usize) -> io::Result<Range<usize>> {
    let end = start.checked_add(size).filter(|end| *end <= MAX_PHYS);
    let end = end.ok_or(io::ErrorKind::InvalidInput)?;
    let address = std::ptr::without_provenance_mut(PHYS_VIRT_OFFSET + start);
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: `MAP_FIXED_NOREPLACE` makes the call fail where something is mapped already, so
    // it cannot replace memory that is in use.
    let mapped = unsafe {
        let flags = kind | libc::MAP_FIXED_NOREPLACE;
        libc::mmap(address, size, rights, flags, -1, 0)
    };
    match mapped {
        libc::MAP_FAILED => Err(io::Error::last_os_error()),
        _ => Ok(start..end),
    }
}

/// Allocates `size` bytes of memory that stand for physical memory under Miri.
///
/// Miri cannot map memory at a chosen address. So the range that is returned starts elsewhere,
/// with the alignment of `start` up to 16 MiB.
///
/// # Errors
///
/// Returns an error if there is no layout of this size and alignment, or no memory.
#[cfg(miri)]
pub fn physical_memory(start: usize, size: usize) -> io::Result<Range<usize>> {
    let align = (1 << start.trailing_zeros().min(24)).max(PAGE_SIZE);
    let layout = std::alloc::Layout::from_size_align(size.max(PAGE_SIZE), align);
    let layout = layout.map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the size is at least `PAGE_SIZE`.
    let memory = unsafe { std::alloc::alloc_zeroed(layout) };
    match memory.expose_provenance() {
        0 => Err(io::ErrorKind::OutOfMemory.into()),
        start => Ok(start..start + size),
    }
}

/// Returns the kernel's heap, which is not the heap that the process itself uses.
pub fn heap() -> &'static impl GlobalAlloc {
    &HEAP
}
