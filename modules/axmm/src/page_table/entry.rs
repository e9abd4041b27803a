//! The entries of a page table: words that several harts, and the hardware that walks the
//! table, read and write at the same time.

use core::mem;
use core::slice;
use core::sync::atomic::{AtomicU64, Ordering, fence};

use memory_addr::{PAGE_SIZE_4K, PhysAddr};
use page_table_multiarch::{GenericPTE, MappingFlags};

use crate::atomic::CONSUME;

/// The number of address bits that one level of the page table resolves.
pub const LEVEL_BITS: usize = 9;
/// The number of entries of a table.
pub const ENTRIES: usize = 1 << LEVEL_BITS;

/// An entry, of whatever format. Empty while it is 0.
pub type Entry = AtomicU64;

/// Whether page tables can be shared by several address spaces, after a fork.
pub const SHARES_TABLES: bool = cfg!(feature = "objects");

/// What an entry that leads to a shared table has besides the table's address. It has no present
/// bit, so hardware does not follow the entry. On loongarch64, where entries that lead to tables have
/// none either, the TLB refill takes it for that of a large page which is not valid.
const SHARED: u64 = 1 << 6;

/// The state of an entry.
#[derive(Clone, Copy, Debug)]
pub enum EntryState {
    /// The entry maps nothing.
    Empty,
    /// The entry leads to a table of the next lower level.
    Table(PhysAddr),
    /// The entry leads to a table of the next lower level that other page tables may lead to as
    /// well. The entry is not present for the hardware, and nothing in the table changes.
    Shared(PhysAddr),
    /// The entry maps a page, of the size that an entry of its level translates.
    Page(PhysAddr, MappingFlags),
}

/// Reads an entry, before the caller reads the table or the page that it leads to. The partner
/// is the Release with which the entry was written, after the table or page was filled.
#[inline(always)]
fn load_consume(entry: &Entry) -> u64 {
    entry.load(CONSUME)
}

/// Reads an entry. Relaxed: the caller does not read the table or the page that the entry leads
/// to.
#[inline(always)]
fn load_relaxed(entry: &Entry) -> u64 {
    entry.load(Ordering::Relaxed)
}

/// Writes an entry. Relaxed: callers that publish a table or a page have made a Release fence
/// before.
#[inline(always)]
fn store_relaxed(entry: &Entry, bits: u64) {
    entry.store(bits, Ordering::Relaxed);
}

