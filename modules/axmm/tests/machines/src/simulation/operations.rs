//! Operations that simulated harts perform: map, unmap and protect.

use axmm::{AddrSpace, Grain};
use shuttle::rand::{Rng, thread_rng};

use super::Workload;
use super::machine::Simulated;
use super::overtakes::Kind;
use super::spaces::{Simulation, any_page, rights_in};
use super::world::{this_hart, world};
use crate::{KIB4, RO, RW, RX, TestMachine, UNCACHED, virt};

/// The number of pages of one operation.
const COUNTS: [usize; 8] = [1, 1, 1, 2, 4, 40, 512, 1024];

/// The page that all operations include if the workload is contention.
pub const CONTENDED: usize = 3;

/// The number of pages that a large page translates.
const PAGES_OF_LARGE: usize = 512;

/// Returns the first page of an operation, and the number of pages.
fn any_range() -> (usize, usize) {
    match world().workload {
        Workload::Contention => {
            let first = thread_rng().gen_range(0..=CONTENDED);
            (first, CONTENDED - first + thread_rng().gen_range(1..4))
        }
        _ => {
            let first = any_page();
            (first, COUNTS[thread_rng().gen_range(0..COUNTS.len())])
        }
    }
}

impl<M: TestMachine> Simulation<M> {
    /// Performs `operation` on some pages. It is told their start address and size in bytes.
    fn perform(
        &self,
        space: usize,
        operation: impl FnOnce(&AddrSpace<Simulated<M>>, usize, usize),
    ) {
        let world = world();
        let (first, count) = any_range();
        // An operation that splits a large page changes the translations of all its pages.
        let end = (first + count).next_multiple_of(PAGES_OF_LARGE);
        let changing =
            Self::page(space, first / PAGES_OF_LARGE * PAGES_OF_LARGE)..Self::page(space, end);
        world.changing[space].borrow_mut().push(changing.clone());
        let (start, size) = (Self::page(space, first), count * KIB4);
        let pages = start..start + size;
        let hart = this_hart();
        world.overtakes.begin(hart, space, pages, Kind::Change);
        operation(&self.spaces[space], start, size);
        world.overtakes.end(hart);
        let mut all = world.changing[space].borrow_mut();
        let at = all.iter().position(|other| *other == changing);
        all.swap_remove(at.expect("it was added before the operation"));
    }

    /// Returns a random grain. Large pages are rare, because filling them with zeroes takes
    /// long.
    pub fn any_grain() -> Grain {
        match thread_rng().gen_range(0..64) {
            0 => Grain::Large,
            1..32 => Grain::Around(4),
            _ => Grain::Page,
        }
    }

    /// Maps some pages. That fails if some of them are mapped already.
    pub fn map(&self, space: usize) {
        let flags = match world().workload {
            Workload::Tables | Workload::Contention => [RW, RW, RO][thread_rng().gen_range(0..3)],
            Workload::Code => [RW, RX, UNCACHED][thread_rng().gen_range(0..3)],
            #[cfg(feature = "objects")]
            Workload::Forks | Workload::Objects => RW,
        };
        let grain = Self::any_grain();
        let populate = thread_rng().gen_range(0..3) == 0;
        self.perform(space, |aspace, start, size| {
            let flags = rights_in(space, flags);
            _ = aspace.map_alloc_with(virt(start), size, flags, populate, grain);
        });
    }

    /// Unmaps some pages.
    pub fn unmap(&self, space: usize) {
        self.perform(space, |aspace, start, size| {
            _ = aspace.unmap(virt(start), size);
        });
    }

    /// Changes the rights of some pages. That fails if some of them are not mapped.
    pub fn protect(&self, space: usize) {
        let flags = match world().workload {
            Workload::Tables | Workload::Contention => [RO, RO, RW][thread_rng().gen_range(0..3)],
            Workload::Code => [RO, RW, RX, UNCACHED][thread_rng().gen_range(0..4)],
            #[cfg(feature = "objects")]
            Workload::Forks | Workload::Objects => [RO, RW][thread_rng().gen_range(0..2)],
        };
        self.perform(space, |aspace, start, size| {
            _ = aspace.protect(virt(start), size, rights_in(space, flags));
        });
    }
}
