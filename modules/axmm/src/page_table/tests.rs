//! The walker against a flat model, on the host, with this machine's format.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use axerrno::{AxError, AxResult};
use memory_addr::{PAGE_SIZE_4K, PhysAddr, VirtAddr};
use page_table_multiarch::x86_64::X64PagingMetaData;
use page_table_multiarch::{MappingFlags, PagingHandler};

use super::{Change, Gather, PageTable, Source};

type TestTable = PageTable<X64PagingMetaData, page_table_entry::x86_64::X64PTE, HostFrames>;

const RW: MappingFlags = MappingFlags::READ.union(MappingFlags::WRITE);
const RO: MappingFlags = MappingFlags::READ;
const NONE: MappingFlags = MappingFlags::empty();
const BASE: usize = 0xffff_8000_0000_0000;
const KIB4: usize = PAGE_SIZE_4K;
const MIB2: usize = 2 << 20;

#[derive(Default)]
struct Memory {
    tables: HashSet<usize>,
    /// How many more frames there are.
    left: Option<usize>,
}

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::default();
}

impl TestTable {
    /// Unmaps what is mapped in `pages`. A large page that lies in the range only in part
    /// is split first.
    fn unmap(&self, pages: Range<usize>, gather: &mut impl Gather) -> AxResult {
        self.split_edges(&pages, gather)?;
        self.unmap_whole(pages, gather);
        Ok(())
    }
}

/// Frames from the host's heap; physical addresses are host addresses.
struct HostFrames;

impl PagingHandler for HostFrames {
    fn alloc_frames(num: usize, align: usize) -> Option<PhysAddr> {
        assert_eq!((num, align), (1, KIB4));
        MEMORY.with_borrow_mut(|memory| {
            match &mut memory.left {
                Some(0) => return None,
                Some(left) => *left -= 1,
                None => {}
            }
            let layout = std::alloc::Layout::from_size_align(KIB4, KIB4).unwrap();
            // SAFETY: the size is not zero.
            let frame = unsafe { std::alloc::alloc_zeroed(layout) } as usize;
            memory.tables.insert(frame);
            Some(PhysAddr::from_usize(frame))
        })
    }

    fn dealloc_frames(paddr: PhysAddr, num: usize) {
        assert_eq!(num, 1);
        let frame = paddr.as_usize();
        MEMORY.with_borrow_mut(|memory| assert!(memory.tables.remove(&frame), "freed twice"));
        let layout = std::alloc::Layout::from_size_align(KIB4, KIB4).unwrap();
        // SAFETY: it was in `tables`, so it came from `alloc_frames`.
        unsafe { std::alloc::dealloc(frame as *mut u8, layout) };
    }

    fn phys_to_virt(paddr: PhysAddr) -> VirtAddr {
        VirtAddr::from_usize(paddr.as_usize())
    }
}

fn tables() -> usize {
    MEMORY.with_borrow(|memory| memory.tables.len())
}

fn with_frames_left<T>(left: usize, f: impl FnOnce() -> T) -> T {
    MEMORY.with_borrow_mut(|memory| memory.left = Some(left));
    let result = f();
    MEMORY.with_borrow_mut(|memory| memory.left = None);
    result
}

/// Frees tables at once: there is no TLB here.
#[derive(Default)]
struct Seen {
    /// Runs of pages, and their first frames.
    pages: Vec<(Range<usize>, PhysAddr)>,
    /// Bytes.
    changed: usize,
}

impl Seen {
    /// The bytes of all pages.
    fn bytes(&self) -> usize {
        self.pages.iter().map(|(pages, _)| pages.len()).sum()
    }
}

impl Gather for Seen {
    fn pages(&mut self, pages: Range<usize>, frame: PhysAddr) {
        self.pages.push((pages, frame));
    }

    fn changed(&mut self, pages: Range<usize>) {
        self.changed += pages.len();
    }

    fn table(&mut self, frame: PhysAddr) {
        HostFrames::dealloc_frame(frame);
    }

    fn forget_now(&mut self, _pages: Range<usize>) {}

    type Alone = ();

    fn alone(&self, _first: usize, _last: usize) -> Option<()> {
        Some(())
    }

    fn undisturbed(&self) {}
}

