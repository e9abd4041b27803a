//! Entries of a page table: words that harts, and the hardware that walks the table for
//! them, read and write at the same time.

use core::mem;
use core::sync::atomic::{AtomicU64, Ordering, fence};

use memory_addr::{PAGE_SIZE_4K, PhysAddr};
use page_table_multiarch::{GenericPTE, MappingFlags};

use super::LEVEL_BITS;
use crate::atomic::CONSUME;

/// What an entry says.
#[derive(Clone, Copy, Debug)]
pub enum Slot {
    /// Nothing is mapped.
    Absent,
    /// It leads to a table of the next level.
    Table(PhysAddr),
    /// It maps a page of its level's size.
    Page(PhysAddr, MappingFlags),
}

/// Reads the entry `entry` of a table, whose address part the caller does not follow.
///
/// # Safety
///
/// It is in a table.
#[inline(always)]
unsafe fn load<E: GenericPTE>(entry: *mut E) -> u64 {
    // SAFETY: the caller's promise; entries are words (`value`), aligned as such.
    unsafe { AtomicU64::from_ptr(entry.cast()) }.load(Ordering::Relaxed)
}

/// Reads the entry `entry` of a table, whose table or page the caller may read next. The
/// partner is the Release of whoever wrote the entry: it comes after the filling of that table
/// or page.
///
/// # Safety
///
/// It is in a table.
#[inline(always)]
unsafe fn follow<E: GenericPTE>(entry: *mut E) -> u64 {
    // SAFETY: the caller's promise; entries are words (`value`), aligned as such.
    unsafe { AtomicU64::from_ptr(entry.cast()) }.load(CONSUME)
}

/// Writes the entry `entry` of a table.
///
/// # Safety
///
/// It is in a table that the caller may write.
#[inline(always)]
unsafe fn store<E: GenericPTE>(entry: *mut E, bits: u64) {
    // SAFETY: as in `load`.
    unsafe { AtomicU64::from_ptr(entry.cast()) }.store(bits, Ordering::Relaxed);
}

/// A word as an entry.
#[inline(always)]
fn value<E: GenericPTE>(bits: u64) -> E {
    const {
        assert!(size_of::<E>() == size_of::<u64>() && align_of::<E>() == align_of::<u64>());
    };
    // SAFETY: every format has one field, a word of any bits, and nothing else has room.
    unsafe { mem::transmute_copy(&bits) }
}

/// Reads an entry of `level`; 0 is the lowest.
#[inline(always)]
pub fn read<E: GenericPTE>(entry: *mut E, level: usize) -> Slot {
    // SAFETY: the walker derives `entry` from a table it owns.
    let value = value::<E>(unsafe { follow(entry) });
    if value.is_unused() {
        Slot::Absent
    } else if level == 0 || value.is_huge() {
        let flags = match value.is_present() {
            true => value.flags(),
            false => MappingFlags::empty(),
        };
        Slot::Page(value.paddr(), flags)
    } else {
        Slot::Table(value.paddr())
    }
}

/// What [`read`] says of a page of `level` that was written with `flags`: not every
/// format has all of them.
pub fn readable<E: GenericPTE>(flags: MappingFlags, level: usize) -> MappingFlags {
    match flags.is_empty() {
        true => flags,
        false => page::<E>(level, flags).flags(),
    }
}

/// Writes an entry that leads to a table.
pub fn write_table<E: GenericPTE>(entry: *mut E, table: PhysAddr) {
    // The table's entries are seen by whoever sees this one.
    fence(Ordering::Release);
    // SAFETY: as in `read`.
    unsafe { store(entry, E::new_table(table).bits() as u64) };
}

/// Writes an entry that leads to a table, if it is absent. Answers whether it was.
pub fn add_table<E: GenericPTE>(entry: *mut E, table: PhysAddr) -> bool {
    // SAFETY: as in `read`.
    unsafe { add(entry, E::new_table(table).bits() as u64) }
}

/// Writes an entry of `level` for a page, with the bits `mark` beside, if it is absent.
/// Answers whether it was.
#[inline(always)]
pub fn add_page<E: GenericPTE>(
    entry: *mut E,
    level: usize,
    paddr: PhysAddr,
    flags: MappingFlags,
    mark: u64,
) -> bool {
    let mut value = page::<E>(level, flags);
    value.set_paddr(paddr);
    // SAFETY: as in `read`.
    unsafe { add(entry, value.bits() as u64 | mark) }
}

/// Writes an entry if it is absent. What it leads to, fresh zeroes perhaps, is seen by
/// whoever sees it.
///
/// # Safety
///
/// It is in a table that the caller may write.
#[inline(always)]
unsafe fn add<E: GenericPTE>(entry: *mut E, bits: u64) -> bool {
    // SAFETY: as in `load`.
    let entry = unsafe { AtomicU64::from_ptr(entry.cast()) };
    let added = entry.compare_exchange(0, bits, Ordering::Release, Ordering::Relaxed);
    added.is_ok()
}

/// Makes an entry absent.
pub fn clear<E: GenericPTE>(entry: *mut E) {
    // SAFETY: as in `read`.
    unsafe { store(entry, 0) };
}

