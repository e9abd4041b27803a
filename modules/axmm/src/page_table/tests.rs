//! Tests of the page table on the host, with the format of x86_64, and against a flat model.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use axerrno::{AxError, AxResult};
use memory_addr::{PAGE_SIZE_4K, PhysAddr, VirtAddr};
use page_table_multiarch::x86_64::X64PagingMetaData;
use page_table_multiarch::{MappingFlags, PagingHandler};

use super::{Flusher, FrameOwners, FrameSource, PageTable, Protection};

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
    /// The number of frames that are left, if it is limited.
    left: Option<usize>,
}

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::default();
}

impl TestTable {
    /// Splits large pages at the ends of `pages`, and unmaps all pages of the range.
    fn unmap(&self, pages: Range<usize>, flusher: &mut impl Flusher) -> AxResult {
        self.split_edges(&pages, flusher)?;
        self.unmap_whole_pages(pages, flusher);
        Ok(())
    }
}

/// Frames from the host's heap. Physical addresses are host addresses.
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
        // SAFETY: the frame was in `tables`, so `alloc_frames` allocated it with this layout.
        unsafe { std::alloc::dealloc(frame as *mut u8, layout) };
    }

    fn phys_to_virt(paddr: PhysAddr) -> VirtAddr {
        VirtAddr::from_usize(paddr.as_usize())
    }
}

/// No page table here shares its frames.
impl FrameOwners for HostFrames {
    fn share(_: PhysAddr, _: usize) -> AxResult {
        Err(AxError::NoMemory)
    }

    fn share_table(_: PhysAddr) -> AxResult {
        Err(AxError::NoMemory)
    }

    fn is_exclusive(_: PhysAddr, _: usize) -> bool {
        true
    }

    fn release_table(_: PhysAddr) -> bool {
        true
    }

    fn release_pages(_: PhysAddr, _: usize) {}
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

/// Records what is reported. Tables are freed at once, since there is no TLB here.
#[derive(Default)]
struct Recorder {
    /// The runs of unmapped pages, and their first frames.
    pages: Vec<(Range<usize>, PhysAddr)>,
    /// The number of bytes that have been reported as changed.
    changed: usize,
}

impl Recorder {
    /// Returns the number of bytes that have been unmapped.
    fn bytes(&self) -> usize {
        self.pages.iter().map(|(pages, _)| pages.len()).sum()
    }
}

impl Flusher for Recorder {
    fn unmapped(&mut self, pages: Range<usize>, frame: PhysAddr) -> bool {
        self.pages.push((pages, frame));
        true
    }

    fn has_left_entries(&self) -> bool {
        false
    }

    fn changed_tables(&mut self) {}

    fn poll(&self) {}

    fn changed(&mut self, pages: Range<usize>) {
        self.changed += pages.len();
    }

    fn detached_table(&mut self, frame: PhysAddr) {
        HostFrames::dealloc_frame(frame);
    }

    fn flush_now(&mut self, _pages: Range<usize>) {}

    type IrqGuard = ();

    fn disable_irqs(&self) {}

    fn disable_irqs_if_exclusive(&self, _first: usize, _last: usize) -> Option<()> {
        Some(())
    }
}

impl TestTable {
    /// Splits the large pages that must be split for these rights, and changes the rights.
    fn protect(
        &self,
        pages: Range<usize>,
        flags: MappingFlags,
        flusher: &mut Recorder,
    ) -> AxResult {
        match flags.is_empty() {
            true => self.split_all(&pages, flusher)?,
            false => self.split_edges(&pages, flusher)?,
        }
        let protection = Protection {
            flags,
            may_be_shared: false,
            changes_memory_kind: false,
        };
        self.protect_whole_pages(pages, protection, flusher);
        Ok(())
    }
}

fn table() -> TestTable {
    TestTable::new(1 << 30, 0).unwrap()
}

/// Frames at a fixed offset, in runs of at most three pages.
struct LinearFrames {
    start: usize,
    paddr: usize,
}

impl FrameSource for LinearFrames {
    fn prepare(&mut self, vaddr: usize, size: usize) -> bool {
        (vaddr - self.start + self.paddr).is_multiple_of(size)
    }

    fn frames(&mut self, vaddr: usize, _: usize, count: usize) -> AxResult<(PhysAddr, usize)> {
        let paddr = vaddr - self.start + self.paddr;
        Ok((PhysAddr::from_usize(paddr), count.min(3)))
    }
}

/// Maps `size` bytes at `start` to those at `paddr`, as the linear backend does.
fn map(
    table: &mut TestTable,
    start: usize,
    paddr: usize,
    size: usize,
    flags: MappingFlags,
) -> AxResult {
    let mut source = LinearFrames { start, paddr };
    table.map(
        start..start + size,
        flags,
        &mut source,
        &mut Recorder::default(),
    )
}

/// Returns every 4 KiB page that is mapped from `start` to `end`, looked up one by one: the
/// physical address and the bits of the rights, by virtual address.
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
fn unmap_frees_all_empty_tables() {
    let mut table = table();
    let mut recorder = Recorder::default();
    map(&mut table, BASE + KIB4, 0, 4 * MIB2, RW).unwrap();
    table
        .unmap(BASE + KIB4..BASE + KIB4 + 4 * MIB2, &mut recorder)
        .unwrap();
    assert_eq!(recorder.bytes(), 4 * MIB2);
    assert_eq!(tables(), 1);
}

#[test]
fn unmap_of_a_part_of_a_large_page_keeps_the_rest() {
    let mut table = table();
    map(&mut table, BASE, 1 << 30, 1 << 30, RW).unwrap();
    table
        .unmap(BASE + MIB2..BASE + MIB2 + KIB4, &mut Recorder::default())
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
            &mut Recorder::default(),
        )
    });
    assert_eq!((out, tables()), (Err(AxError::NoMemory), before));
}