/// Writes an entry if it is empty. Returns whether it was.
#[inline(always)]
fn fill_release(entry: &Entry, bits: u64) -> bool {
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

/// Reads an entry of `level`.
#[inline(always)]
pub fn read<E: GenericPTE>(entry: &Entry, level: usize) -> EntryState {
    read_bits::<E>(load_consume(entry), level)
}

/// Returns the state of an entry of `level` with these bits.
#[inline(always)]
fn read_bits<E: GenericPTE>(bits: u64, level: usize) -> EntryState {
    let value = from_bits::<E>(bits);
    // First, because most entries of a walk lead to tables. Some formats' tables have no present
    // bit.
    if level > 0 && value.is_present() && !value.is_huge() {
        EntryState::Table(value.paddr())
    } else if value.is_unused() {
        EntryState::Empty
    } else if SHARES_TABLES && level > 0 && !value.is_present() && bits & SHARED != 0 {
        EntryState::Shared(value.paddr())
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

/// Makes an entry lead to `table`, whatever it was before.
pub fn write_table<E: GenericPTE>(entry: &Entry, table: PhysAddr) {
    // Release: the partner is `load_consume`. A hart that reads the entry sees the entries of
    // the table.
    fence(Ordering::Release);
    store_relaxed(entry, E::new_table(table).bits() as u64);
}

/// Makes an entry lead to `table`, if it is empty. Returns whether it was.
pub fn try_add_table<E: GenericPTE>(entry: &Entry, table: PhysAddr) -> bool {
    fill_release(entry, E::new_table(table).bits() as u64)
}

/// Makes an entry lead to a shared table, whatever it was before. The table was filled before the
/// caller got its address.
pub fn write_shared<E: GenericPTE>(entry: &Entry, table: PhysAddr) {
    let mut value = empty_entry::<E>();
    value.set_paddr(table);
    store_relaxed(entry, value.bits() as u64 | SHARED);
}

/// Makes an entry of `level` map the page at `paddr` with the rights `flags` and the extra bits
/// `mark`, if it is empty. Returns whether it was.
#[inline(always)]
pub fn try_add_page<E: GenericPTE>(
    entry: &Entry,
    level: usize,
    paddr: PhysAddr,
    flags: MappingFlags,
    mark: u64,
) -> bool {
    let mut value = page_entry::<E>(level, flags);
    value.set_paddr(paddr);
    fill_release(entry, value.bits() as u64 | mark)
}

/// Makes an entry empty.
pub fn clear(entry: &Entry) {
    store_relaxed(entry, 0);
}

/// Writes `entries` of `level` for contiguous pages from `paddr` on, with the rights `flags` and
/// the extra bits `mark`.
#[inline(always)]
pub fn write_pages<E: GenericPTE>(
    entries: &[Entry],
    level: usize,
    paddr: PhysAddr,
    flags: MappingFlags,
    mark: u64,
) {
    let mut value = page_entry::<E>(level, flags);
    // Release: the partner is `load_consume`. A hart that reads an entry sees the zeroes with
    // which the page was filled.
    fence(Ordering::Release);
    let mut paddr = paddr;
    unrolled(entries, |entry| {
        value.set_paddr(paddr);
        store_relaxed(entry, value.bits() as u64 | mark);
        paddr += PAGE_SIZE_4K << (LEVEL_BITS * level);
    });
}

/// Calls `f` for the entries, in a loop that is unrolled. Without it, counting would take a good
/// part of the time of a short loop.
#[inline(always)]
fn unrolled(entries: &[Entry], mut f: impl FnMut(&Entry)) {
    let (chunks, rest) = entries.as_chunks::<8>();
    for chunk in chunks {
        chunk.iter().for_each(&mut f);
    }
    rest.iter().for_each(f);
}

/// Copies entries. Inlined, so that the compiler sees that both slices are of one length. The
/// stores are Relaxed: no hart uses the page table of `to` yet, and its address is passed to other
/// harts with a Release.
#[inline(always)]
pub fn copy_entries(from: &[Entry], to: &[Entry]) {
    let copy = |(from, to): (&Entry, &Entry)| store_relaxed(to, load_consume(from));
    // Unrolled, as in `unrolled`, over two slices.
    let ((from, from_rest), (to, to_rest)) = (from.as_chunks::<32>(), to.as_chunks::<32>());
    for (from, to) in from.iter().zip(to) {
        from.iter().zip(to).for_each(copy);
    }
    from_rest.iter().zip(to_rest).for_each(copy);
}

/// Copies entries of pages, without the right to write. The stores are Relaxed. Either the caller
/// makes a Release fence before other harts can find `to`. Or `from` and `to` are the same, and a hart
/// that reads an old or a new entry finds the same filled page.
#[inline(always)]
pub fn copy_read_only<E: GenericPTE>(from: &[Entry], to: &[Entry]) {
    let copy = |(from, to): (&Entry, &Entry)| {
        store_relaxed(to, read_only_bits::<E>(load_relaxed(from)));
    };
    // Unrolled, as in `unrolled`, over two slices.
    let ((from, from_rest), (to, to_rest)) = (from.as_chunks::<8>(), to.as_chunks::<8>());
    for (from, to) in from.iter().zip(to) {
        from.iter().zip(to).for_each(copy);
    }
    from_rest.iter().zip(to_rest).for_each(copy);
}

/// Returns the bits of the entry of a page, or of an empty entry, without the right to write.
#[inline(always)]
fn read_only_bits<E: GenericPTE>(bits: u64) -> u64 {
    let (clear, set) = write_bits::<E>();
    // An entry without rights has no bit to clear. Only some formats have a bit to set.
    match set == 0 || from_bits::<E>(bits).is_present() {
        true => bits & !clear | set,
        false => bits,
    }
}

/// Copies the first of the entries `from`, which are of the lowest level, and those after it as long
/// as the frames of their pages are contiguous, without the right to write. Returns the first frame,
/// and the number of copied entries. If the first entry is empty, copies nothing, and returns `None`
/// and the number of empty entries.
///
/// The stores are Relaxed: the caller makes a Release fence before other harts can find `to`.
#[inline(always)]
pub fn copy_run_read_only<E: GenericPTE>(
    from: &[Entry],
    to: &[Entry],
) -> (Option<PhysAddr>, usize) {
    let first = from.first().map_or(0, load_relaxed);
    if first == 0 {
        return (None, count_empty(from));
    }
    let (mask, step) = (address_mask::<E>(), address_step::<E>());
    // Most often the pages of a run have the same rights. So each is compared as a whole with what
    // is expected of it.
    let (mut expected, mut copy) = (first, read_only_bits::<E>(first));
    let copy_next = |(from, to): (&Entry, &Entry)| {
        let bits = load_relaxed(from);
        if bits != expected {
            if (bits ^ expected) & mask != 0 {
                return false;
            }
            (expected, copy) = (bits, read_only_bits::<E>(bits));
        }
        store_relaxed(to, copy);
        expected += step;
        copy += step;
        true
    };
    all_pairs(from, to, copy_next);
    let copied = (expected & mask).wrapping_sub(first & mask) / step;
    (Some(from_bits::<E>(first).paddr()), copied as usize)
}

/// Calls `f` for pairs of entries as long as it returns `true`. The loop is unrolled, as in
/// [`unrolled`].
#[inline(always)]
fn all_pairs(from: &[Entry], to: &[Entry], mut f: impl FnMut((&Entry, &Entry)) -> bool) {
    let ((chunks, from_rest), (to_chunks, to_rest)) = (from.as_chunks::<8>(), to.as_chunks::<8>());
    let mut pairs = chunks.iter().zip(to_chunks);
    if pairs.all(|(from, to)| from.iter().zip(to).all(&mut f)) {
        from_rest.iter().zip(to_rest).all(f);
    }
}

/// Adds the right to write to the entry of a page of `level`, if the entry is still that of
/// `paddr`. Returns whether it is.
#[inline]
pub fn add_write<E: GenericPTE>(entry: &Entry, level: usize, paddr: PhysAddr) -> bool {
    let (set, clear) = write_bits::<E>();
    let more = |bits: u64| {
        let is_same = matches!(
            read_bits::<E>(bits, level),
            EntryState::Page(at, flags) if at == paddr && !flags.is_empty()
        );
        is_same.then_some(bits & !clear | set)
    };
    // Relaxed: the page was filled before the entry was written first.
    entry
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
        .is_ok()
}

/// Takes all rights from the entry of a small page, if the entry is still that of `paddr` and has
/// rights. It then keeps the address, and is not present for the hardware. Returns what the entry
/// was, for [`restore`].
pub fn take_rights<E: GenericPTE>(entry: &Entry, paddr: PhysAddr) -> Option<u64> {
    let bits = load_relaxed(entry);
    let is_same = matches!(
        read_bits::<E>(bits, 0),
        EntryState::Page(at, flags) if at == paddr && !flags.is_empty()
    );
    if !is_same {
        return None;
    }
    let address = bits & address_mask::<E>();
    // SeqCst: comes before the caller looks for harts that may still use the page.
    let taken = entry.compare_exchange(bits, address, Ordering::SeqCst, Ordering::Relaxed);
    taken.ok()
}

/// Makes an entry what it was before [`take_rights`].
pub fn restore(entry: &Entry, bits: u64) {
    // Relaxed: the page was filled before the entry was written first.
    store_relaxed(entry, bits);
}

/// Makes entries empty.
pub fn clear_all(entries: &[Entry]) {
    entries.iter().for_each(clear);
}

/// Returns the bits that only pages with the right to write have, and those that only pages without
/// it have.
#[inline(always)]
fn write_bits<E: GenericPTE>() -> (u64, u64) {
    let bits = |flags| E::new_page(PhysAddr::from_usize(0), flags, false).bits() as u64;
    let read_only = bits(MappingFlags::READ);
    let writable = bits(MappingFlags::READ | MappingFlags::WRITE);
    (writable & !read_only, read_only & !writable)
}

/// Returns the number of empty entries before the first entry that is in use.
#[inline(always)]
pub fn count_empty(entries: &[Entry]) -> usize {
    let (chunks, _) = entries.as_chunks::<8>();
    let is_used = |chunk: &[Entry; 8]| {
        let bits = chunk.iter().fold(0, |all, entry| all | load_relaxed(entry));
        bits != 0
    };
    let done = 8 * chunks.iter().position(is_used).unwrap_or(chunks.len());
    let rest = entries[done..].iter();
    done + rest.take_while(|entry| load_relaxed(entry) == 0).count()
}

/// Clears the first of `entries`, which are of the lowest level, and those after it as long as
/// the frames of their pages are contiguous. Returns the first frame, and the number of cleared
/// entries. If the first entry is empty, clears nothing, and returns `None` and the number of
/// empty entries.
#[inline(always)]
pub fn clear_run<E: GenericPTE>(entries: &[Entry]) -> (Option<PhysAddr>, usize) {
    let (mask, step) = (address_mask::<E>(), address_step::<E>());
    let bits = entries.first().map_or(0, load_relaxed);
    if bits == 0 {
        return (None, count_empty(entries));
    }
    let mut address = bits & mask;
    let ends = |entry: &Entry| {
        let is_next = load_relaxed(entry) & mask == address;
        if is_next {
            store_relaxed(entry, 0);
            address += step;
        }
        !is_next
    };
    let cleared = entries.iter().position(ends).unwrap_or(entries.len());
    (Some(from_bits::<E>(bits).paddr()), cleared)
}

/// Gives the pages among `entries`, which are of the lowest level, the rights `flags` and the
/// extra bits `mark`. Returns whether any entry has changed.
#[inline(always)]
pub fn protect_pages<E: GenericPTE>(entries: &[Entry], flags: MappingFlags, mark: u64) -> bool {
    let rights = page_entry::<E>(0, flags).bits() as u64 | mark;
    let mut changed = 0;
    unrolled(entries, |entry| {
        let before = load_relaxed(entry);
        if before != 0 {
            let after = before & address_mask::<E>() | rights;
            // Relaxed: the page was filled long before. Kernel code that reads the entry holds a
            // fault slot, or a lock that keeps this operation away. Both order it before or after
            // this operation.
            store_relaxed(entry, after);
            changed |= before ^ after;
        }
    });
    changed != 0
}

/// Gives the pages among `entries`, which are of the lowest level, the rights `flags` and the extra
/// bits `mark`. `flags` include the right to write, which a page gets only if it has it already, or
/// if `is_exclusive` returns `true` for its frame. Returns whether any entry has changed.
pub fn protect_shared_pages<E: GenericPTE>(
    entries: &[Entry],
    flags: MappingFlags,
    mark: u64,
    is_exclusive: impl Fn(PhysAddr) -> bool,
) -> bool {
    let read_only = flags.difference(MappingFlags::WRITE);
    let mut changed = false;
    for entry in entries {
        let EntryState::Page(paddr, before) = read::<E>(entry, 0) else {
            continue;
        };
        let is_writable = before.contains(MappingFlags::WRITE) || is_exclusive(paddr);
        let flags = if is_writable { flags } else { read_only };
        changed |= protect_pages::<E>(slice::from_ref(entry), flags, mark);
    }
    changed
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