/// Writes `count` entries of `level` from `first` on, for pages in a row that
/// begin at `paddr`, with the bits `mark` beside.
///
/// # Safety
///
/// The entries are in a table that the caller may write.
#[inline(always)]
pub unsafe fn write_pages<E: GenericPTE>(
    first: *mut E,
    count: usize,
    level: usize,
    paddr: PhysAddr,
    flags: MappingFlags,
    mark: u64,
) {
    let mut value = page::<E>(level, flags);
    // What the pages hold, fresh zeroes perhaps, is seen by whoever sees an entry.
    fence(Ordering::Release);
    for index in 0..count {
        value.set_paddr(paddr + index * (PAGE_SIZE_4K << (LEVEL_BITS * level)));
        // SAFETY: the caller's promise.
        unsafe { store(first.add(index), value.bits() as u64 | mark) };
    }
}

/// Copies `count` entries.
///
/// # Safety
///
/// As for [`write_pages`], and the others are in a table, too.
pub unsafe fn copy<E: GenericPTE>(from: *mut E, to: *mut E, count: usize) {
    // SAFETY: the caller's promise.
    let copy = |index: usize| unsafe { store(to.add(index), follow(from.add(index))) };
    in_runs::<32>(count, copy);
}

/// Calls `f` for the numbers below `count`, `N` at a time: counting them would be a
/// good part of a short loop.
#[inline(always)]
fn in_runs<const N: usize>(count: usize, mut f: impl FnMut(usize)) {
    for run in 0..count / N {
        (N * run..N * run + N).for_each(&mut f);
    }
    (count / N * N..count).for_each(&mut f);
}

/// How many of `count` entries from `first` on are absent before the first that
/// is not.
///
/// # Safety
///
/// The entries are in a table.
#[inline(always)]
pub unsafe fn absent<E: GenericPTE>(first: *mut E, count: usize) -> usize {
    // SAFETY: the caller's promise.
    let bits = |index: usize| unsafe { load(first.add(index)) };
    let mut done = 0;
    while done + 8 <= count && (done..done + 8).fold(0, |all, index| all | bits(index)) == 0 {
        done += 8;
    }
    done + (done..count).take_while(|index| bits(*index) == 0).count()
}

/// Makes the first of `count` entries of the lowest level absent, and those behind it
/// as long as their pages have frames in a row. Answers the first frame, and how many
/// entries that were; `None`, and how many were absent already, if the first was.
///
/// # Safety
///
/// As for [`write_pages`].
#[inline(always)]
pub unsafe fn clear_row<E: GenericPTE>(first: *mut E, count: usize) -> (Option<PhysAddr>, usize) {
    // SAFETY: the caller's promise.
    let gap = unsafe { absent(first, count) };
    if gap > 0 {
        return (None, gap);
    }
    let (mask, step) = (address::<E>(), frame_step::<E>());
    let entry = |index| first.wrapping_add(index);
    // SAFETY: the caller's promise.
    unsafe {
        let bits = load(first);
        let mut address = bits & mask;
        let mut cleared = 0;
        loop {
            store(entry(cleared), 0);
            cleared += 1;
            address += step;
            if cleared == count || load(entry(cleared)) & mask != address {
                return (Some(value::<E>(bits).paddr()), cleared);
            }
        }
    }
}

/// Gives the pages among `count` entries of the lowest level from `first` on the
/// rights `flags` and the bits `mark`. Answers whether any entry is another now.
///
/// # Safety
///
/// As for [`write_pages`].
#[inline(always)]
pub unsafe fn protect_pages<E: GenericPTE>(
    first: *mut E,
    count: usize,
    flags: MappingFlags,
    mark: u64,
) -> bool {
    let rights = page::<E>(0, flags).bits() as u64 | mark;
    let mut changed = 0;
    in_runs::<8>(count, |index: usize| {
        // SAFETY: the caller's promise.
        unsafe {
            let entry = first.add(index);
            let before = load(entry);
            if before != 0 {
                let after = before & address::<E>() | rights;
                // Relaxed: the page was filled before the entry was first written. Whoever
                // reads the page through the new entry does so after the caller's range lock.
                store(entry, after);
                changed |= before ^ after;
            }
        }
    });
    changed != 0
}

/// The bits of an entry that are its page's address.
#[inline(always)]
fn address<E: GenericPTE>() -> u64 {
    let mut value = cleared::<E>();
    value.set_paddr(PhysAddr::from_usize(usize::MAX));
    value.bits() as u64
}

/// What the addresses in the entries of two pages differ by whose frames are
/// neighbours.
#[inline(always)]
fn frame_step<E: GenericPTE>() -> u64 {
    let mut value = cleared::<E>();
    value.set_paddr(PhysAddr::from_usize(PAGE_SIZE_4K));
    value.bits() as u64 & address::<E>()
}

/// An entry of `level` for a page with the rights `flags`, but for its address.
#[inline(always)]
fn page<E: GenericPTE>(level: usize, flags: MappingFlags) -> E {
    // Formats have no constructor for what is not present.
    match flags.is_empty() {
        true => cleared(),
        false => E::new_page(PhysAddr::from_usize(0), flags, level > 0),
    }
}

#[inline(always)]
fn cleared<E: GenericPTE>() -> E {
    value(0)
}
