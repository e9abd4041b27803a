//! Every operation on areas with each of its allocations failing once: it says so
//! and has changed nothing, and whatever has been reserved needs no memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::Range;
use std::ptr;

use axerrno::{AxError, AxResult};
use axmm::MappingFlags;
use axmm::areas::{Area, Areas, Backing};

/// The system's allocator, until [`ALLOWED`] says that there is no more.
struct Failing;

thread_local! {
    /// How many more allocations of this thread succeed; `None`: all do.
    static ALLOWED: Cell<Option<usize>> = const { Cell::new(None) };
}

fn allowed() -> bool {
    ALLOWED.with(|allowed| match allowed.get() {
        None => true,
        Some(0) => false,
        Some(left) => {
            allowed.set(Some(left - 1));
            true
        }
    })
}

// SAFETY: all is the system allocator's, or null, which says that there is no
// memory.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match allowed() {
            // SAFETY: the caller's promises are the same.
            true => unsafe { System.alloc(layout) },
            false => ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are the same, and the block is from there.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        match allowed() {
            // SAFETY: the caller's promises are the same, and the block is from
            // there.
            true => unsafe { System.realloc(block, layout, size) },
            false => ptr::null_mut(),
        }
    }
}

#[global_allocator]
static ALLOCATOR: Failing = Failing;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Fresh;

impl Backing for Fresh {
    fn pack(self) -> [usize; 2] {
        [0; 2]
    }

    fn unpack(_words: [usize; 2]) -> Self {
        Self
    }

    fn at_offset(&self, _offset: usize) -> Self {
        Self
    }

    fn continues(&self, _len: usize, _next: &Self) -> bool {
        true
    }
}

const PAGE: usize = 0x1000;
const RO: MappingFlags = MappingFlags::READ;
const RW: MappingFlags = RO.union(MappingFlags::WRITE);

fn pages(range: Range<usize>) -> Range<usize> {
    range.start * PAGE..range.end * PAGE
}

fn insert(areas: &Areas<Fresh>, at: Range<usize>, flags: MappingFlags) -> AxResult {
    areas.reserve_insert(&pages(at.clone()))?;
    ALLOWED.set(Some(0));
    areas.insert(Area::new(pages(at), flags, "test", Fresh));
    Ok(())
}

fn remove(areas: &Areas<Fresh>, at: Range<usize>) -> AxResult {
    areas.reserve_cuts(&pages(at.clone()))?;
    ALLOWED.set(Some(0));
    areas.remove(&pages(at), usize::MAX);
    Ok(())
}

fn set_flags(areas: &Areas<Fresh>, at: Range<usize>) -> AxResult {
    areas.reserve_cuts(&pages(at.clone()))?;
    ALLOWED.set(Some(0));
    areas.cut(&pages(at.clone()));
    areas.set_flags(&pages(at), RO, usize::MAX);
    Ok(())
}

/// All that can be seen of the areas: each, and the first gap from its end on.
fn state(areas: &Areas<Fresh>) -> Vec<(Range<usize>, MappingFlags, Option<usize>)> {
    let gap = |hint| areas.find_free(hint, PAGE, &(0..usize::MAX), PAGE);
    let all = areas
        .iter()
        .map(|area| area.span())
        .zip(areas.iter().map(|area| area.flags()));
    all.map(|(span, flags)| (span.clone(), flags, gap(span.end)))
        .collect()
}

/// Does `operation` with the first allocation failing, then the second, and so on
/// until it succeeds. Answers how many had to succeed.
fn until_it_succeeds(areas: &Areas<Fresh>, operation: impl Fn(&Areas<Fresh>) -> AxResult) -> usize {
    for count in 0.. {
        let before = state(areas);
        ALLOWED.set(Some(count));
        let result = operation(areas);
        ALLOWED.set(None);
        match result {
            Ok(()) => return count,
            Err(error) => assert_eq!(error, AxError::NoMemory),
        }
        assert_eq!(state(areas), before);
    }
    0
}

/// Areas of six pages, the middle two with fewer rights, of which `count` have
/// come, four pages apart, with each allocation failing once.
fn grown(count: usize) -> (Areas<Fresh>, usize) {
    let areas = Areas::empty();
    let mut allocations = 0;
    for at in (0..count).map(|i| 10 * (i * 7919 % count)) {
        allocations += until_it_succeeds(&areas, |a| insert(a, at..at + 6, RW));
        allocations += until_it_succeeds(&areas, |a| set_flags(a, at + 2..at + 4));
    }
    (areas, allocations)
}

#[test]
fn an_operation_without_memory_changes_nothing() {
    let (areas, allocations) = grown(300);
    assert!(allocations > 100);
    assert_eq!(areas.iter().count(), 900);
    for at in (0..300).map(|i| 10 * (i * 7919 % 300)) {
        until_it_succeeds(&areas, |a| remove(a, at..at + 1));
        until_it_succeeds(&areas, |a| remove(a, at + 3..at + 5));
        assert_eq!(until_it_succeeds(&areas, |a| remove(a, at + 1..at + 3)), 0);
    }
    assert_eq!(areas.iter().count(), 300);
}

#[test]
fn what_cuts_no_area_needs_no_memory() {
    let (areas, _) = grown(200);
    for at in (0..200).map(|i| 10 * i) {
        assert_eq!(until_it_succeeds(&areas, |a| set_flags(a, at..at + 6)), 0);
        assert_eq!(until_it_succeeds(&areas, |a| remove(a, at..at + 6)), 0);
    }
    assert!(areas.iter().next().is_none());
}

#[test]
fn room_for_many_is_reserved_at_once() {
    let areas = Areas::empty();
    assert_eq!(areas.reserve(2000), Ok(()));
    ALLOWED.set(Some(0));
    for at in (0..2000).map(|i| 2 * (i * 7919 % 2000)) {
        areas.insert(Area::new(pages(at..at + 1), RW, "test", Fresh));
    }
    ALLOWED.set(None);
    assert_eq!(areas.iter().count(), 2000);
}

/// A tree that grows needs nodes of several levels at a time.
#[test]
fn an_insertion_into_many_areas_needs_only_what_was_reserved() {
    const COUNT: usize = 3000;
    type Place = fn(usize) -> usize;
    let ascending: Place = |number| 2 * number;
    let descending: Place = |number| 2 * (COUNT - number);
    for place in [ascending, descending] {
        let areas = Areas::empty();
        for number in 0..COUNT {
            let page = place(number);
            let inserted = insert(&areas, page..page + 1, RO);
            ALLOWED.set(None);
            assert_eq!(inserted, Ok(()));
            assert!(areas.find(page * PAGE).is_some(), "area {number}");
        }
        assert_eq!(areas.iter().count(), COUNT);
    }
}
