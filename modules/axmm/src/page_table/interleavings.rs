//! Two page tables that share a table after a fork, in every interleaving of the accesses to the
//! counts of owners.
//!
//! Loom does not see entries. So each frame has a cell that loom watches: finding the address of a
//! frame reads the cell, and being the only owner of a frame, or freeing it, writes it. A test
//! fails if a page table uses a frame that is not its own any more.

use core::ops::Range;
use std::cell::Cell;

use axerrno::AxResult;
use loom::cell;
use memory_addr::{PAGE_SIZE_4K, PhysAddr, VirtAddr};
use page_table_multiarch::x86_64::X64PagingMetaData;
use page_table_multiarch::{MappingFlags, PagingHandler};

use super::entry::ENTRIES;
use super::{Flusher, FrameOwners, Lookup, PageTable, SpareTables};
use crate::atomic::{AtomicUsize, Ordering};
use crate::locking::modelled::harts;

type Table = PageTable<X64PagingMetaData, page_table_entry::x86_64::X64PTE, Counted>;

const RW: MappingFlags = MappingFlags::READ.union(MappingFlags::WRITE);
const MIB2: usize = 2 << 20;
const GIB: usize = 1 << 30;
/// The address of the page that both page tables map.
const PAGE: usize = 1 << 40;

/// A frame, with its count of owners behind it.
#[repr(C, align(4096))]
struct Frame {
    entries: [u64; ENTRIES],
    owners: AtomicUsize,
    accesses: cell::UnsafeCell<()>,
}

std::thread_local! {
    /// The number of frames. All threads of a test under loom run on one thread of the computer.
    static FRAMES: Cell<usize> = const { Cell::new(0) };
}

fn frame<'a>(address: PhysAddr) -> &'a Frame {
    // SAFETY: the address is that of a box that `alloc_frames` has leaked. If it was freed, loom
    // has failed the test before.
    unsafe { &*core::ptr::with_exposed_provenance::<Frame>(address.as_usize()) }
}

/// Frames with one owner at first.
struct Counted;

impl PagingHandler for Counted {
    fn alloc_frames(_: usize, _: usize) -> Option<PhysAddr> {
        FRAMES.set(FRAMES.get() + 1);
        let frame = Box::leak(Box::new(Frame {
            entries: [0; ENTRIES],
            owners: AtomicUsize::new(1),
            accesses: cell::UnsafeCell::new(()),
        }));
        let address = core::ptr::from_mut(frame).expose_provenance();
        Some(PhysAddr::from_usize(address))
    }

    fn dealloc_frames(address: PhysAddr, _: usize) {
        FRAMES.set(FRAMES.get() - 1);
        frame(address).accesses.with_mut(|_| {});
        let raw = core::ptr::with_exposed_provenance_mut::<Frame>(address.as_usize());
        // SAFETY: `alloc_frames` leaked the box, and this is the last owner of the frame.
        drop(unsafe { Box::from_raw(raw) });
    }

    fn phys_to_virt(address: PhysAddr) -> VirtAddr {
        frame(address).accesses.with(|_| {});
        VirtAddr::from_usize(address.as_usize())
    }
}

impl FrameOwners for Counted {
    fn share(address: PhysAddr, _: usize) -> AxResult {
        // Relaxed: the caller has an owner already.
        frame(address).owners.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn share_table(address: PhysAddr) -> AxResult {
        Self::share(address, 1)
    }

    fn is_exclusive(address: PhysAddr, _: usize) -> bool {
        let frame = frame(address);
        let is_exclusive = frame.owners.load(Ordering::Acquire) == 1;
        if is_exclusive {
            frame.accesses.with_mut(|_| {});
        }
        is_exclusive
    }

    fn release_table(address: PhysAddr) -> bool {
        let owners = frame(address).owners.fetch_sub(1, Ordering::AcqRel);
        assert_ne!(owners, 0, "the frame had no owner");
        owners == 1
    }

    fn release_pages(address: PhysAddr, _: usize) {
        if Self::release_table(address) {
            Self::dealloc_frame(address);
        }
    }
}

/// Frees at once: no TLB holds anything.
struct Freeing;

impl Flusher for Freeing {
    type IrqGuard = ();

