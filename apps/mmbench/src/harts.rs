//! The rows of shootdowns: the flush requests and interrupts that one operation of the first hart
//! sends to other harts.
//!
//! | address space | other harts that must flush |
//! |---|---|
//! | `kernel` | all, since every hart is in it |
//! | `nobody` | 0: a user's, which only the first hart has entered |
//! | `one` | 1: a user's, which one other hart is in |
//!
//! Each operation is done several times, and the largest numbers count. Pages are touched before
//! an operation that must flush them. Requests are counted as in `axstd::memory::tlb`. Interrupts
//! are counted per other hart, rounded up.

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

use crate::joint_flushes;
use crate::table::Table;

const PAGE: usize = 4096;
const GIB: usize = 1 << 30;
const RO: MappingFlags = MappingFlags::READ;
const RW: MappingFlags = RO.union(MappingFlags::WRITE);

/// How many times an operation is done.
const ROUNDS: usize = 4;

/// The hart that is in the address space besides the first.
const OTHER: usize = 1;

/// The pages that an operation touches.
#[derive(Clone, Copy)]
struct Pages {
    count: usize,
    /// Only every second page is touched, in an order that gives contiguous frames to pages that
    /// are far apart.
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

/// The distance between two scattered pages that are touched one after the other. It is odd, so
/// that each of a power-of-two number of pages is touched once.
const STRIDE: usize = 1031;

/// Adds all rows, which need two harts or more.
pub fn run(table: &mut Table) {
    if harts::online() < 2 {
        return table.fail("asked", "needs 2 harts or more");
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
    if !with_other_inside(&one, || rows(table, "one", 1, &one, USER_BASE)) {
        table.fail("asked.one", "the address space cannot be entered");
    }
    joint_flushes::run(table);
}

/// Runs `work` on the first hart while this hart and [`OTHER`] are in `space`. Returns whether both
/// could enter it.
fn with_other_inside(space: &SharedAspace, work: impl FnMut() + Send) -> bool {
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

/// Waits until `condition` is true.
pub fn wait_for(condition: impl Fn() -> bool) {
    while !condition() {
        spin_loop();
    }
}

/// Adds the rows of one address space, which `others` other harts are in.
fn rows(table: &mut Table, name: &str, others: usize, space: &AddrSpace, start: usize) {
    for pages in PAGES {
        let place = place(start, pages);
        let mut row = |operation: &str, counts: Counts| {
            counts.add(
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

/// Returns the addresses of the pages, and of the untouched ones between them.
fn place(start: usize, pages: Pages) -> Range<usize> {
    start..start + pages.count * pages.apart() * PAGE
}

impl Pages {
    /// Returns the distance, in pages, from one touched page to the next.
    fn apart(self) -> usize {
        1 + usize::from(self.scattered)
    }

    fn touch(self, place: Range<usize>) {
        let stride = if self.scattered { STRIDE } else { 1 };
        for turn in 0..self.count {
            let page = place.start + turn * stride % self.count * self.apart() * PAGE;
            let byte = core::ptr::with_exposed_provenance_mut::<u8>(page);
            // SAFETY: `operations` has mapped the page readable and writable, and only this hart
            // uses it.
            unsafe { byte.write_volatile(1) };
        }
    }
}

/// Maps and touches the pages, makes them read-only, makes them writable again, and unmaps them.
/// Returns the largest counts of each of these operations.
fn operations(space: &AddrSpace, place: Range<usize>, pages: Pages) -> AxResult<[Counts; 4]> {
    let (start, size) = (place.start.into(), place.len());
    let mut most = [Counts::default(); 4];
    for _ in 0..ROUNDS {
        let round = [
            Counts::by(|| {
                space.map_alloc(start, size, RW, false)?;
                pages.touch(place.clone());
                Ok(())
            })?,
            Counts::by(|| space.protect(start, size, RO))?,
            Counts::by(|| space.protect(start, size, RW))?,
            Counts::by(|| space.unmap(start, size))?,
        ];
        most = core::array::from_fn(|index| most[index].max(round[index]));
    }
    Ok(most)
}

/// The counts of one operation: flush requests sent and carried out, and interrupts.
#[derive(Clone, Copy, Default)]
pub struct Counts {
    requests: u64,
    carried_out: u64,
    interrupts: u64,
}

impl Counts {
    /// Performs `operation`, and returns its counts.
    pub fn by(operation: impl FnOnce() -> AxResult) -> AxResult<Self> {
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

    /// Adds the rows of these counts, which `others` other harts share.
    pub fn add(self, table: &mut Table, row: &str, others: usize) {
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
