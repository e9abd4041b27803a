//! The entries of a page table: words that several harts, and the hardware that walks the
//! table, read and write at the same time.

use core::mem;
use core::sync::atomic::{AtomicU64, Ordering, fence};

use memory_addr::{PAGE_SIZE_4K, PhysAddr};
use page_table_multiarch::{GenericPTE, MappingFlags};

use crate::atomic::CONSUME;

/// The number of address bits that one level of the page table resolves.
pub const LEVEL_BITS: usize = 9;
/// The number of entries of a table.
pub const ENTRIES: usize = 1 << LEVEL_BITS;

/// The state of an entry.
#[derive(Clone, Copy, Debug)]
pub enum EntryState {
    /// The entry maps nothing.
    Empty,
    /// The entry leads to a table of the next lower level.
    Table(PhysAddr),
    /// The entry maps a page, of the size that an entry of its level translates.
    Page(PhysAddr, MappingFlags),
}

/// Reads an entry. Relaxed: the caller does not read the table or the page that the entry leads
/// to.
///
/// # Safety
///
/// `entry` points into a table.
#[inline(always)]
unsafe fn load_relaxed<E: GenericPTE>(entry: *mut E) -> u64 {
    // SAFETY: the caller guarantees that `entry` points into a table, and `from_bits` asserts that
    // entries have the size and alignment of a word.
    unsafe { AtomicU64::from_ptr(entry.cast()) }.load(Ordering::Relaxed)
}

/// Reads an entry, before the caller reads the table or the page that it leads to. The partner
/// is the Release with which the entry was written, after the table or page was filled.
///
/// # Safety
///
/// `entry` points into a table.
#[inline(always)]
unsafe fn load_consume<E: GenericPTE>(entry: *mut E) -> u64 {
    // SAFETY: the caller guarantees that `entry` points into a table, and `from_bits` asserts that
    // entries have the size and alignment of a word.
    unsafe { AtomicU64::from_ptr(entry.cast()) }.load(CONSUME)
}

/// Writes an entry. Relaxed: callers that publish a table or a page have made a Release fence
/// before.
///
/// # Safety
///
/// `entry` points into a table that the caller may write.
#[inline(always)]
unsafe fn store_relaxed<E: GenericPTE>(entry: *mut E, bits: u64) {
    // SAFETY: the caller guarantees that `entry` points into a table, and `from_bits` asserts that
    // entries have the size and alignment of a word.
    unsafe { AtomicU64::from_ptr(entry.cast()) }.store(bits, Ordering::Relaxed);
}

/// Writes an entry if it is empty. Returns whether it was.
///
/// # Safety
///
/// `entry` points into a table that the caller may write.
#[inline(always)]
unsafe fn fill_release<E: GenericPTE>(entry: *mut E, bits: u64) -> bool {
    // SAFETY: the caller guarantees that `entry` points into a table, and `from_bits` asserts that
    // entries have the size and alignment of a word.
    let entry = unsafe { AtomicU64::from_ptr(entry.cast()) };
    // Release: the partner is `load_consume`. A hart that reads the entry sees the zeroes with
    // which the table or page was filled. Relaxed on failure: the old value is not used.
    let filled = entry.compare_exchange(0, bits, Ordering::Release, Ordering::Relaxed);
    filled.is_ok()
}

/// Returns the entry that has these bits.
#[inline(always)]
fn from_bits<E: GenericPTE>(bits: u64) -> E {
    const {
        assert!(size_of::<E>() == size_of::<u64>() && align_of::<E>() == align_of::<u64>());
    };
    // SAFETY: each format is a struct of one word, in which all bits are allowed; the assertion
    // shows that there is nothing else in it.
    unsafe { mem::transmute_copy(&bits) }
}

/// Reads an entry of `level`, which points into a table of the caller's page table.
#[inline(always)]
pub fn read<E: GenericPTE>(entry: *mut E, level: usize) -> EntryState {
    // SAFETY: the caller derives `entry` from a table of its own.
    let value = from_bits::<E>(unsafe { load_consume(entry) });
    if value.is_unused() {
        EntryState::Empty
    } else if level == 0 || value.is_huge() {
        let flags = match value.is_present() {
            true => value.flags(),
            false => MappingFlags::empty(),
        };
        EntryState::Page(value.paddr(), flags)
    } else {
        EntryState::Table(value.paddr())
    }
}