#[test]
fn map_over_a_mapped_page_fails_and_changes_nothing() {
    let mut table = table();
    map(&mut table, BASE + 3 * MIB2, 0x5000, KIB4, RO).unwrap();
    let before = (flat(&table, BASE, BASE + 4 * MIB2), tables());
    let result = map(&mut table, BASE, 0x10_0000, 4 * MIB2, RW);
    assert_eq!(result, Err(AxError::AlreadyExists));
    assert_eq!((flat(&table, BASE, BASE + 4 * MIB2), tables()), before);
}

#[test]
fn map_without_memory_for_a_table_changes_nothing() {
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
fn map_page_needs_the_table_of_the_page() {
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
fn map_with_tables_adds_all_missing_tables_or_none() {
    let table = table();
    let frame = PhysAddr::from_usize(0x7000);
    let page = VirtAddr::from_usize(BASE);
    for missing in 0..3 {
        let refused = with_frames_left(missing, || table.map_with_tables(page, 0, RW, frame));
        assert_eq!((refused, tables()), (Err(AxError::NoMemory), 1));
    }
    with_frames_left(3, || table.map_with_tables(page, 0, RW, frame)).unwrap();
    with_frames_left(0, || table.map_with_tables(page + KIB4, 0, RW, frame)).unwrap();
    with_frames_left(0, || table.map_with_tables(page + MIB2, 1, RW, MIB2.into())).unwrap();
    for (there, level) in [(page, 0), (page, 1), (page + MIB2 + KIB4, 0)] {
        let again = table.map_with_tables(there, level, RW, frame);
        assert_eq!(again, Err(AxError::AlreadyExists));
    }
    let large = table.query(page + MIB2).unwrap();
    assert_eq!((large.paddr.as_usize(), large.size), (MIB2, MIB2));
    assert_eq!(tables(), 4);
    table
        .unmap(BASE..BASE + (1 << 30), &mut Recorder::default())
        .unwrap();
    assert_eq!(tables(), 1);
}

#[test]
fn unmap_of_a_hole_changes_nothing() {
    let mut table = table();
    let mut recorder = Recorder::default();
    map(&mut table, BASE, 0x5000, KIB4, RO).unwrap();
    let before = (flat(&table, BASE, BASE + MIB2), tables());
    for (start, size) in [(2 * KIB4, KIB4), (MIB2, MIB2), (1 << 30, 1 << 30)] {
        let pages = BASE + start..BASE + start + size;
        table.unmap(pages, &mut recorder).unwrap();
    }
    assert!(recorder.pages.is_empty());
    assert_eq!((flat(&table, BASE, BASE + MIB2), tables()), before);
    table.unmap(BASE..BASE + (2 << 30), &mut recorder).unwrap();
    assert_eq!((recorder.pages.len(), tables()), (1, 1));
}

#[test]
fn contiguous_pages_are_reported_as_one_run() {
    let mut table = table();
    let mut recorder = Recorder::default();
    // Two runs of frames, a hole, and a run in which some pages have no rights.
    for (page, paddr, size) in [(0, 0x5000, 3), (3, 0x9000, 2), (6, 0x20_0000, 4)] {
        let start = BASE + page * KIB4;
        map(&mut table, start, paddr, size * KIB4, RW).unwrap();
    }
    let hidden = BASE + 7 * KIB4..BASE + 9 * KIB4;
    table
        .protect(hidden, NONE, &mut Recorder::default())
        .unwrap();
    table.unmap(BASE..BASE + MIB2, &mut recorder).unwrap();
    let runs = [(0..3, 0x5000), (3..5, 0x9000), (6..10, 0x20_0000)];
    let runs = runs.map(|(pages, paddr): (Range<usize>, usize)| {
        let pages = BASE + pages.start * KIB4..BASE + pages.end * KIB4;
        (pages, PhysAddr::from_usize(paddr))
    });
    assert_eq!(recorder.pages, runs);
    assert_eq!(tables(), 1);
}

#[test]
fn a_page_without_rights_keeps_its_frame() {
    let mut table = table();
    let mut recorder = Recorder::default();
    map(&mut table, BASE, MIB2, MIB2, RW).unwrap();
    table
        .protect(BASE..BASE + MIB2, NONE, &mut recorder)
        .unwrap();
    let page = table.query(VirtAddr::from_usize(BASE + KIB4)).unwrap();
    assert_eq!((page.paddr.as_usize(), page.flags), (MIB2 + KIB4, NONE));
    table.protect(BASE..BASE + MIB2, RO, &mut recorder).unwrap();
    table.unmap(BASE..BASE + MIB2, &mut recorder).unwrap();
    assert_eq!(recorder.bytes(), MIB2);
}

#[test]
fn unchanged_rights_are_not_reported() {
    let mut table = table();
    let mut recorder = Recorder::default();
    map(&mut table, BASE, 0x1000, 4 * KIB4, RW).unwrap();
    table
        .protect(BASE..BASE + 2 * KIB4, RO, &mut recorder)
        .unwrap();
    assert_eq!(recorder.changed, 2 * KIB4);
    table
        .protect(BASE..BASE + 2 * KIB4, RO, &mut recorder)
        .unwrap();
    assert_eq!(recorder.changed, 2 * KIB4);
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
                table
                    .unmap(pages.clone(), &mut Recorder::default())
                    .unwrap();
                model.retain(|addr, _| !pages.contains(addr));
            }
            _ => {
                let flags = if none { NONE } else { flags };
                table
                    .protect(pages.clone(), flags, &mut Recorder::default())
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
    table.unmap(BASE..end, &mut Recorder::default()).unwrap();
    assert_eq!(tables(), 1);
}
