//! Each allocation of each operation fails in turn, of frames and of the heap, and
//! the operation leaves no trace.

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

/// The machine `R` with several harts, of which the first does everything.
struct Several<R>(PhantomData<R>);

// SAFETY: the test uses it on one thread, which is one hart.
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
        // SAFETY: the caller's promise.
        unsafe { R::copy(from, to, len) }
    }

    fn relax(_: usize) {
        unreachable!("no other hart does anything to wait for");
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

/// All that can be seen of an address space.
#[derive(Debug, PartialEq)]
struct State {
    areas: Vec<(usize, usize, MappingFlags, String)>,
    raw: Raw,
    usage: Usage,
}

fn state<M: TestMachine>(aspace: &AddrSpace<M>) -> State {
    let areas = aspace.areas().map(|area| {
        let what = format!("{} {:?}", area.name(), area.backing());
        (area.span().start, area.span().end, area.flags(), what)
    });
    State {
        areas: areas.collect(),
        raw: M::walk(aspace).unwrap(),
        usage: usage(),
    }
}

impl State {
    /// Whether all is as `before`.
    fn is_as<M: TestMachine>(&self, before: &Self) -> bool {
        match splits_may_stay::<M>() && self.areas == before.areas {
            true => translations(&self.raw) == translations(&before.raw),
            false => self == before,
        }
    }
}

/// Whether an operation of this test that fails may leave large pages split: where it lies
/// in several shards, one of which had been prepared. With Sv39 each gigapage is in a shard
/// of its own.
fn splits_may_stay<M: TestMachine>() -> bool {
    M::harts() > 1 && M::Raw::LEVELS == 3
}

/// The pages, with those in a row as one.
fn translations(raw: &Raw) -> Vec<RawPage> {
    let mut rows: Vec<RawPage> = Vec::new();
    for page in &raw.pages {
        match rows.last_mut() {
            Some(row)
                if row.rights == page.rights
                    && row.vaddr + row.size == page.vaddr
                    && row.paddr + row.size == page.paddr =>
            {
                row.size += page.size;
            }
            _ => rows.push(*page),
        }
    }
    rows
}

struct Sweep<M: TestMachine> {
    aspace: AddrSpace<M>,
    failed: usize,
}

impl<M: TestMachine> Sweep<M> {
    /// Lets each allocation of `operation` and all behind it fail, until it succeeds. Answers how
    /// many have.
    fn go(&mut self, name: &str, operation: impl Fn(&mut AddrSpace<M>) -> AxResult) -> usize {
        let before = state(&self.aspace);
        for n in 1.. {
            let armed = fail_from(n);
            let result = operation(&mut self.aspace);
            // With several harts an operation also asks for room that it can do without.
            if !armed.has_fired() || M::harts() > 1 && result.is_ok() {
                assert_eq!(result, Ok(()), "{name}");
                self.failed += n - 1;
                return n - 1;
            }
            assert_eq!(result, Err(AxError::NoMemory), "{name}: the {n}th");
            let after = state(&self.aspace);
            assert!(after.is_as::<M>(&before), "{name}: after the {n}th");
        }
        unreachable!("there are not so many allocations");
    }

    fn linear(&mut self, start: usize, paddr: usize, size: usize) -> usize {
        self.go("map_linear", |aspace| {
            aspace.map_physical(virt(start), phys(paddr), size, RW)
        })
    }

    fn alloc(&mut self, start: usize, size: usize, populate: bool) -> usize {
        self.go("map_alloc", |aspace| {
            aspace.map_alloc(virt(start), size, RW, populate)
        })
    }

    fn unmap(&mut self, start: usize, size: usize) -> usize {
        self.go("unmap", |aspace| aspace.unmap(virt(start), size))
    }

    fn protect(&mut self, start: usize, size: usize, flags: MappingFlags) -> usize {
        self.go("protect", |aspace| aspace.protect(virt(start), size, flags))
    }

    fn fault(&mut self, addr: usize) -> usize {
        self.go("fault", |aspace| Ok(aspace.fault(virt(addr), RO)?))
    }
}

fn new_space<M: TestMachine>() -> Sweep<M> {
    let before = usage();
    for n in 1.. {
        let armed = fail_from(n);
        let aspace = AddrSpace::<M>::new_empty(virt(M::base()), 4 * GIB);
        if !armed.has_fired() {
            // With several harts also the list of shards, and the first one's hart states.
            let wanted = if M::harts() == 1 { 1 } else { 3 };
            assert_eq!(n - 1, wanted, "allocations of an empty address space");
            let aspace = aspace.unwrap();
            return Sweep { aspace, failed: 0 };
        }
        assert_eq!(aspace.err(), Some(AxError::NoMemory));
        assert_eq!(usage(), before);
    }
    unreachable!("there are not so many allocations");
}

fn on_one_of_several_harts<M: TestMachine + 'static>() {
    an_operation_that_fails_has_changed_nothing::<Several<M>>();
}