impl TestTable {
    /// As an operation does: splits what must be split, then changes all.
    fn protect(&self, pages: Range<usize>, change: Change, gather: &mut Seen) -> AxResult {
        match change.flags.is_empty() {
            true => self.split_all(&pages, gather)?,
            false => self.split_edges(&pages, gather)?,
        }
        self.protect_whole(pages, change, gather);
        Ok(())
    }
}

fn table() -> TestTable {
    TestTable::new(1 << 30, 0).unwrap()
}

/// One to one, in runs of at most three pages.
struct OneToOne {
    start: usize,
    paddr: usize,
}

impl Source for OneToOne {
    fn fits(&mut self, vaddr: usize, size: usize) -> bool {
        (vaddr - self.start + self.paddr).is_multiple_of(size)
    }

    fn frames(&mut self, vaddr: usize, _: usize, count: usize) -> AxResult<(PhysAddr, usize)> {
        let paddr = vaddr - self.start + self.paddr;
        Ok((PhysAddr::from_usize(paddr), count.min(3)))
    }
}

/// Maps one to one, as the linear backend does.
fn map(
    table: &mut TestTable,
    start: usize,
    paddr: usize,
    size: usize,
    flags: MappingFlags,
) -> AxResult {
    let mut source = OneToOne { start, paddr };
    table.map(
        start..start + size,
        flags,
        &mut source,
        &mut Seen::default(),
    )
}

/// Every 4 KiB page that is mapped in `start..end`, read back page by page.
fn flat(table: &TestTable, start: usize, end: usize) -> BTreeMap<usize, (usize, usize)> {
    let pages = (start..end).step_by(KIB4);
    pages
        .filter_map(|addr| {
            let page = table.query(VirtAddr::from_usize(addr))?;
            let offset = addr - page.vaddr.as_usize();
            Some((addr, (page.paddr.as_usize() + offset, page.flags.bits())))
        })
        .collect()
}

#[test]
fn the_largest_pages_that_fit_are_used() {
    let mut table = table();
    map(
        &mut table,
        BASE + MIB2 - KIB4,
        2 * MIB2 - KIB4,
        (1 << 30) + MIB2,
        RW,
    )
    .unwrap();
    let size_at = |addr| {
        table
            .query(VirtAddr::from_usize(addr))
            .map(|page| page.size)
    };
    assert_eq!(size_at(BASE + MIB2 - KIB4), Some(KIB4));
    assert_eq!(size_at(BASE + MIB2), Some(MIB2));
    assert_eq!(size_at(BASE + (1 << 30)), Some(MIB2));
    assert_eq!(size_at(BASE + (1 << 30) + MIB2), Some(KIB4));
    assert_eq!(size_at(BASE + (1 << 30) + 2 * MIB2 - 2 * KIB4), Some(KIB4));
    assert_eq!(size_at(BASE + (1 << 30) + 2 * MIB2 - KIB4), None);
}

#[test]
fn a_gibibyte_is_one_entry_where_the_machine_has_such_pages() {
    let mut with = table();
    map(&mut with, BASE, 1 << 30, 1 << 30, RW).unwrap();
    let mut without = TestTable::new(MIB2, 0).unwrap();
    map(&mut without, BASE, 1 << 30, 1 << 30, RW).unwrap();
    let size = |table: &TestTable| table.query(VirtAddr::from_usize(BASE)).unwrap().size;
    assert_eq!((size(&with), size(&without)), (1 << 30, MIB2));
}

#[test]
fn unmapping_gives_every_table_back() {
    let mut table = table();
    let mut seen = Seen::default();
    map(&mut table, BASE + KIB4, 0, 4 * MIB2, RW).unwrap();
    table
        .unmap(BASE + KIB4..BASE + KIB4 + 4 * MIB2, &mut seen)
        .unwrap();
    assert_eq!(seen.bytes(), 4 * MIB2);
    assert_eq!(tables(), 1);
}

#[test]
fn part_of_a_large_page_is_split_with_the_rest_kept() {
    let mut table = table();
    map(&mut table, BASE, 1 << 30, 1 << 30, RW).unwrap();
    table
        .unmap(BASE + MIB2..BASE + MIB2 + KIB4, &mut Seen::default())
        .unwrap();
    let pages = flat(&table, BASE, BASE + 3 * MIB2);
    assert_eq!(pages.len(), 3 * 512 - 1);
    assert!(
        pages.iter().all(|(addr, &(paddr, flags))| {
            paddr == addr - BASE + (1 << 30) && flags == RW.bits()
        })
    );
    let before = tables();
    let out = with_frames_left(0, || {
        table.unmap(
            BASE + 8 * MIB2 + KIB4..BASE + 9 * MIB2,
            &mut Seen::default(),
        )
    });
    assert_eq!((out, tables()), (Err(AxError::NoMemory), before));
}

