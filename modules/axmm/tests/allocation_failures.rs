//! Each allocation of each operation fails in turn, of frames and of the heap. The operation
//! then returns `NoMemory` and changes nothing.

use std::alloc::System;
use std::marker::PhantomData;
use std::ops::Range;

use axalloc::fault::{FailingHeap, fail_from};
use axalloc::{Usage, usage};
use axerrno::{AxError, AxResult};
use axmm::{AddrSpace, Machine, MappingFlags};

mod support;

use support::raw::{Format, Memory, Raw, RawPage};
use support::{GIB, KIB4, MIB2, MapPhysical, NONE, RO, RW, RX, TestMachine, alone, phys, virt};

#[global_allocator]
static HEAP: FailingHeap<System> = FailingHeap(System);

/// The machine `R` with several harts, of which only the first runs.
struct Several<R>(PhantomData<R>);

// SAFETY: the test uses the machine on one thread, whose hart always has the number 0.
unsafe impl<R: TestMachine + 'static> Machine for Several<R> {
    axmm::page_tables_of!(R);

    type IrqGuard = ();
    type PreemptGuard = ();

    fn publish_entries() {}

    fn flush(_: u64, _: Range<usize>) {}

    fn flush_local(_: Range<usize>) {}

    fn disable_irqs() {}

    fn disable_preemption() {}

    fn harts() -> usize {
        3
    }

    fn hart() -> usize {
        0
    }

    unsafe fn copy(from: *const u8, to: *mut u8, len: usize) -> usize {
        // SAFETY: the caller allows reading `from` and writing `to`, as `R::copy` requires.
        unsafe { R::copy(from, to, len) }
    }

    fn relax(_: usize) {
        unreachable!("no other hart runs, so there is none to wait for");
    }
}

impl<R: TestMachine + 'static> TestMachine for Several<R> {
    const NAME: &'static str = R::NAME;
    const HIGH: usize = R::HIGH;
    const ABOVE: usize = R::ABOVE;
    const PHYS_BITS: u32 = R::PHYS_BITS;
    type Raw = R::Raw;

    fn memory(asked: MappingFlags) -> Memory {
        R::memory(asked)
    }
}

/// The state of an address space: its areas, its page table and the memory usage.
#[derive(Debug, PartialEq)]
struct State {
    areas: Vec<(usize, usize, MappingFlags, String)>,
    raw: Raw,
    usage: Usage,
}

fn state<M: TestMachine>(aspace: &AddrSpace<M>) -> State {
    let areas = aspace.areas().map(|area| {
        let what = format!("{} {:?}", area.backend().name(), area.backend());
        (
            area.start().as_usize(),
            area.end().as_usize(),
            area.flags(),
            what,
        )
    });
    State {
        areas: areas.collect(),
        raw: M::walk(aspace).unwrap(),
        usage: usage(),
    }
}

impl State {
    /// Returns whether the state equals `before`.
    fn equals<M: TestMachine>(&self, before: &Self) -> bool {
        match splits_may_stay::<M>() && self.areas == before.areas {
            true => translations(&self.raw) == translations(&before.raw),
            false => self == before,
        }
    }
}

/// Returns whether an operation that fails may leave large pages split. That can happen if its
/// range lies in several shards, and the pages in one of them were split before the failure. In
/// Sv39 each gigapage lies in a shard of its own.
fn splits_may_stay<M: TestMachine>() -> bool {
    M::harts() > 1 && M::Raw::LEVELS == 3
}

/// Returns the pages. Contiguous pages with the same rights are merged.
fn translations(raw: &Raw) -> Vec<RawPage> {
    let mut runs: Vec<RawPage> = Vec::new();
    for page in &raw.pages {
        match runs.last_mut() {
            Some(run)
                if run.rights == page.rights
                    && run.vaddr + run.size == page.vaddr
                    && run.paddr + run.size == page.paddr =>
            {
                run.size += page.size;
            }
            _ => runs.push(*page),
        }
    }
    runs
}

/// An address space, and the number of allocations that have failed in it.
struct Sweep<M: TestMachine> {
    aspace: AddrSpace<M>,
    failed: usize,
}

impl<M: TestMachine> Sweep<M> {
    /// Repeats `operation` until it succeeds. The first time, its first allocation fails, then
    /// the second, and so on, each with all later ones. Returns how many times it has failed.
    fn repeat(&mut self, name: &str, operation: impl Fn(&mut AddrSpace<M>) -> AxResult) -> usize {
        let before = state(&self.aspace);
        for n in 1.. {
            let armed = fail_from(n);
            let result = operation(&mut self.aspace);
            // With several harts, an operation also makes allocations that it can do without.
            if !armed.has_fired() || M::harts() > 1 && result.is_ok() {
                assert_eq!(result, Ok(()), "{name}");
                self.failed += n - 1;
                return n - 1;
            }
            assert_eq!(result, Err(AxError::NoMemory), "{name}: the {n}th");
            let after = state(&self.aspace);
            assert!(after.equals::<M>(&before), "{name}: after the {n}th");
        }
        unreachable!("an operation makes few allocations");
    }

    fn linear(&mut self, start: usize, paddr: usize, size: usize) -> usize {
        self.repeat("map_linear", |aspace| {
            aspace.map_physical(virt(start), phys(paddr), size, RW)
        })
    }

    fn alloc(&mut self, start: usize, size: usize, populate: bool) -> usize {
        self.repeat("map_alloc", |aspace| {
            aspace.map_alloc(virt(start), size, RW, populate)
        })
    }

    fn unmap(&mut self, start: usize, size: usize) -> usize {
        self.repeat("unmap", |aspace| aspace.unmap(virt(start), size))
    }

