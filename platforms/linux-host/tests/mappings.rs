//! Tests of mappings of the kernel's address space by real accesses. Pointers are
//! dereferenced, and a probe makes an access that may fault.

mod support;

use std::ops::Range;

use axalloc::{Frames, UsageKind, alloc_frame_zeroed, usage};
use axhal::probe::{can_execute, can_read};
use axmm::{AddrSpace, KERNEL_MAP_BASE, Machine, MappingFlags, ThisMachine, VirtAddr};
use axmm::{kernel_aspace, kernel_page_table_root};

use support::{load, on_hart, store, writable};

const PAGE: usize = 4096;
const READ: MappingFlags = MappingFlags::READ;
const RW: MappingFlags = READ.union(MappingFlags::WRITE);
const RX: MappingFlags = READ.union(MappingFlags::EXECUTE);
const BASE: usize = KERNEL_MAP_BASE;

fn at(addr: usize) -> VirtAddr {
    VirtAddr::from_usize(addr)
}

/// Maps `pages` fresh pages at the bottom of the kernel's map.
fn map(pages: usize, flags: MappingFlags, populate: bool) {
    let aspace = kernel_aspace().lock();
    aspace
        .map_alloc(at(BASE), pages * PAGE, flags, populate)
        .unwrap();
}

fn protect(page: usize, flags: MappingFlags) {
    let aspace = kernel_aspace().lock();
    aspace.protect(at(BASE + page * PAGE), PAGE, flags).unwrap();
}

fn unmap(pages: Range<usize>) {
    let aspace = kernel_aspace().lock();
    aspace
        .unmap(at(BASE + pages.start * PAGE), pages.len() * PAGE)
        .unwrap();
}

fn frame_of_ones() -> Frames {
    let mut frame = alloc_frame_zeroed(UsageKind::Global).unwrap();
    frame.as_bytes_mut().fill(0x11);
    frame
}

fn pages_taken() -> usize {
    usage().of(UsageKind::VirtMem)
}

#[test]
fn the_first_access_faults_in_a_lazy_page() {
    on_hart(|| {
        let before = pages_taken();
        map(16, RW, false);
        assert_eq!(pages_taken(), before);
        assert_eq!(load(BASE + 3 * PAGE + 8), 0);
        assert_eq!(pages_taken(), before + 1);
        store(BASE + 15 * PAGE, 7);
        assert_eq!((load(BASE + 15 * PAGE), pages_taken()), (7, before + 2));
        unmap(0..16);
        assert_eq!(pages_taken(), before);
    });
}

#[test]
fn populated_pages_are_mapped_before_the_first_access() {
    on_hart(|| {
        map(16, RW, true);
        let before = pages_taken();
        for page in 0..16 {
            assert_eq!(load(BASE + page * PAGE), 0);
            store(BASE + page * PAGE + 16, page as u64);
        }
        assert!((0..16).all(|page| load(BASE + page * PAGE + 16) == page as u64));
        assert_eq!(pages_taken(), before);
        unmap(0..16);
    });
}

#[test]
fn a_read_only_page_cannot_be_written() {
    on_hart(|| {
        for populate in [true, false] {
            map(2, READ, populate);
            assert!(can_read(BASE) && !writable(BASE));
            // A write is refused, too, if it is the first access to the page.
            assert!(!writable(BASE + PAGE));
            unmap(0..2);
        }
    });
}

#[test]
fn rights_can_be_removed_and_restored() {
    on_hart(|| {
        map(3, RW, true);
        (0..3).for_each(|page| store(BASE + page * PAGE, page as u64));
        protect(1, READ);
        let writable_pages = || [0, 1, 2].map(|page| writable(BASE + page * PAGE));
        assert_eq!(writable_pages(), [true, false, true]);
        assert_eq!(load(BASE + PAGE), 1);
        protect(1, RW);
        assert_eq!(writable_pages(), [true; 3]);
        store(BASE + PAGE, 9);
        protect(1, MappingFlags::empty());
        assert!(!can_read(BASE + PAGE));
        protect(1, READ);
        assert_eq!(load(BASE + PAGE), 9);
        unmap(0..3);
    });
}

#[test]
fn only_unmapped_pages_fault() {
    on_hart(|| {
        map(4, RW, true);
        (0..4).for_each(|page| store(BASE + page * PAGE, page as u64));
        unmap(1..3);
        let readable = [0, 1, 2, 3].map(|page| can_read(BASE + page * PAGE));
        assert_eq!(readable, [true, false, false, true]);
        assert!(!writable(BASE + PAGE) && !writable(BASE + 3 * PAGE - 8));
        assert_eq!(load(BASE + 3 * PAGE), 3);
        unmap(0..4);
        assert!(!can_read(BASE) && !can_read(BASE + 4 * PAGE - 1));
    });
}

#[test]
fn only_an_executable_page_can_be_executed() {
    /// `ret`.
    const RETURN: u64 = 0xc3;
    // SAFETY: the address is unmapped, or it has a function that only returns.
    let executable = |addr| unsafe { can_execute(addr) };
    on_hart(move || {
        map(1, RW, true);
        store(BASE, RETURN);
        assert!(!executable(BASE));
        protect(0, RX);
        assert!(executable(BASE) && !writable(BASE));
        unmap(0..1);
        assert!(!executable(BASE));
    });
}