#[test]
fn what_is_mapped_stays_when_a_mapping_over_it_fails() {
    let mut table = table();
    map(&mut table, BASE + 3 * MIB2, 0x5000, KIB4, RO).unwrap();
    let before = (flat(&table, BASE, BASE + 4 * MIB2), tables());
    let result = map(&mut table, BASE, 0x10_0000, 4 * MIB2, RW);
    assert_eq!(result, Err(AxError::AlreadyExists));
    assert_eq!((flat(&table, BASE, BASE + 4 * MIB2), tables()), before);
}

#[test]
fn running_out_at_any_table_changes_nothing() {
    let mut table = table();
    map(&mut table, BASE + 3 * MIB2, 0x5000, KIB4, RO).unwrap();
    let before = (flat(&table, BASE, BASE + 8 * MIB2), tables());
    let far = BASE + (200 << 39);
    let mut needed = 0;
    while let Err(error) =
        with_frames_left(needed, || map(&mut table, far - KIB4, 0x1000, 3 * MIB2, RW))
    {
        assert_eq!(error, AxError::NoMemory);
        assert_eq!((flat(&table, BASE, BASE + 8 * MIB2), tables()), before);
        needed += 1;
    }
    assert!(needed > 4, "only {needed} tables were needed");
}

#[test]
fn one_page_is_mapped_where_its_table_is() {
    let mut table = table();
    let (page, frame) = (VirtAddr::from_usize(BASE), PhysAddr::from_usize(0x7000));
    let first = table.map_page(page, RW, frame);
    assert_eq!(first, Ok(false), "there is no table");
    map(&mut table, BASE + KIB4, 0x5000, KIB4, RO).unwrap();
    let before = flat(&table, BASE, BASE + MIB2);
    let there = table.map_page(page + KIB4, RW, frame);
    assert_eq!(there, Err(AxError::AlreadyExists));
    assert_eq!(table.map_page(page, RW, frame), Ok(true));
    let mut after = flat(&table, BASE, BASE + MIB2);
    assert_eq!(after.remove(&BASE), Some((0x7000, RW.bits())));
    assert_eq!(after, before);
}

#[test]
fn a_page_comes_with_the_tables_that_are_missing_or_not_at_all() {
    let table = table();
    let frame = PhysAddr::from_usize(0x7000);
    let page = VirtAddr::from_usize(BASE);
    for missing in 0..3 {
        let refused = with_frames_left(missing, || table.map_new(page, 0, RW, frame));
        assert_eq!((refused, tables()), (Err(AxError::NoMemory), 1));
    }
    with_frames_left(3, || table.map_new(page, 0, RW, frame)).unwrap();
    with_frames_left(0, || table.map_new(page + KIB4, 0, RW, frame)).unwrap();
    with_frames_left(0, || table.map_new(page + MIB2, 1, RW, MIB2.into())).unwrap();
    for (there, level) in [(page, 0), (page, 1), (page + MIB2 + KIB4, 0)] {
        let again = table.map_new(there, level, RW, frame);
        assert_eq!(again, Err(AxError::AlreadyExists));
    }
    let large = table.query(page + MIB2).unwrap();
    assert_eq!((large.paddr.as_usize(), large.size), (MIB2, MIB2));
    assert_eq!(tables(), 4);
    table
        .unmap(BASE..BASE + (1 << 30), &mut Seen::default())
        .unwrap();
    assert_eq!(tables(), 1);
}

#[test]
fn unmapping_where_nothing_is_changes_nothing() {
    let mut table = table();
    let mut seen = Seen::default();
    map(&mut table, BASE, 0x5000, KIB4, RO).unwrap();
    let before = (flat(&table, BASE, BASE + MIB2), tables());
    for (start, size) in [(2 * KIB4, KIB4), (MIB2, MIB2), (1 << 30, 1 << 30)] {
        let pages = BASE + start..BASE + start + size;
        table.unmap(pages, &mut seen).unwrap();
    }
    assert!(seen.pages.is_empty());
    assert_eq!((flat(&table, BASE, BASE + MIB2), tables()), before);
    table.unmap(BASE..BASE + (2 << 30), &mut seen).unwrap();
    assert_eq!((seen.pages.len(), tables()), (1, 1));
}

