//! The methods of the published crate: what its documentation says, a comparison with it in random
//! scripts, backends that own something, and backends that fail.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use memory_addr::{AddrRange, VirtAddr, va, va_range};
use memory_set::{MappingBackend, MappingError, MemoryArea, MemorySet};
use proptest::collection::vec;
use proptest::prelude::*;

const MAX_ADDR: usize = 0x10000;

/// A page table that is an array of flags, one for each address. Flags of 0 mean unmapped.
type PageTable = [u8; MAX_ADDR];

fn map_in(table: &mut PageTable, start: VirtAddr, size: usize, flags: u8) -> bool {
    let entries = &mut table[start.as_usize()..][..size];
    let is_free = entries.iter().all(|entry| *entry == 0);
    if is_free {
        entries.fill(flags);
    }
    is_free
}

fn change_in(table: &mut PageTable, start: VirtAddr, size: usize, flags: u8) -> bool {
    let entries = &mut table[start.as_usize()..][..size];
    let is_mapped = entries.iter().all(|entry| *entry != 0);
    if is_mapped {
        entries.fill(flags);
    }
    is_mapped
}

/// Implements the trait of this crate or of the published one for a type.
macro_rules! backend {
    ($trait:path, $type:ty) => {
        impl $trait for $type {
            type Addr = VirtAddr;
            type Flags = u8;
            type PageTable = PageTable;

            fn map(&self, start: VirtAddr, size: usize, flags: u8, table: &mut PageTable) -> bool {
                self.works() && map_in(table, start, size, flags)
            }

            fn unmap(&self, start: VirtAddr, size: usize, table: &mut PageTable) -> bool {
                self.works() && change_in(table, start, size, 0)
            }

            fn protect(
                &self,
                start: VirtAddr,
                size: usize,
                flags: u8,
                table: &mut PageTable,
            ) -> bool {
                self.works() && change_in(table, start, size, flags)
            }
        }
    };
}

/// A backend that never fails.
#[derive(Clone)]
struct Simple;

impl Simple {
    fn works(&self) -> bool {
        true
    }
}

backend!(MappingBackend, Simple);
backend!(published::MappingBackend, Simple);

/// A backend that owns a reference to something counted.
#[derive(Clone)]
struct Owner(Arc<u32>);

impl Owner {
    fn works(&self) -> bool {
        true
    }
}

backend!(MappingBackend, Owner);

/// A backend whose operations fail when the number of them that may succeed is used up.
#[derive(Clone)]
struct Failing(Rc<Cell<usize>>);

impl Failing {
    fn works(&self) -> bool {
        let left = self.0.get();
        self.0.set(left.saturating_sub(1));
        left > 0
    }
}

backend!(MappingBackend, Failing);

fn listing<B: MappingBackend<Addr = VirtAddr, Flags = u8>>(
    set: &MemorySet<B>,
) -> Vec<(usize, usize, u8)> {
    set.iter()
        .map(|area| (area.start().into(), area.end().into(), area.flags()))
        .collect()
}

/// Panics unless each area has its flags in the page table, and nothing else is mapped there.
fn check<B: MappingBackend<Addr = VirtAddr, Flags = u8>>(set: &MemorySet<B>, table: &PageTable) {
    let mut expected = [0; MAX_ADDR];
    for (start, end, flags) in listing(set) {
        expected[start..end].fill(flags);
    }
    assert!(*table == expected);
}

fn area<B: MappingBackend<Addr = VirtAddr, Flags = u8>>(
    start: usize,
    size: usize,
    flags: u8,
    backend: B,
) -> MemoryArea<B> {
    MemoryArea::new(start.into(), size, flags, backend)
}

#[test]
fn an_area_has_the_parts_it_was_made_of() {
    let area = area(0x1000, 0x2000, 7, Simple);
    assert_eq!(area.va_range(), va_range!(0x1000..0x3000));
    assert_eq!((area.start(), area.end()), (va!(0x1000), va!(0x3000)));
    assert_eq!((area.size(), area.flags()), (0x2000, 7));
    let _: &Simple = area.backend();
}

#[test]
#[should_panic]
fn an_area_beyond_the_highest_address_panics() {
    area(usize::MAX, 2, 1, Simple);
}

