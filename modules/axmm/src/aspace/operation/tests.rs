//! Operations on a machine of one hart: when interrupts come in, and what handlers may do.

use std::cell::Cell;
use std::ops::Range;

use memory_addr::{PAGE_SIZE_4K, VirtAddr};
use page_table_multiarch::MappingFlags;

use super::*;
use crate::by_turns::{FourHarts, RECLAIMS};
use crate::machine::ThisMachine;
use crate::{Fault, test_memory};

/// The machine.
struct Only;

/// Interrupts are out.
struct Pinned;

std::thread_local! {
    /// How many [`Pinned`] there are.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// How often interrupts have come in.
    static TIMES: Cell<usize> = const { Cell::new(0) };
}

impl Drop for Pinned {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
        if DEPTH.get() == 0 {
            TIMES.set(TIMES.get() + 1);
        }
    }
}

// SAFETY: each test uses it on one thread, which is one hart.
unsafe impl Machine for Only {
    crate::page_tables_of!(ThisMachine);

    type IrqGuard = Pinned;
    type PreemptGuard = ();

    fn publish_entries() {}

    fn flush(_: u64, _: Range<usize>) {}

    fn flush_local(_: Range<usize>) {}

    fn disable_irqs() -> Pinned {
        DEPTH.set(DEPTH.get() + 1);
        Pinned
    }

    fn disable_preemption() {}

    fn harts() -> usize {
        1
    }

    fn hart() -> usize {
        0
    }

    fn relax(_: usize) {
        unreachable!("no other hart does anything to wait for");
    }
}

const PAGE: usize = PAGE_SIZE_4K;
const BASE: usize = 1 << 30;
const READ: MappingFlags = MappingFlags::READ;
const RW: MappingFlags = READ.union(MappingFlags::WRITE);

fn page(number: usize) -> VirtAddr {
    VirtAddr::from_usize(BASE + number * PAGE)
}

fn space() -> AddrSpace<Only> {
    test_memory::add_once();
    AddrSpace::new_empty(page(0), 1 << 30).unwrap()
}

/// An operation on the first `pages` pages.
fn begin(space: &AddrSpace<Only>, pages: usize) -> WriteGuard<'_, Only> {
    let shard = space.shards.get(0).unwrap();
    let range = VirtAddrRange::from_start_size(page(0), pages * PAGE);
    WriteGuard::begun(space, shard, range).unwrap()
}

#[test]
fn an_operation_on_at_most_64_pages_keeps_interrupts_out() {
    let space = space();
    for (pages, keeps) in [(1, true), (64, true), (65, false)] {
        let size = pages * PAGE;
        let operations: [(&str, &dyn Fn() -> AxResult); 3] = [
            ("map", &|| space.map_alloc(page(0), size, READ, true)),
            ("protect", &|| space.protect(page(0), size, RW)),
            ("unmap", &|| space.unmap(page(0), size)),
        ];
        for (name, operation) in operations {
            TIMES.set(0);
            operation().unwrap();
            let times = TIMES.get();
            assert_eq!(times == 1, keeps, "{name} of {pages} pages: {times}");
        }
    }
}

#[test]
fn areas_are_looked_at_64_at_a_time() {
    for (areas, pages, times) in [
        (1, 99, 0),
        (64, 65, 1),
        (66, 66, 1),
        (128, 128, 1),
        (130, 130, 2),
    ] {
        let space = space();
        for number in 0..areas {
            let rights = [READ, RW][number % 2];
            space.map_alloc(page(number), PAGE, rights, false).unwrap();
        }
        let mut guard = begin(&space, pages);
        TIMES.set(0);
        let mut seen = 0;
        let all = guard.all_areas(|area| {
            assert_eq!(area.start().as_usize(), page(seen).as_usize());
            seen += 1;
            true
        });
        assert_eq!((all, seen, TIMES.get()), (true, areas, times));
    }
}

#[test]
fn an_interrupt_handler_is_refused_what_its_hart_is_changing() {
    let space = space();
    space.map_alloc(page(0), 70 * PAGE, RW, false).unwrap();
    let mut guard = begin(&space, 65);
    guard.lock_range();
    guard.unlocked(|_| {
        assert_eq!(space.fault(page(64), RW), Err(Fault::Nested));
        assert_eq!(space.fault(page(65), RW), Ok(()));
        assert_eq!(space.unmap(page(0), PAGE), Err(AxError::ResourceBusy));
    });
    drop(guard);
    assert_eq!(space.fault(page(64), RW), Ok(()));
}

#[test]
fn work_that_lacks_memory_is_done_again_as_long_as_other_modules_free_some() {
    for (reclaims, tries_needed) in [(2, 3), (5, 3), (0, 1)] {
        RECLAIMS.set(reclaims);
        let tries = Cell::new(0);
        let result = with_memory::<FourHarts, _>(|| {
            tries.set(tries.get() + 1);
            match tries.get() == tries_needed {
                true => Ok(()),
                false => Err(AxError::NoMemory),
            }
        });
        assert_eq!(result, Ok(()), "{reclaims}");
        assert_eq!(tries.get(), tries_needed);
    }
    RECLAIMS.set(1);
    let result: AxResult = with_memory::<FourHarts, _>(|| Err(AxError::NoMemory));
    assert_eq!(result, Err(AxError::NoMemory));
}