#[test]
fn two_mappings_of_a_frame_show_the_same_bytes() {
    on_hart(|| {
        let frame = frame_of_ones();
        let aspace = kernel_aspace().lock();
        for (page, flags) in [(0, RW), (8, READ)] {
            let vaddr = at(BASE + page * PAGE);
            // SAFETY: the test owns the frame, and makes no references to the mapping.
            unsafe { aspace.map_linear(vaddr, frame.start(), PAGE, flags) }.unwrap();
        }
        drop(aspace);
        let (here, there) = (BASE, BASE + 8 * PAGE);
        store(here + 24, 5);
        assert_eq!((load(there + 24), load(there)), (5, 0x1111_1111_1111_1111));
        assert_eq!(frame.as_bytes()[24], 5);
        assert!(writable(here) && !writable(there));
        unmap(0..1);
        assert!(!can_read(here) && load(there + 24) == 5);
        unmap(8..9);
    });
}

/// Linux allows 65,530 mappings of a process by default.
#[test]
fn more_pages_can_be_mapped_than_linux_allows_mappings() {
    const PAGES: usize = 70_000;
    on_hart(|| {
        let frame = frame_of_ones();
        let aspace = kernel_aspace().lock();
        for page in 0..PAGES {
            let vaddr = at(BASE + page * PAGE);
            // SAFETY: the test owns the frame, and only reads it while it is mapped here.
            unsafe { aspace.map_linear(vaddr, frame.start(), PAGE, READ) }.unwrap();
        }
        drop(aspace);
        let ones = |page| load(BASE + page * PAGE) == 0x1111_1111_1111_1111;
        assert!((0..PAGES).all(ones) && ones(0));
        unmap(0..PAGES);
        assert!(!can_read(BASE) && !can_read(BASE + (PAGES - 1) * PAGE));
    });
}

/// This machine without flushes: the TLB keeps all entries.
struct NeverFlushes;

// SAFETY: all other functions are those of the real machine. The missing flushes let the test
// read stale translations, which is what it checks.
unsafe impl Machine for NeverFlushes {
    axmm::page_tables_of!(ThisMachine);

    fn publish_entries() {}

    fn flush(_: u64, _: Range<usize>) {}

    fn flush_local(_: Range<usize>) {}

    type IrqGuard = <ThisMachine as Machine>::IrqGuard;
    type PreemptGuard = <ThisMachine as Machine>::PreemptGuard;

    fn disable_irqs() -> Self::IrqGuard {
        ThisMachine::disable_irqs()
    }

    fn disable_preemption() -> Self::PreemptGuard {
        ThisMachine::disable_preemption()
    }

    fn harts() -> usize {
        ThisMachine::harts()
    }

    fn hart() -> usize {
        ThisMachine::hart()
    }

    fn relax(turn: usize) {
        ThisMachine::relax(turn);
    }
}

/// Returns what a stale pointer reads. Its page has been unmapped, and the next owner of the
/// frame has written a secret to it. `None` means that the access faults.
fn seen_through_a_stale_pointer<M: Machine>() -> Option<u64> {
    const SECRET: u64 = 0x5ec2_e700_5ec2_e700;
    let ram = linux_host::ram::range();
    let linear = axhal::mem::phys_to_virt(ram.start.into());
    let aspace = AddrSpace::<M>::new_empty(linear, BASE + (1 << 30) - linear.as_usize()).unwrap();
    // SAFETY: the mapping equals the kernel's own linear mapping, and the test makes no
    // references to it.
    unsafe { aspace.map_linear(linear, ram.start.into(), ram.len(), RW) }.unwrap();
    aspace.map_alloc(at(BASE), PAGE, RW, true).unwrap();
    // SAFETY: this page table maps all RAM, as the kernel's does.
    unsafe { axhal::paging::set_kernel_root(aspace.page_table_root()) };
    store(BASE, 1);
    let frame = aspace.query(at(BASE)).unwrap().paddr;
    aspace.unmap(at(BASE), PAGE).unwrap();

    let others: Vec<Frames> = (0..64)
        .map_while(|_| alloc_frame_zeroed(UsageKind::Global).ok())
        .collect();
    store(axhal::mem::phys_to_virt(frame).as_usize(), SECRET);
    let seen = can_read(BASE).then(|| load(BASE));
    // SAFETY: this is the page table that was loaded before.
    unsafe { axhal::paging::set_kernel_root(kernel_page_table_root()) };
    assert!(others.iter().any(|other| other.start() == frame));
    assert!(seen.is_none_or(|seen| seen == SECRET));
    seen
}

#[test]
fn a_stale_pointer_faults() {
    on_hart(|| assert_eq!(seen_through_a_stale_pointer::<ThisMachine>(), None));
}

#[test]
fn a_stale_pointer_reads_the_freed_frame_without_flushes() {
    on_hart(|| assert!(seen_through_a_stale_pointer::<NeverFlushes>().is_some()));
}