#[test]
fn an_empty_area_and_a_range_that_overflows_are_invalid_parameters() {
    let (mut set, mut table) = (MemorySet::new(), [0; MAX_ADDR]);
    let mapped = set.map(area(0x1000, 0, 1, Simple), &mut table, false);
    assert_eq!(mapped, Err(MappingError::InvalidParam));
    let unmapped = set.unmap(va!(usize::MAX), 2, &mut table);
    assert_eq!(unmapped, Err(MappingError::InvalidParam));
    let protected = set.protect(va!(usize::MAX), 2, Some, &mut table);
    assert_eq!(protected, Err(MappingError::InvalidParam));
    assert!(set.is_empty() && set.iter().next().is_none());
}

/// A backend with no page table.
#[derive(Clone)]
struct Bare;

impl MappingBackend for Bare {
    type Addr = VirtAddr;
    type Flags = u8;
    type PageTable = ();

    fn map(&self, _: VirtAddr, _: usize, _: u8, (): &mut ()) -> bool {
        true
    }

    fn unmap(&self, _: VirtAddr, _: usize, (): &mut ()) -> bool {
        true
    }

    fn protect(&self, _: VirtAddr, _: usize, _: u8, (): &mut ()) -> bool {
        true
    }
}

#[test]
fn no_area_contains_the_highest_address() {
    let mut set = MemorySet::new();
    let area = area(usize::MAX - 0xfff, 0xfff, 1, Bare);
    set.map(area, &mut (), false).unwrap();
    assert!(set.find(va!(usize::MAX)).is_none());
    assert!(set.find(va!(usize::MAX - 1)).is_some());
}

#[test]
fn an_overlapping_area_is_refused_or_replaces_what_was_there() {
    let (mut set, mut table) = (MemorySet::new(), [0; MAX_ADDR]);
    set.map(area(0x1000, 0x4000, 1, Simple), &mut table, false)
        .unwrap();
    let refused = set.map(area(0x2000, 0x1000, 2, Simple), &mut table, false);
    assert_eq!(refused, Err(MappingError::AlreadyExists));
    set.map(area(0x2000, 0x1000, 2, Simple), &mut table, true)
        .unwrap();
    let expected = [
        (0x1000, 0x2000, 1),
        (0x2000, 0x3000, 2),
        (0x3000, 0x5000, 1),
    ];
    assert_eq!(listing(&set), expected);
    check(&set, &table);
}

#[test]
fn neighbours_that_are_alike_stay_two_areas() {
    let (mut set, mut table) = (MemorySet::new(), [0; MAX_ADDR]);
    for start in [0x2000, 0x1000] {
        set.map(area(start, 0x1000, 1, Simple), &mut table, false)
            .unwrap();
    }
    assert_eq!(set.len(), 2);
}

#[test]
fn protect_skips_areas_for_which_there_are_no_new_flags() {
    let (mut set, mut table) = (MemorySet::new(), [0; MAX_ADDR]);
    for (start, flags) in [(0x1000, 1), (0x3000, 2), (0x5000, 1)] {
        set.map(area(start, 0x1000, flags, Simple), &mut table, false)
            .unwrap();
    }
    let update = |flags| (flags == 1).then_some(3);
    set.protect(va!(0x1800), 0x4000, update, &mut table)
        .unwrap();
    let expected = [
        (0x1000, 0x1800, 1),
        (0x1800, 0x2000, 3),
        (0x3000, 0x4000, 2),
        (0x5000, 0x5800, 3),
        (0x5800, 0x6000, 1),
    ];
    assert_eq!(listing(&set), expected);
    check(&set, &table);
}

