//! Defects found in review; each test states what should hold.

use std::sync::{Mutex, MutexGuard, PoisonError};

use axalloc::{UsageKind, alloc_frame, usage};
use axmm::{AddrSpace, Grain, MappingFlags, VirtAddr};

const KERNEL: usize = 0xffff_c000_0000_0000;
const KERNEL_SIZE: usize = 16 << 39;
const USER: usize = 0x1_0000;
const USER_SIZE: usize = 1 << 40;
const PAGE: usize = 4096;
const MIB2: usize = 2 << 20;
const RW: MappingFlags = MappingFlags::READ.union(MappingFlags::WRITE);

fn alone() -> MutexGuard<'static, bool> {
    static GIVEN: Mutex<bool> = Mutex::new(false);
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    if !*given {
        let memory = axalloc::host::physical_memory(1 << 30, 32 << 20).unwrap();
        // SAFETY: mapped for this alone, and for good.
        unsafe { axalloc::add_memory(&[memory]) }.unwrap();
        *given = true;
    }
    given
}

fn at(addr: usize) -> VirtAddr {
    VirtAddr::from_usize(addr)
}

/// A mapping made below the fixed end after a user's space exists is in that, too.
#[test]
fn what_the_kernel_maps_below_its_fixed_end_later_shows_in_a_user_space() {
    let _alone = alone();
    let mut kernel = AddrSpace::<axmm::ThisMachine>::new_empty(at(KERNEL), KERNEL_SIZE).unwrap();
    kernel.map_alloc(at(KERNEL), PAGE, RW, true).unwrap();
    kernel.fix_below(at(KERNEL + (8 << 39)));
    let mut user = AddrSpace::new_empty_user(at(USER), USER_SIZE).unwrap();
    kernel.share().unwrap();
    user.copy_mappings_from(&kernel).unwrap();
    let device = at(KERNEL + (3 << 39));
    match kernel.map_linear(device, 0.into(), PAGE, RW) {
        Ok(()) => assert_eq!(user.query(device), kernel.query(device)),
        Err(error) => assert_eq!(error, axerrno::AxError::InvalidInput),
    }
}

/// Leaves `count` frames, in a row and aligned, free: no others.
fn all_but(count: usize) -> Vec<axalloc::Frames> {
    let run = axalloc::alloc_frames(count, count * PAGE, UsageKind::Object).unwrap();
    let taken = std::iter::from_fn(|| alloc_frame(UsageKind::Object).ok()).collect();
    drop(run);
    assert_eq!(usage().free, count);
    taken
}

/// A fault that two frames are enough for is resolved while there are more.
fn a_fault_with_little_memory(grain: Grain, free: usize) {
    let _alone = alone();
    let mut space = AddrSpace::<axmm::ThisMachine>::new_empty_user(at(USER), USER_SIZE).unwrap();
    space
        .map_alloc_with(at(4 * MIB2), 4 * MIB2, RW, false, grain)
        .unwrap();
    // Only the lowest table is missing for the fault that follows.
    space.map_alloc(at(2 * MIB2), PAGE, RW, true).unwrap();
    let taken = all_but(free);
    let resolved = space.handle_page_fault(at(4 * MIB2), MappingFlags::WRITE);
    let left = usage().free;
    drop(taken);
    assert!(resolved, "{grain:?}: refused with {left} frames free");
}

#[test]
fn little_memory_page() {
    a_fault_with_little_memory(Grain::Page, 2);
}

#[test]
fn little_memory_around() {
    a_fault_with_little_memory(Grain::Around(16), 16);
}

#[test]
fn little_memory_around_512() {
    a_fault_with_little_memory(Grain::Around(512), 512);
}

#[test]
fn little_memory_large_without_block() {
    a_fault_with_little_memory(Grain::Large, 256);
}

/// The middle table is missing, too, and the last block of 2 MiB is what is free.
#[test]
fn little_memory_large_with_block() {
    let _alone = alone();
    let mut space = AddrSpace::<axmm::ThisMachine>::new_empty_user(at(USER), USER_SIZE).unwrap();
    space
        .map_alloc_with(at(5 << 30), 4 * MIB2, RW, false, Grain::Large)
        .unwrap();
    let taken = all_but(512);
    let resolved = space.handle_page_fault(at(5 << 30), MappingFlags::WRITE);
    let left = usage().free;
    drop(taken);
    assert!(resolved, "refused with {left} frames free");
}

/// Mappings of two others: what is borrowed of either is not freed.
#[test]
fn mappings_of_two_others_stay_theirs() {
    let _alone = alone();
    let before = usage().of(UsageKind::PageTable);
    let mut one = AddrSpace::<axmm::ThisMachine>::new_empty(at(KERNEL), 2 << 39).unwrap();
    let mut two =
        AddrSpace::<axmm::ThisMachine>::new_empty(at(KERNEL + (4 << 39)), 2 << 39).unwrap();
    for kernel in [&mut one, &mut two] {
        kernel.map_alloc(kernel.base(), PAGE, RW, true).unwrap();
        kernel.share().unwrap();
    }
    let mut user = AddrSpace::new_empty_user(at(USER), USER_SIZE).unwrap();
    let tables = usage().of(UsageKind::PageTable);
    user.copy_mappings_from(&one).unwrap();
    user.copy_mappings_from(&two).unwrap();
    drop(user);
    assert_eq!(
        usage().of(UsageKind::PageTable),
        tables - 1,
        "only its root goes"
    );
    drop((one, two));
    assert_eq!(usage().of(UsageKind::PageTable), before);
}
