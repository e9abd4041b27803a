//! Rows of whom a change of an address space disturbs: what the first hart asks the
//! others to forget, and by how many interrupts, in one operation.
//!
//! | address space | others that are asked |
//! |---|---|
//! | `kernel` | all: every hart is in it |
//! | `nobody` | none: a user's, and the first hart alone has ever been in it |
//! | `one` | one: a user's that one other hart is in |
//!
//! An operation is done several times, and the time it disturbed the others most counts.
//! Where it ought to disturb somebody, the page has been touched. Requests are counted as
//! `axstd::memory::tlb` does; interrupts are those of one other hart, rounded up.

use alloc::format;
use core::hint::spin_loop;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};

use axstd::harts;
use axstd::memory::tlb::counters;
use axstd::memory::{
    AddrSpace, AxResult, KERNEL_MAP_BASE, MappingFlags, SharedAspace, USER_BASE, kernel_aspace,
    new_user_aspace,
};

use crate::table::Table;

const PAGE: usize = 4096;
const GIB: usize = 1 << 30;
const RO: MappingFlags = MappingFlags::READ;
const RW: MappingFlags = RO.union(MappingFlags::WRITE);

/// Times that an operation is done.
const ROUNDS: usize = 4;

/// The hart that is in the address space beside the first.
const OTHER: usize = 1;

/// Pages that are touched, and how.
#[derive(Clone, Copy)]
struct Pages {
    count: usize,
    /// Every other page alone is touched, in an order in which no two frames that lie
    /// side by side get to pages that do.
    scattered: bool,
}

const PAGES: [Pages; 3] = [
    Pages {
        count: 1,
        scattered: false,
    },
    Pages {
        count: 64,
        scattered: false,
    },
    Pages {
        count: 4096,
        scattered: true,
    },
];

/// What a scattered page's number is multiplied by for the next to be touched: odd, so that
/// each comes once in a power of two.
const STRIDE: usize = 1031;

/// All rows: on a machine of one hart there is nobody to disturb.
pub fn run(table: &mut Table) {
    if harts::online() < 2 {
        return table.fail("asked", "one hart alone asks nobody");
    }
    let others = harts::online() - 1;
    rows(table, "kernel", others, kernel_aspace(), KERNEL_MAP_BASE);
    let user = || new_user_aspace(USER_BASE.into(), GIB).map(SharedAspace::new);
    let (Ok(nobody), Ok(one)) = (user(), user()) else {
        return table.fail("asked", "out of memory");
    };
    if nobody
        .run(|| rows(table, "nobody", others, &nobody, USER_BASE))
        .is_err()
    {
        table.fail("asked.nobody", "the address space cannot be entered");
    }
    if !beside_another(&one, || rows(table, "one", 1, &one, USER_BASE)) {
        table.fail("asked.one", "the address space cannot be entered");
    }
}

/// Does `work` on this hart, the first, in a user's address space that [`OTHER`] is in, too.
/// Whether both could enter it.
fn beside_another(space: &SharedAspace, work: impl FnMut() + Send) -> bool {
    let (inside, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let failed = AtomicBool::new(false);
    let work = spin::Mutex::new(work);
    let ran = harts::run_on_all(|hart| {
        let entered = match hart {
            0 => space.run(|| {
                wait_for(|| inside.load(Ordering::Acquire) || failed.load(Ordering::Acquire));
                (work.lock())();
            }),
            OTHER => space.run(|| {
                inside.store(true, Ordering::Release);
                wait_for(|| done.load(Ordering::Acquire));
            }),
            _ => Ok(()),
        };
        failed.fetch_or(entered.is_err(), Ordering::AcqRel);
        if hart == 0 {
            done.store(true, Ordering::Release);
        }
    });
    ran.is_ok() && !failed.into_inner()
}

fn wait_for(condition: impl Fn() -> bool) {
    while !condition() {
        spin_loop();
    }
}

/// The rows of one address space, in which `others` harts are beside this one.
fn rows(table: &mut Table, name: &str, others: usize, space: &AddrSpace, start: usize) {
    for pages in PAGES {
        let place = place(start, pages);
        let mut row = |operation: &str, of: Disturbed| {
            of.add(
                table,
                &format!("asked.{name}.{operation}.{}", pages.count),
                others,
            );
        };
        match operations(space, place, pages) {
            Ok([map, narrow, widen, unmap]) => {
                row("map_touch", map);
                row("protect", narrow);
                row("widen", widen);
                row("unmap", unmap);
            }
            Err(error) => table.fail(&format!("asked.{name}"), &format!("{error:?}")),
        }
    }
}

/// Where the pages lie.
fn place(start: usize, pages: Pages) -> Range<usize> {
    start..start + pages.count * pages.apart() * PAGE
}

impl Pages {
    /// From one touched page to the next.
    fn apart(self) -> usize {
        1 + usize::from(self.scattered)
    }

    fn touch(self, place: Range<usize>) {
        let stride = if self.scattered { STRIDE } else { 1 };
        for turn in 0..self.count {
            let page = place.start + turn * stride % self.count * self.apart() * PAGE;
            let byte = core::ptr::with_exposed_provenance_mut::<u8>(page);
            // SAFETY: the page is mapped for this load alone, readable and writable.
            unsafe { byte.write_volatile(1) };
        }
    }
}

/// Maps and touches, takes the right to write, gives it back, and unmaps: what each
/// disturbs at most.
fn operations(space: &AddrSpace, place: Range<usize>, pages: Pages) -> AxResult<[Disturbed; 4]> {
    let (start, size) = (place.start.into(), place.len());
    let mut most = [Disturbed::default(); 4];
    for _ in 0..ROUNDS {
        let round = [
            Disturbed::by(|| {
                space.map_alloc(start, size, RW, false)?;
                pages.touch(place.clone());
                Ok(())
            })?,
            Disturbed::by(|| space.protect(start, size, RO))?,
            Disturbed::by(|| space.protect(start, size, RW))?,
            Disturbed::by(|| space.unmap(start, size))?,
        ];
        most = core::array::from_fn(|index| most[index].max(round[index]));
    }
    Ok(most)
}

/// What an operation has asked of others.
#[derive(Clone, Copy, Default)]
struct Disturbed {
    requests: u64,
    carried_out: u64,
    interrupts: u64,
}

impl Disturbed {
    fn by(operation: impl FnOnce() -> AxResult) -> AxResult<Self> {
        let before = counters();
        operation()?;
        let after = counters();
        Ok(Self {
            requests: after.requests - before.requests,
            carried_out: after.carried_out - before.carried_out,
            interrupts: after.interrupts - before.interrupts,
        })
    }

    fn max(self, other: Self) -> Self {
        Self {
            requests: self.requests.max(other.requests),
            carried_out: self.carried_out.max(other.carried_out),
            interrupts: self.interrupts.max(other.interrupts),
        }
    }

    fn add(self, table: &mut Table, row: &str, others: usize) {
        let mut add = |what: &str, value: u64, unit| {
            table.count(&format!("{row}.{what}"), value as usize, unit);
        };
        add("requests", self.requests, "requests");
        add("carried_out", self.carried_out, "requests");
        add(
            "interrupts",
            self.interrupts.div_ceil(others as u64),
            "interrupts",
        );
    }
}
