//! Physical memory for tests and benchmarks in a process: pages of anonymous
//! memory where the linear mapping would be.

use std::alloc::GlobalAlloc;
use std::io;
use std::ops::Range;

use axconfig::PAGE_SIZE;
#[cfg(not(miri))]
use axconfig::{MAX_PHYS, PHYS_VIRT_OFFSET};

use crate::whole::HEAP;

/// A range of physical memory, there as long as the process. Pages take real
/// memory when they are first touched.
///
/// # Errors
///
/// Why there can be none: `start` and `size` are not multiples of 4 KiB, lie
/// beyond [`MAX_PHYS`], or are mapped already.
#[cfg(not(miri))]
pub fn physical_memory(start: usize, size: usize) -> io::Result<Range<usize>> {
    let end = start.checked_add(size).filter(|end| *end <= MAX_PHYS);
    let end = end.ok_or(io::ErrorKind::InvalidInput)?;
    let address = std::ptr::without_provenance_mut(PHYS_VIRT_OFFSET + start);
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: nothing is mapped there that this could replace, which
    // `MAP_FIXED_NOREPLACE` checks.
    let mapped = unsafe {
        let flags = kind | libc::MAP_FIXED_NOREPLACE;
        libc::mmap(address, size, rights, flags, -1, 0)
    };
    match mapped {
        libc::MAP_FAILED => Err(io::Error::last_os_error()),
        _ => Ok(start..end),
    }
}

/// The same under Miri, which cannot map memory at a chosen address: `size` bytes
/// elsewhere, aligned as `start` is up to 16 MiB.
///
/// # Errors
///
/// There is no such layout, or no memory.
#[cfg(miri)]
pub fn physical_memory(start: usize, size: usize) -> io::Result<Range<usize>> {
    let align = (1 << start.trailing_zeros().min(24)).max(PAGE_SIZE);
    let layout = std::alloc::Layout::from_size_align(size.max(PAGE_SIZE), align);
    let layout = layout.map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the size is not 0.
    let memory = unsafe { std::alloc::alloc_zeroed(layout) };
    match memory.expose_provenance() {
        0 => Err(io::ErrorKind::OutOfMemory.into()),
        start => Ok(start..start + size),
    }
}

/// The kernel's heap, which is not the process's own.
pub fn heap() -> &'static impl GlobalAlloc {
    &HEAP
}

/// Fills `len` bytes from `start` on with zeroes, whole pages.
///
/// # Safety
///
/// They are the caller's to write.
pub unsafe fn zero_pages(start: *mut u8, len: usize) {
    debug_assert!(start.addr().is_multiple_of(PAGE_SIZE) && len.is_multiple_of(PAGE_SIZE));
    // SAFETY: the caller's promise.
    unsafe { start.write_bytes(0, len) }
}
