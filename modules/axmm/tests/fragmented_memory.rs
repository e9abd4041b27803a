//! Populated mappings in memory in which no two free frames are contiguous.

use std::collections::HashSet;

use axalloc::{Frames, UsageKind, add_memory, alloc_frame, host, usage};
use axerrno::AxError;
use axmm::{AddrSpace, MappingFlags, ThisMachine, VirtAddr};

const PAGE: usize = 4096;
const BASE: usize = 1 << 30;

#[test]
fn populate_works_with_single_frames() {
    let memory = host::physical_memory(1 << 30, 16 << 20).unwrap();
    // SAFETY: the memory was just mapped for the allocator alone, and is never unmapped.
    unsafe { add_memory(&[memory]) }.unwrap();
    let aspace = AddrSpace::<ThisMachine>::new_empty(BASE.into(), 1 << 30).unwrap();
    let mut held: Vec<Frames> =
        std::iter::from_fn(|| alloc_frame(UsageKind::Global).ok()).collect();
    held.retain(|frame| frame.start().as_usize().is_multiple_of(2 * PAGE));
    let free = usage().free;
    let rights = MappingFlags::READ | MappingFlags::WRITE;
    let start = VirtAddr::from_usize(BASE + PAGE);

    let too_many = aspace.map_alloc(start, (free + 1) * PAGE, rights, true);
    assert_eq!(too_many, Err(AxError::NoMemory));
    assert_eq!(usage().free, free);

    let pages = free * 3 / 4;
    aspace.map_alloc(start, pages * PAGE, rights, true).unwrap();
    let frame_at = |page| aspace.query(start + page * PAGE).unwrap().paddr.as_usize();
    let frames: HashSet<usize> = (0..pages).map(frame_at).collect();
    assert_eq!(frames.len(), pages);
    assert!(!frames.iter().any(|frame| frame.is_multiple_of(2 * PAGE)));

    aspace.unmap(start, pages * PAGE).unwrap();
    assert_eq!(usage().free, free);
}