#[test]
fn what_lies_in_a_row_is_told_of_in_one_piece() {
    let mut table = table();
    let mut seen = Seen::default();
    // Two rows of frames, a hole, and a row of pages without rights.
    for (page, paddr, size) in [(0, 0x5000, 3), (3, 0x9000, 2), (6, 0x20_0000, 4)] {
        let start = BASE + page * KIB4;
        map(&mut table, start, paddr, size * KIB4, RW).unwrap();
    }
    let hidden = BASE + 7 * KIB4..BASE + 9 * KIB4;
    table
        .protect(hidden, Change::of(NONE), &mut Seen::default())
        .unwrap();
    table.unmap(BASE..BASE + MIB2, &mut seen).unwrap();
    let rows = [(0..3, 0x5000), (3..5, 0x9000), (6..10, 0x20_0000)];
    let rows = rows.map(|(pages, paddr): (Range<usize>, usize)| {
        let pages = BASE + pages.start * KIB4..BASE + pages.end * KIB4;
        (pages, PhysAddr::from_usize(paddr))
    });
    assert_eq!(seen.pages, rows);
    assert_eq!(tables(), 1);
}

#[test]
fn no_rights_keep_the_frame() {
    let mut table = table();
    let mut seen = Seen::default();
    map(&mut table, BASE, MIB2, MIB2, RW).unwrap();
    table
        .protect(BASE..BASE + MIB2, Change::of(NONE), &mut seen)
        .unwrap();
    let page = table.query(VirtAddr::from_usize(BASE + KIB4)).unwrap();
    assert_eq!((page.paddr.as_usize(), page.flags), (MIB2 + KIB4, NONE));
    table
        .protect(BASE..BASE + MIB2, Change::of(RO), &mut seen)
        .unwrap();
    table.unmap(BASE..BASE + MIB2, &mut seen).unwrap();
    assert_eq!(seen.bytes(), MIB2);
}

#[test]
fn rights_that_stay_the_same_are_not_reported() {
    let mut table = table();
    let mut seen = Seen::default();
    map(&mut table, BASE, 0x1000, 4 * KIB4, RW).unwrap();
    table
        .protect(BASE..BASE + 2 * KIB4, Change::of(RO), &mut seen)
        .unwrap();
    assert_eq!(seen.changed, 2 * KIB4);
    table
        .protect(BASE..BASE + 2 * KIB4, Change::of(RO), &mut seen)
        .unwrap();
    assert_eq!(seen.changed, 2 * KIB4);
}

#[test]
fn random_operations_agree_with_a_flat_model() {
    let mut table = table();
    let mut model: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    let mut seed = 7_u64;
    let mut random = |below: usize| {
        seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (seed >> 33) as usize % below
    };
    let end = BASE + 4 * MIB2;
    for step in 0..3000 {
        let unit = [KIB4, MIB2][random(4) / 3];
        let start = BASE + random((end - BASE) / unit) * unit;
        let size = (1 + random(600)) * KIB4;
        let pages = start..(start + size).min(end);
        let (flags, none) = ([RW, RO][random(2)], random(10) == 0);
        match random(3) {
            0 => {
                let paddr = (1 << 30) + [0, KIB4][random(2)] + (start - BASE);
                let free = model.range(pages.clone()).next().is_none();
                let result = map(&mut table, start, paddr, pages.len(), flags);
                assert_eq!(result.is_ok(), free, "step {step}");
                if free {
                    let added = pages.step_by(KIB4);
                    model.extend(added.map(|addr| (addr, (addr - start + paddr, flags.bits()))));
                }
            }
            1 => {
                table.unmap(pages.clone(), &mut Seen::default()).unwrap();
                model.retain(|addr, _| !pages.contains(addr));
            }
            _ => {
                let flags = if none { NONE } else { flags };
                table
                    .protect(pages.clone(), Change::of(flags), &mut Seen::default())
                    .unwrap();
                model
                    .range_mut(pages)
                    .for_each(|(_, page)| page.1 = flags.bits());
            }
        }
        if step % 16 == 0 {
            assert_eq!(flat(&table, BASE, end), model, "step {step}");
        }
    }
    table.unmap(BASE..end, &mut Seen::default()).unwrap();
    assert_eq!(tables(), 1);
}
