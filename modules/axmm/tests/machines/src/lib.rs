//! Machines that axmm's tests and fuzz targets use.
//!
//! - [`machine`]: a machine for each page-table format. Its flushes are checked by [`tlb`],
//!   and its page tables are read back by [`raw`].
//! - [`model`]: a model of an address space, and random operations that are compared with it.
//! - [`simulation`]: harts with TLBs that keep stale entries as long as they may.
//! - `owners` (feature `objects`): memory objects and the address spaces that show them.
//! - [`threads`]: a machine whose harts are threads.
//!
//! Files with a narrower subject are [`memory`] (how much memory is free), [`copies`] (copies
//! that fault), [`code`] (instruction caches) and [`targets`] (the fuzz targets).

pub mod code;
pub mod copies;
pub mod duplicates;
pub mod machine;
pub mod memory;
pub mod model;
#[cfg(feature = "objects")]
pub mod owners;
pub mod raw;
mod script;
pub mod simulation;
pub mod targets;
pub mod threads;
pub mod tlb;

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use axalloc::{UsageKind, add_memory, host, usage};
use axerrno::AxResult;
use axmm::{AddrSpace, Machine, MappingFlags, VirtAddr};
use memory_addr::PhysAddr;

pub use machine::{A64, La64, Sv39, Sv48, TestMachine, X64};
pub use tlb::{TLB, Tlb, Walk};

pub const KIB4: usize = 4 << 10;
pub const MIB2: usize = 2 << 20;
pub const GIB: usize = 1 << 30;

pub const NONE: MappingFlags = MappingFlags::empty();
pub const RO: MappingFlags = MappingFlags::READ;
pub const WRITE: MappingFlags = MappingFlags::WRITE;
pub const EXECUTE: MappingFlags = MappingFlags::EXECUTE;
pub const RW: MappingFlags = RO.union(WRITE);
pub const RX: MappingFlags = RO.union(EXECUTE);
pub const DEVICE: MappingFlags = RW.union(MappingFlags::DEVICE);
pub const UNCACHED: MappingFlags = RW.union(MappingFlags::UNCACHED);

/// The physical memory.
pub const RAM: Range<usize> = GIB..GIB + (16 << 20);

/// The range that a machine is told to flush if page tables are freed.
pub const ALL_ADDRESSES: Range<usize> = 0..usize::MAX;

/// Waits until no other test runs, so that only the caller changes the memory usage. The
/// first call gives [`RAM`] to the allocator.
pub fn alone() -> MutexGuard<'static, ()> {
    static ONCE: Once = Once::new();
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    ONCE.call_once(|| {
        let memory = host::physical_memory(RAM.start, RAM.len()).unwrap();
        // SAFETY: the memory was just mapped for the allocator alone, and is never unmapped.
        unsafe { add_memory(&[memory]) }.unwrap();
        axmm::init_zero_frame().unwrap();
    });
    alone
}

/// Returns the number of frames that pages use, and the number that page tables use.
pub fn frames() -> (usize, usize) {
    let usage = usage();
    (usage.of(UsageKind::VirtMem), usage.of(UsageKind::PageTable))
}

/// Linear mappings of memory to which the test holds no references while it copies.
pub trait MapPhysical {
    /// Maps `size` bytes from `start` to the physical addresses from `to`.
    ///
    /// # Errors
    ///
    /// Fails like [`AddrSpace::map_linear`].
    fn map_physical(
        &self,
        start: VirtAddr,
        to: PhysAddr,
        size: usize,
        flags: MappingFlags,
    ) -> AxResult {
        self.map_physical_named("linear", start, to, size, flags)
    }

    /// Maps `size` bytes from `start` to the physical addresses from `to`, in an area with
    /// this name.
    ///
    /// # Errors
    ///
    /// Fails like [`AddrSpace::map_linear`].
    fn map_physical_named(
        &self,
        name: &'static str,
        start: VirtAddr,
        to: PhysAddr,
        size: usize,
        flags: MappingFlags,
    ) -> AxResult;
}

impl<M: Machine> MapPhysical for AddrSpace<M> {
    fn map_physical_named(
        &self,
        name: &'static str,
        start: VirtAddr,
        to: PhysAddr,
        size: usize,
        flags: MappingFlags,
    ) -> AxResult {
        // SAFETY: the physical addresses belong to a device of a simulated machine, or to
        // frames of a test that holds no reference to them while it copies.
        unsafe { self.map_linear_named(name, start, to, size, flags) }
    }
}

pub fn virt(addr: usize) -> VirtAddr {
    VirtAddr::from_usize(addr)
}

pub fn phys(addr: usize) -> PhysAddr {
    PhysAddr::from_usize(addr)
}

/// Returns the contents of a frame as words. Only the test's own address space maps the
/// frame, and the test keeps no other slice of it.
///
/// # Panics
///
/// Panics if the frame is not in [`RAM`].
pub fn words(frame: usize) -> &'static mut [u64] {
    assert!(RAM.contains(&frame), "{frame:#x} is no frame");
    let start = std::ptr::with_exposed_provenance_mut(axconfig::PHYS_VIRT_OFFSET + frame);
    // SAFETY: the assertion says that the frame lies in RAM, which the linear mapping maps
    // for ever. The caller keeps no other slice of the frame.
    unsafe { std::slice::from_raw_parts_mut(start, KIB4 / 8) }
}

/// Returns the contents of a frame as bytes. Only the test's own address space maps the
/// frame, and the test keeps no other slice of it.
///
/// # Panics
///
/// Panics if the frame is not in [`RAM`].
pub fn bytes(frame: usize) -> &'static mut [u8] {
    let words = words(frame);
    // SAFETY: `words` is a valid slice of 4096 bytes, and the caller keeps no other slice of
    // the frame.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), KIB4) }
}