    fn protect(&mut self, start: usize, size: usize, flags: MappingFlags) -> usize {
        self.repeat("protect", |aspace| aspace.protect(virt(start), size, flags))
    }

    fn fault(&mut self, addr: usize) -> usize {
        self.repeat("fault", |aspace| Ok(aspace.fault(virt(addr), RO)?))
    }
}

fn new_space<M: TestMachine>() -> Sweep<M> {
    let before = usage();
    for n in 1.. {
        let armed = fail_from(n);
        let aspace = AddrSpace::<M>::new_empty(virt(M::base()), 4 * GIB);
        if !armed.has_fired() {
            // The root table, and with several harts the list of shards and the hart states of
            // the first shard.
            let wanted = if M::harts() == 1 { 1 } else { 3 };
            assert_eq!(n - 1, wanted, "allocations of an empty address space");
            let aspace = aspace.unwrap();
            return Sweep { aspace, failed: 0 };
        }
        assert_eq!(aspace.err(), Some(AxError::NoMemory));
        assert_eq!(usage(), before);
    }
    unreachable!("an operation makes few allocations");
}

fn a_failed_operation_on_one_of_several_harts_changes_nothing<M: TestMachine + 'static>() {
    a_failed_operation_changes_nothing::<Several<M>>();
}

fn a_failed_operation_changes_nothing<M: TestMachine>() {
    let _alone = alone();
    let before = usage();
    let mut sweep = new_space::<M>();
    sweep.change_linear_areas();
    sweep.change_allocated_areas();
    sweep.cut_many_areas();
    let failed = sweep.failed;
    assert!(failed >= 50, "only {failed} allocations failed");
    assert_eq!(sweep.repeat("clear", |space| space.clear()), 0);
    drop(sweep);
    assert_eq!(usage(), before);
}

impl<M: TestMachine> Sweep<M> {
    /// Maps, unmaps and protects linear areas, which have large pages.
    fn change_linear_areas(&mut self) {
        let base = M::base();
        let (edge, large) = (base + GIB, base + 2 * GIB);
        // The range crosses the end of a table of every level.
        assert!(self.linear(edge - 3 * KIB4, 8 * GIB + KIB4, 6 * KIB4) >= 4);
        self.linear(large, 16 * GIB, 2 * GIB);
        // Pages in the middle: a gigapage is split, and a 2 MiB page of what it is split into.
        assert!(self.unmap(large + MIB2 + KIB4, 3 * KIB4) >= 2);
        // Two adjacent large pages are split.
        assert!(self.unmap(large + 4 * MIB2 + KIB4, 2 * MIB2) >= 2);
        // The range ends in the next gigapage, which is not split yet.
        let split_before = usize::from(splits_may_stay::<M>());
        assert!(self.unmap(large + GIB - MIB2 - KIB4, MIB2 + 2 * KIB4) >= 3 - split_before);
        self.linear(base + MIB2, 32 * GIB + MIB2, 8 * MIB2);
        assert!(self.protect(base + 2 * MIB2 + KIB4, 3 * MIB2, RO) >= 2);
        assert_eq!(self.protect(base + 2 * MIB2 + KIB4, 3 * MIB2, RW), 0);
    }

    /// Maps areas with allocated frames, faults pages in, and cuts the areas.
    fn change_allocated_areas(&mut self) {
        let base = M::base();
        let edge = base + GIB;
        // The populated pages cross the end of a table. Their frames are allocated in runs, at
        // least one for each table.
        let populated = base + GIB / 2;
        assert!(self.alloc(populated - 10 * KIB4, 20 * KIB4, true) >= 3);
        assert!(self.alloc(edge - 80 * KIB4, 70 * KIB4, true) >= 1);
        self.protect(populated - 3 * KIB4, 6 * KIB4, NONE);
        self.protect(populated - KIB4, 2 * KIB4, RX);
        self.unmap(populated - 2 * KIB4, 3 * KIB4);
        self.unmap(edge - 40 * KIB4, KIB4);
        let lazy = base + GIB / 4;
        self.alloc(lazy - 10 * KIB4, 20 * KIB4, false);
        assert!(self.fault(lazy - KIB4) >= 2);
        assert!(self.fault(lazy) >= 2);
        assert_eq!(self.fault(lazy - 2 * KIB4), 1);
        self.protect(lazy - 2 * KIB4, 4 * KIB4, RO);
        self.unmap(lazy - 4 * KIB4, 8 * KIB4);

        // The pages share a table, which does not exist yet, with pages that may be faulted in.
        let beside = base + 100 * MIB2;
        self.alloc(beside + 8 * KIB4, KIB4, false);
        assert!(self.alloc(beside + 2 * KIB4, 3 * KIB4, true) >= 2);

        // The range covers several areas, and cuts the first and the last.
        assert!(self.unmap(lazy + 8 * KIB4, populated - lazy - 10 * KIB4) <= 1);
    }

    /// Makes and cuts enough areas that each kind of cut allocates from the heap.
    fn cut_many_areas(&mut self) {
        let mut failed = 0;
        for number in 0..40 {
            let start = M::base() + 200 * MIB2 + number * 16 * KIB4;
            self.linear(start, 64 * GIB, 9 * KIB4);
            failed += self.unmap(start + KIB4, KIB4);
            failed += self.protect(start + 3 * KIB4, 2 * KIB4, RO);
            failed += self.protect(start + 6 * KIB4, 3 * KIB4, RO);
        }
        assert!(failed >= 2, "only {failed} cuts allocated from the heap");
    }
}

on_every_machine!(
    a_failed_operation_changes_nothing,
    a_failed_operation_on_one_of_several_harts_changes_nothing
);