#[test]
fn free_addresses_are_found_within_the_limit() {
    let (mut set, mut table) = (MemorySet::new(), [0; MAX_ADDR]);
    for start in (0..MAX_ADDR).step_by(0x2000) {
        set.map(area(start, 0x1000, 1, Simple), &mut table, false)
            .unwrap();
    }
    let find = |hint: usize, size, limit, align| {
        let found = set.find_free_area(hint.into(), size, limit, align);
        found.map(VirtAddr::as_usize)
    };
    let all = va_range!(0..MAX_ADDR);
    assert_eq!(find(0, 0x1000, all, 1), Some(0x1000));
    assert_eq!(find(0x800, 0x800, all, 0x800), Some(0x1000));
    assert_eq!(find(0x1800, 0x1000, all, 0x1000), Some(0x3000));
    assert_eq!(find(0xf000, 0x1000, all, 0x1000), Some(0xf000));
    assert_eq!(find(0xf001, 0x1000, all, 0x1000), None);
    assert_eq!(find(0, 0x2000, all, 0x1000), None);
    assert_eq!(find(0, 0x800, all, 0x1000), None);
    assert_eq!(find(0x1800, 0x1000, va_range!(0..0x3800), 0x1000), None);
}

#[test]
fn what_a_backend_owns_is_dropped_with_its_last_area() {
    let object = Arc::new(7);
    let (mut set, mut table) = (MemorySet::new(), [0; MAX_ADDR]);
    // Enough areas for leaves that are split and merged.
    for start in (0..MAX_ADDR).step_by(0x400) {
        let owner = Owner(object.clone());
        set.map(area(start, 0x200, 1, owner), &mut table, false)
            .unwrap();
    }
    assert_eq!(Arc::strong_count(&object), 1 + set.len());
    set.unmap(va!(0x450), 0x20, &mut table).unwrap();
    set.protect(va!(0x8010), 0x20, |_| Some(2), &mut table)
        .unwrap();
    assert_eq!(set.len(), MAX_ADDR / 0x400 + 3);
    assert_eq!(Arc::strong_count(&object), 1 + set.len());
    assert!(set.iter().all(|area| *area.backend().0 == 7));
    set.unmap(va!(0), 0x8000, &mut table).unwrap();
    assert_eq!(Arc::strong_count(&object), 1 + set.len());
    check(&set, &table);
    drop(set);
    assert_eq!(Arc::strong_count(&object), 1);
    let mut set = MemorySet::new();
    table = [0; MAX_ADDR];
    set.map(area(0, 0x1000, 1, Owner(object.clone())), &mut table, false)
        .unwrap();
    set.clear(&mut table).unwrap();
    assert!(set.is_empty() && Arc::strong_count(&object) == 1);
}

#[test]
fn an_aligned_free_area_overlaps_with_no_area() {
    let (mut set, mut table) = (MemorySet::new(), [0; MAX_ADDR]);
    for (start, size) in [(0x1000, 0xd00), (0x1e00, 0x300)] {
        set.map(area(start, size, 1, Simple), &mut table, false)
            .unwrap();
    }
    let limit = va_range!(0..MAX_ADDR);
    let found = set.find_free_area(va!(0x1000), 0x400, limit, 0x400);
    // The published crate answers 0x2000, which is inside the second area.
    assert_eq!(found, Some(va!(0x2400)));
}

/// The set may move, and threads may share it.
#[test]
fn a_set_is_send_and_sync_if_its_backends_are() {
    fn is_send_and_sync<T: Send + Sync>(_: &T) {}
    static SET: std::sync::Mutex<MemorySet<Owner>> = std::sync::Mutex::new(MemorySet::new());
    is_send_and_sync(&SET);
    is_send_and_sync(&MemorySet::<Owner>::default());
}

/// An operation on a set of three areas and their page table.
type Change = fn(&mut MemorySet<Failing>, &mut PageTable) -> Result<(), MappingError>;

#[test]
fn a_backend_that_fails_leaves_areas_and_page_table_consistent() {
    let changes: [Change; 4] = [
        |set, table| set.unmap(va!(0x1800), 0x5000, table),
        |set, table| set.unmap(va!(0x3400), 0x400, table),
        |set, table| set.protect(va!(0x1800), 0x4000, |flags| Some(flags + 1), table),
        |set, table| set.clear(table),
    ];
    for change in changes {
        for successes in 0.. {
            let left = Rc::new(Cell::new(usize::MAX));
            let (mut set, mut table) = (MemorySet::new(), [0; MAX_ADDR]);
            for start in [0x1000, 0x3000, 0x5000] {
                let backend = Failing(left.clone());
                set.map(area(start, 0x1000, 1, backend), &mut table, false)
                    .unwrap();
            }
            left.set(successes);
            let result = change(&mut set, &mut table);
            check(&set, &table);
            match result {
                Ok(()) => break,
                Err(error) => assert_eq!(error, MappingError::BadState),
            }
        }
    }
}