fn an_operation_that_fails_has_changed_nothing<M: TestMachine>() {
    let _alone = alone();
    let before = usage();
    let mut sweep = new_space::<M>();
    let base = M::base();
    let (edge, large) = (base + GIB, base + 2 * GIB);

    // Around the end of a table of every level.
    assert!(sweep.linear(edge - 3 * KIB4, 8 * GIB + KIB4, 6 * KIB4) >= 4);
    sweep.linear(large, 16 * GIB, 2 * GIB);
    // Out of the middle: a gigapage, and a page of what it is split into.
    assert!(sweep.unmap(large + MIB2 + KIB4, 3 * KIB4) >= 2);
    // Two that are next to each other.
    assert!(sweep.unmap(large + 4 * MIB2 + KIB4, 2 * MIB2) >= 2);
    // From one gigapage into the next, which is not split yet.
    let split_before = usize::from(splits_may_stay::<M>());
    assert!(sweep.unmap(large + GIB - MIB2 - KIB4, MIB2 + 2 * KIB4) >= 3 - split_before);
    sweep.linear(base + MIB2, 32 * GIB + MIB2, 8 * MIB2);
    assert!(sweep.protect(base + 2 * MIB2 + KIB4, 3 * MIB2, RO) >= 2);
    assert_eq!(sweep.protect(base + 2 * MIB2 + KIB4, 3 * MIB2, RW), 0);

    // Pages of its own, across tables.
    let own = base + GIB / 2;
    // Frames come in runs, one at least for each table.
    assert!(sweep.alloc(own - 10 * KIB4, 20 * KIB4, true) >= 3);
    assert!(sweep.alloc(edge - 80 * KIB4, 70 * KIB4, true) >= 1);
    sweep.protect(own - 3 * KIB4, 6 * KIB4, NONE);
    sweep.protect(own - KIB4, 2 * KIB4, RX);
    sweep.unmap(own - 2 * KIB4, 3 * KIB4);
    sweep.unmap(edge - 40 * KIB4, KIB4);
    let lazy = base + GIB / 4;
    sweep.alloc(lazy - 10 * KIB4, 20 * KIB4, false);
    assert!(sweep.fault(lazy - KIB4) >= 2);
    assert!(sweep.fault(lazy) >= 2);
    assert_eq!(sweep.fault(lazy - 2 * KIB4), 1);
    sweep.protect(lazy - 2 * KIB4, 4 * KIB4, RO);
    sweep.unmap(lazy - 4 * KIB4, 8 * KIB4);

    // Beside pages that may be faulted in, in a table that there is not yet.
    let beside = base + 100 * MIB2;
    sweep.alloc(beside + 8 * KIB4, KIB4, false);
    assert!(sweep.alloc(beside + 2 * KIB4, 3 * KIB4, true) >= 2);

    // Over several areas, cutting the first and the last.
    assert!(sweep.unmap(lazy + 8 * KIB4, own - lazy - 10 * KIB4) <= 1);

    // So many areas that each way to get one asks the heap for room once.
    let mut cut = 0;
    for number in 0..40 {
        let start = base + 200 * MIB2 + number * 16 * KIB4;
        sweep.linear(start, 64 * GIB, 9 * KIB4);
        cut += sweep.unmap(start + KIB4, KIB4);
        cut += sweep.protect(start + 3 * KIB4, 2 * KIB4, RO);
        cut += sweep.protect(start + 6 * KIB4, 3 * KIB4, RO);
    }
    assert!(cut >= 2, "no cut asked the heap");
    assert!(sweep.failed >= 50, "only {} failed", sweep.failed);

    assert_eq!(sweep.go("clear", |space| space.clear()), 0);
    drop(sweep);
    assert_eq!(usage(), before);
}

on_every_machine!(
    an_operation_that_fails_has_changed_nothing,
    on_one_of_several_harts
);