/// Returns the rights that [`read`] returns for a page of `level` that was written with
/// `flags`. Not every format can express all rights.
pub fn rights_read_back<E: GenericPTE>(flags: MappingFlags, level: usize) -> MappingFlags {
    match flags.is_empty() {
        true => flags,
        false => page_entry::<E>(level, flags).flags(),
    }
}

/// Makes an entry lead to `table`, whatever it was before. The entry points into a table that
/// the caller may write.
pub fn write_table<E: GenericPTE>(entry: *mut E, table: PhysAddr) {
    // Release: the partner is `load_consume`. A hart that reads the entry sees the entries of
    // the table.
    fence(Ordering::Release);
    // SAFETY: the caller may write the table that `entry` points into.
    unsafe { store_relaxed(entry, E::new_table(table).bits() as u64) };
}

/// Makes an entry lead to `table`, if it is empty. Returns whether it was. The entry points
/// into a table that the caller may write.
pub fn try_add_table<E: GenericPTE>(entry: *mut E, table: PhysAddr) -> bool {
    // SAFETY: the caller may write the table that `entry` points into.
    unsafe { fill_release(entry, E::new_table(table).bits() as u64) }
}

/// Makes an entry of `level` map the page at `paddr` with the rights `flags` and the extra bits
/// `mark`, if it is empty. Returns whether it was. The entry points into a table that the
/// caller may write.
#[inline(always)]
pub fn try_add_page<E: GenericPTE>(
    entry: *mut E,
    level: usize,
    paddr: PhysAddr,
    flags: MappingFlags,
    mark: u64,
) -> bool {
    let mut value = page_entry::<E>(level, flags);
    value.set_paddr(paddr);
    // SAFETY: the caller may write the table that `entry` points into.
    unsafe { fill_release(entry, value.bits() as u64 | mark) }
}

/// Makes an entry empty. It points into a table that the caller may write.
pub fn clear<E: GenericPTE>(entry: *mut E) {
    // SAFETY: the caller may write the table that `entry` points into.
    unsafe { store_relaxed(entry, 0) };
}

/// Writes `count` entries of `level` from `first` on, for contiguous pages from `paddr` on,
/// with the rights `flags` and the extra bits `mark`.
///
/// # Safety
///
/// All of the entries are in a table that the caller may write.
#[inline(always)]
pub unsafe fn write_pages<E: GenericPTE>(
    first: *mut E,
    count: usize,
    level: usize,
    paddr: PhysAddr,
    flags: MappingFlags,
    mark: u64,
) {
    let mut value = page_entry::<E>(level, flags);
    // Release: the partner is `load_consume`. A hart that reads an entry sees the zeroes with
    // which the page was filled.
    fence(Ordering::Release);
    for index in 0..count {
        value.set_paddr(paddr + index * (PAGE_SIZE_4K << (LEVEL_BITS * level)));
        // SAFETY: the caller guarantees that `count` entries are in a table it may write.
        unsafe { store_relaxed(first.add(index), value.bits() as u64 | mark) };
    }
}

/// Copies `count` entries. The stores are Relaxed: no hart uses the page table at `to` yet, and
/// its address is passed to other harts with a Release.
///
/// # Safety
///
/// The entries from `from` on are in a table, and those from `to` on are in a table that the
/// caller may write.
pub unsafe fn copy_entries<E: GenericPTE>(from: *mut E, to: *mut E, count: usize) {
    // SAFETY: the caller guarantees that `count` entries of both tables may be accessed so.
    let copy =
        |index: usize| unsafe { store_relaxed(to.add(index), load_consume(from.add(index))) };
    unrolled::<32>(count, copy);
}

/// Calls `f` for the numbers below `count`, in a loop that is unrolled `N` times. Without it,
/// counting would take a good part of the time of a short loop.
#[inline(always)]
fn unrolled<const N: usize>(count: usize, mut f: impl FnMut(usize)) {
    for run in 0..count / N {
        (N * run..N * run + N).for_each(&mut f);
    }
    (count / N * N..count).for_each(&mut f);
}