#[test]
fn an_area_that_cannot_be_mapped_is_not_added() {
    let (mut set, mut table) = (MemorySet::new(), [0; MAX_ADDR]);
    let backend = Failing(Rc::default());
    let mapped = set.map(area(0x1000, 0x1000, 1, backend), &mut table, false);
    assert_eq!(mapped, Err(MappingError::BadState));
    assert!(set.is_empty());
    check(&set, &table);
}

/// An operation of a script. Addresses and sizes are in units of 0x100 bytes.
#[derive(Clone, Debug)]
enum Op {
    Map(usize, usize, u8, bool),
    Unmap(usize, usize),
    Protect(usize, usize, u8),
    Find(usize, usize),
    Query(usize, usize),
    Clear,
}

const UNIT: usize = 0x100;
const UNITS: usize = MAX_ADDR / UNIT;

fn op() -> impl Strategy<Value = Op> {
    let at = || 0..UNITS;
    let size = || prop_oneof![8 => 0..4_usize, 1 => 0..40_usize];
    prop_oneof![
        12 => (at(), size(), 1..4_u8, prop::bool::weighted(0.2))
            .prop_map(|(at, size, flags, unmap)| Op::Map(at, size, flags, unmap)),
        4 => (at(), size()).prop_map(|(at, size)| Op::Unmap(at, size)),
        // Of no bytes, the published crate splits areas.
        4 => (at(), size(), 1..4_u8)
            .prop_map(|(at, size, flags)| Op::Protect(at, size.max(1), flags)),
        4 => (at(), 1..8_usize).prop_map(|(at, size)| Op::Find(at, size)),
        2 => (at(), size()).prop_map(|(at, size)| Op::Query(at, size)),
        1 => Just(Op::Clear),
    ]
}

/// Does an operation on a set of either crate. Returns its result as text, with all areas.
macro_rules! apply {
    ($crate_name:ident, $set:expr, $table:expr, $op:expr) => {{
        let (set, table) = (&mut $set, &mut $table);
        let bytes = |at: usize, size: usize| (at * UNIT, size.min(UNITS - at) * UNIT);
        let result = match *$op {
            Op::Map(at, size, flags, unmap_overlap) => {
                let (start, size) = bytes(at, size);
                let area = $crate_name::MemoryArea::new(start.into(), size, flags, Simple);
                format!("{:?}", set.map(area, table, unmap_overlap))
            }
            Op::Unmap(at, size) => {
                let (start, size) = bytes(at, size);
                format!("{:?}", set.unmap(start.into(), size, table))
            }
            Op::Protect(at, size, flags) => {
                let (start, size) = bytes(at, size);
                let update = |old| (old != flags).then_some(flags);
                format!("{:?}", set.protect(start.into(), size, update, table))
            }
            // With a larger alignment, the published crate finds addresses of areas.
            Op::Find(at, size) => {
                let all = va_range!(0..MAX_ADDR);
                let found = set.find_free_area((at * UNIT).into(), size * UNIT, all, UNIT);
                format!("{found:?}")
            }
            Op::Query(at, size) => {
                let (start, size) = bytes(at, size);
                let range = AddrRange::from_start_size(VirtAddr::from(start), size);
                let found = set.find((start + 1).into());
                format!("{} {found:?} {}", set.overlaps(range), set.len())
            }
            Op::Clear => format!("{:?}", set.clear(table)),
        };
        format!("{result} {} {set:?}", set.is_empty())
    }};
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 1000 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_script_has_the_results_that_it_has_with_the_published_crate(ops in vec(op(), 1..200)) {
        let (mut ours, mut our_table) = (MemorySet::<Simple>::new(), [0; MAX_ADDR]);
        let (mut theirs, mut their_table) =
            (published::MemorySet::<Simple>::new(), [0; MAX_ADDR]);
        for op in &ops {
            let our_result = apply!(memory_set, ours, our_table, op);
            let their_result = apply!(published, theirs, their_table, op);
            prop_assert_eq!(our_result, their_result, "{:?}", op);
        }
        prop_assert!(our_table == their_table);
    }
}