    fn unmapped(&mut self, pages: Range<usize>, frame: PhysAddr) -> bool {
        Counted::release_pages(frame, pages.len() / PAGE_SIZE_4K);
        true
    }

    fn has_left_entries(&self) -> bool {
        false
    }

    fn changed(&mut self, _: Range<usize>) {}

    fn changed_tables(&mut self) {}

    fn poll(&self) {}

    fn detached_table(&mut self, frame: PhysAddr) {
        Counted::dealloc_frame(frame);
    }

    fn flush_now(&mut self, _: Range<usize>) {}

    fn disable_irqs(&self) {}

    fn disable_irqs_if_exclusive(&self, _: usize, _: usize) -> Option<()> {
        Some(())
    }
}

/// A page table and the one that was forked from it. They share a table that translates `SIZE`
/// bytes, in which a page is mapped.
struct Forked<const SIZE: usize> {
    parent: Table,
    child: Table,
}

impl<const SIZE: usize> Forked<SIZE> {
    const BLOCK: Range<usize> = PAGE..PAGE + SIZE;

    fn new() -> Self {
        FRAMES.set(0);
        let (parent, child) = (Table::new(0, 0).unwrap(), Table::new(0, 0).unwrap());
        let frame = Counted::alloc_frame().unwrap();
        parent.map_with_tables(PAGE.into(), 0, RW, frame).unwrap();
        parent.share_with(&child, Self::BLOCK, &|| {}).unwrap();
        parent.seal(Self::BLOCK, &mut Freeing);
        Self { parent, child }
    }

    /// Makes a write to the page possible, as far as the page table is concerned: returns whether
    /// `table` has the page for itself and may write to it now.
    fn write(table: &Table) -> bool {
        let found = loop {
            match table.lookup(PAGE.into()) {
                Lookup::Missing => panic!("the page is gone"),
                Lookup::Shared(_) => {
                    let mut spare = SpareTables::allocate(1).unwrap();
                    table.open(PAGE.into(), &mut spare, &|| {}).unwrap();
                }
                Lookup::Page(found) => break found,
            }
        };
        assert!(!found.page.flags.contains(MappingFlags::WRITE));
        Table::is_exclusive(&found.page) && Table::add_write(&found)
    }

    fn unmap(table: &Table) {
        table.unmap_whole_pages(Self::BLOCK, &mut Freeing);
    }
}

impl<const SIZE: usize> Drop for Forked<SIZE> {
    fn drop(&mut self) {
        Self::unmap(&self.parent);
        Self::unmap(&self.child);
        assert_eq!(FRAMES.get(), 2, "the roots are left");
    }
}

fn both_open_the_shared_table<const SIZE: usize>() {
    harts(
        3,
        Forked::<SIZE>::new,
        |forked| {
            assert!(
                !Forked::<SIZE>::write(&forked.parent),
                "the child has it, too"
            )
        },
        |forked| {
            assert!(
                !Forked::<SIZE>::write(&forked.child),
                "the parent has it, too"
            )
        },
    );
}

/// The parent takes the table over, or copies it while the child is the last to drop it.
fn one_opens_what_the_other_unmaps<const SIZE: usize>() {
    harts(
        3,
        Forked::<SIZE>::new,
        |forked| {
            Forked::<SIZE>::write(&forked.parent);
        },
        |forked| Forked::<SIZE>::unmap(&forked.child),
    );
}

#[test]
fn both_open_a_shared_table_of_2_mib() {
    both_open_the_shared_table::<MIB2>();
}

#[test]
fn both_open_a_shared_table_of_1_gib() {
    both_open_the_shared_table::<GIB>();
}

#[test]
fn one_opens_a_table_of_2_mib_that_the_other_unmaps() {
    one_opens_what_the_other_unmaps::<MIB2>();
}

#[test]
fn one_opens_a_table_of_1_gib_that_the_other_unmaps() {
    one_opens_what_the_other_unmaps::<GIB>();
}