/// Returns the number of empty entries from `first` on, before the first entry that is in use.
/// Looks at `count` entries at most.
///
/// # Safety
///
/// All of the entries are in a table.
#[inline(always)]
pub unsafe fn count_empty<E: GenericPTE>(first: *mut E, count: usize) -> usize {
    // SAFETY: the caller guarantees that `count` entries are in a table.
    let bits = |index: usize| unsafe { load_relaxed(first.add(index)) };
    let mut done = 0;
    while done + 8 <= count && (done..done + 8).fold(0, |all, index| all | bits(index)) == 0 {
        done += 8;
    }
    done + (done..count).take_while(|index| bits(*index) == 0).count()
}

/// Clears the first of `count` entries of the lowest level, and the entries after it as long as
/// the frames of their pages are contiguous. Returns the first frame, and the number of cleared
/// entries. If the first entry is empty, clears nothing, and returns `None` and the number of
/// empty entries.
///
/// # Safety
///
/// All of the entries are in a table that the caller may write.
#[inline(always)]
pub unsafe fn clear_run<E: GenericPTE>(first: *mut E, count: usize) -> (Option<PhysAddr>, usize) {
    // SAFETY: the caller guarantees that `count` entries are in a table.
    let gap = unsafe { count_empty(first, count) };
    if gap > 0 {
        return (None, gap);
    }
    let (mask, step) = (address_mask::<E>(), address_step::<E>());
    let entry = |index| first.wrapping_add(index);
    // SAFETY: `cleared` stays below `count`, and the caller guarantees that `count` entries are
    // in a table it may write.
    unsafe {
        let bits = load_relaxed(first);
        let mut address = bits & mask;
        let mut cleared = 0;
        loop {
            store_relaxed(entry(cleared), 0);
            cleared += 1;
            address += step;
            if cleared == count || load_relaxed(entry(cleared)) & mask != address {
                return (Some(from_bits::<E>(bits).paddr()), cleared);
            }
        }
    }
}

/// Gives the pages among `count` entries of the lowest level from `first` on the rights `flags`
/// and the extra bits `mark`. Returns whether any entry has changed.
///
/// # Safety
///
/// All of the entries are in a table that the caller may write.
#[inline(always)]
pub unsafe fn protect_pages<E: GenericPTE>(
    first: *mut E,
    count: usize,
    flags: MappingFlags,
    mark: u64,
) -> bool {
    let rights = page_entry::<E>(0, flags).bits() as u64 | mark;
    let mut changed = 0;
    unrolled::<8>(count, |index: usize| {
        // SAFETY: the caller guarantees that `count` entries are in a table it may write.
        unsafe {
            let entry = first.add(index);
            let before = load_relaxed(entry);
            if before != 0 {
                let after = before & address_mask::<E>() | rights;
                // Relaxed: the page was filled long before. Kernel code that reads the entry
                // holds a fault slot, or a lock that keeps this operation away. Both order it
                // before or after this operation.
                store_relaxed(entry, after);
                changed |= before ^ after;
            }
        }
    });
    changed != 0
}

/// Returns the bits of an entry that hold the address of its page.
#[inline(always)]
fn address_mask<E: GenericPTE>() -> u64 {
    let mut value = empty_entry::<E>();
    value.set_paddr(PhysAddr::from_usize(usize::MAX));
    value.bits() as u64
}

/// Returns the difference between the address bits of two entries whose frames are neighbours.
#[inline(always)]
fn address_step<E: GenericPTE>() -> u64 {
    let mut value = empty_entry::<E>();
    value.set_paddr(PhysAddr::from_usize(PAGE_SIZE_4K));
    value.bits() as u64 & address_mask::<E>()
}

/// Returns an entry of `level` for a page with the rights `flags` and the address 0.
#[inline(always)]
fn page_entry<E: GenericPTE>(level: usize, flags: MappingFlags) -> E {
    // Without rights the entry is not present. `E::new_page` would make it present.
    match flags.is_empty() {
        true => empty_entry(),
        false => E::new_page(PhysAddr::from_usize(0), flags, level > 0),
    }
}

#[inline(always)]
fn empty_entry<E: GenericPTE>() -> E {
    from_bits(0)
}
