//! The operations that are interrupted, each with three amounts of memory.
//!
//! A short operation is done many times, and each time the first interrupt is due at another
//! moment. So in one of them an interrupt is due near the begin of the longest section with
//! interrupts off.

use alloc::format;
use core::fmt::{self, Write};
use core::hint::black_box;
use core::ops::Range;

use axstd::memory::{
    AxError, AxResult, KERNEL_MAP_BASE, MappingFlags, USER_BASE, kernel_aspace, new_user_aspace,
    usage,
};
use axstd::os::arceos::modules::axmm::report::listing::{Form, Listing};

use crate::meter::{Meter, PERIOD};
use crate::table::Table;

/// The number of rounds of the empty loop of `irqs_out.idle`.
const IDLE_ROUNDS: usize = 100_000;

const PAGE: usize = 4096;
const GIB: usize = 1 << 30;
const RO: MappingFlags = MappingFlags::READ;
const RW: MappingFlags = RO.union(MappingFlags::WRITE);

/// The amount of memory of an operation.
#[derive(Clone, Copy)]
struct Size {
    name: &'static str,
    bytes: usize,
    /// How many times the operation is done.
    rounds: u64,
}

const SIZES: [Size; 3] = [
    Size {
        name: "4k",
        bytes: PAGE,
        rounds: 40,
    },
    Size {
        name: "2m",
        bytes: 2 << 20,
        rounds: 40,
    },
    Size {
        name: "512m",
        bytes: 512 << 20,
        rounds: 4,
    },
];

/// Does an operation once, with its preparation and its clean-up. Only the part that it passes to
/// the [`Meter`] is interrupted.
type Operation = fn(&mut Meter, Range<usize>) -> AxResult;

const OPERATIONS: [(&str, Operation); 6] = [
    ("populate", populate),
    ("unmap", unmap),
    ("protect", protect),
    ("fault", fault),
    ("drop", drop_user),
    ("listing", list),
];

/// Adds all rows.
pub fn run(table: &mut Table) {
    let mut meter = Meter::new();
    meter.watch(|| (0..IDLE_ROUNDS).for_each(|_| black_box(())));
    table.row("irqs_out.idle", meter.latest);
    for (operation, once) in OPERATIONS {
        for size in SIZES {
            row(
                table,
                &format!("irqs_out.{operation}.{}", size.name),
                once,
                size,
            );
        }
    }
}

fn row(table: &mut Table, name: &str, once: Operation, size: Size) {
    // One sixteenth more is for page tables and for the kernel itself.
    if usage().free * PAGE < size.bytes + size.bytes / 16 {
        return table.skip(name, "the machine has too little memory");
    }
    let mut meter = Meter::new();
    let done = (0..size.rounds).try_for_each(|round| {
        meter.first = PERIOD - round * PERIOD / size.rounds;
        once(&mut meter, KERNEL_MAP_BASE..KERNEL_MAP_BASE + size.bytes)
    });
    match done {
        Ok(()) => table.row(name, meter.latest),
        Err(error) => table.fail(name, &format!("{error:?}")),
    }
}

fn populate(meter: &mut Meter, pages: Range<usize>) -> AxResult {
    meter.watch(|| map(&pages, true))?;
    unmap_all(&pages)
}

fn unmap(meter: &mut Meter, pages: Range<usize>) -> AxResult {
    map(&pages, true)?;
    meter.watch(|| unmap_all(&pages))
}

/// Makes the pages read-only, then writable again.
fn protect(meter: &mut Meter, pages: Range<usize>) -> AxResult {
    map(&pages, true)?;
    let change = |rights| {
        let aspace = kernel_aspace();
        aspace.protect(pages.start.into(), pages.len(), rights)
    };
    let there = meter.watch(|| change(RO));
    let back = meter.watch(|| change(RW));
    unmap_all(&pages)?;
    there.and(back)
}

/// Writes to each page of a lazy mapping.
fn fault(meter: &mut Meter, pages: Range<usize>) -> AxResult {
    map(&pages, false)?;
    meter.watch(|| {
        for page in pages.clone().step_by(PAGE) {
            let byte = core::ptr::with_exposed_provenance_mut::<u8>(page);
            // SAFETY: the page has been mapped above, readable and writable, and only this
            // operation uses it.
            unsafe { byte.write_volatile(1) };
        }
    });
    unmap_all(&pages)
}

/// Drops a user's address space with populated pages.
fn drop_user(meter: &mut Meter, pages: Range<usize>) -> AxResult {
    let aspace = new_user_aspace(USER_BASE.into(), GIB)?;
    aspace.map_alloc(USER_BASE.into(), pages.len(), RW, true)?;
    meter.watch(|| drop(aspace));
    Ok(())
}

/// Lists the kernel's address space, in both forms.
fn list(meter: &mut Meter, pages: Range<usize>) -> AxResult {
    map(&pages, true)?;
    let aspace = kernel_aspace();
    let written = meter.watch(|| {
        [Form::Table, Form::Data]
            .into_iter()
            .try_for_each(|form| write!(Discard, "{}", Listing(aspace, form)))
    });
    unmap_all(&pages)?;
    written.map_err(|_| AxError::Io)
}

/// Discards the characters that are written to it.
struct Discard;

impl Write for Discard {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        black_box(text);
        Ok(())
    }
}

fn map(pages: &Range<usize>, populate: bool) -> AxResult {
    let aspace = kernel_aspace();
    aspace.map_alloc(pages.start.into(), pages.len(), RW, populate)
}

fn unmap_all(pages: &Range<usize>) -> AxResult {
    let aspace = kernel_aspace();
    aspace.unmap(pages.start.into(), pages.len())
}
