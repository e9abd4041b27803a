//! Each operation with each of its allocations failing once. It reports that, and has changed
//! nothing. What has been reserved needs no memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::Range;
use std::ptr;

use memory_addr::AddrRange;
use memory_set::{AreaBackend, BackendWords, MemorySet, ReserveError, WordBackend, WordSlot};

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

/// A backend without data.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Plain;

impl AreaBackend for Plain {
    type Addr = usize;
    type Flags = u8;
    type Slot = WordSlot;
}

impl WordBackend for Plain {
    fn flags_to_word(flags: u8) -> usize {
        flags.into()
    }

    fn flags_from_word(word: usize) -> u8 {
        word as u8
    }

    fn to_words(self) -> BackendWords {
        [0; 4]
    }

    unsafe fn from_words(_: BackendWords) -> Self {
        Self
    }
}

type Set = MemorySet<Plain>;
type Reserved = Result<(), ReserveError>;

const PAGE: usize = 0x1000;
const RO: u8 = 1;
const RW: u8 = 3;

fn pages(range: Range<usize>) -> AddrRange<usize> {
    AddrRange::new(range.start * PAGE, range.end * PAGE)
}

fn insert(set: &Set, at: Range<usize>, flags: u8) -> Reserved {
    set.reserve_insert(pages(at.clone()))?;
    ALLOWED.set(Some(0));
    set.insert(pages(at), flags, &Plain);
    Ok(())
}

fn remove(set: &Set, at: Range<usize>) -> Reserved {
    set.reserve_cut(pages(at.clone()))?;
    ALLOWED.set(Some(0));
    set.remove(pages(at), usize::MAX);
    Ok(())
}

fn set_flags(set: &Set, at: Range<usize>) -> Reserved {
    set.reserve_cut(pages(at.clone()))?;
    ALLOWED.set(Some(0));
    set.split_at_ends(pages(at.clone()));
    set.set_flags(pages(at), RO, usize::MAX);
    Ok(())
}

/// Returns all that can be seen of the set: each area, and the first gap from its end on.
fn state(set: &Set) -> Vec<(Range<usize>, u8, Option<usize>)> {
    let limit = AddrRange::new(0, usize::MAX);
    let gap = |hint| set.find_free_area(hint, PAGE, limit, PAGE);
    set.areas()
        .map(|area| (area.start()..area.end(), area.flags(), gap(area.end())))
        .collect()
}

/// Does `operation` with its first allocation failing, then with its second, and so on until it
/// succeeds. Returns how many allocations it needs.
fn until_it_succeeds(set: &Set, operation: impl Fn(&Set) -> Reserved) -> usize {
    for count in 0.. {
        let before = state(set);
        ALLOWED.set(Some(count));
        let result = operation(set);
        ALLOWED.set(None);
        match result {
            Ok(()) => return count,
            Err(error) => assert_eq!(error, ReserveError::NoMemory),
        }
        assert_eq!(state(set), before);
    }
    0
}

/// Returns a set of `count` times three areas, and the number of allocations that it took. Each of
/// these has failed once. The three areas are six pages, the middle two with other flags.
fn grown(count: usize) -> (Set, usize) {
    let set = Set::new();
    let mut allocations = 0;
    for at in (0..count).map(|i| 10 * (i * 7919 % count)) {
        allocations += until_it_succeeds(&set, |set| insert(set, at..at + 6, RW));
        allocations += until_it_succeeds(&set, |set| set_flags(set, at + 2..at + 4));
    }
    (set, allocations)
}

#[test]
fn an_operation_without_memory_changes_nothing() {
    let (set, allocations) = grown(300);
    assert!(allocations > 100);
    assert_eq!(set.areas().count(), 900);
    for at in (0..300).map(|i| 10 * (i * 7919 % 300)) {
        until_it_succeeds(&set, |set| remove(set, at..at + 1));
        until_it_succeeds(&set, |set| remove(set, at + 3..at + 5));
        assert_eq!(
            until_it_succeeds(&set, |set| remove(set, at + 1..at + 3)),
            0
        );
    }
    assert_eq!(set.areas().count(), 300);
}

#[test]
fn what_cuts_no_area_needs_no_memory() {
    let (set, _) = grown(200);
    for at in (0..200).map(|i| 10 * i) {
        assert_eq!(until_it_succeeds(&set, |set| set_flags(set, at..at + 6)), 0);
        assert_eq!(until_it_succeeds(&set, |set| remove(set, at..at + 6)), 0);
    }
    assert!(set.areas().next().is_none());
}

#[test]
fn room_for_many_is_reserved_at_once() {
    let set = Set::new();
    assert_eq!(set.reserve(2000), Ok(()));
    ALLOWED.set(Some(0));
    for at in (0..2000).map(|i| 2 * (i * 7919 % 2000)) {
        set.insert(pages(at..at + 1), RW, &Plain);
    }
    ALLOWED.set(None);
    assert_eq!(set.areas().count(), 2000);
}

/// A tree that grows needs nodes of several levels at a time.
#[test]
fn an_insertion_into_many_areas_needs_only_what_was_reserved() {
    const COUNT: usize = 3000;
    type Place = fn(usize) -> usize;
    let ascending: Place = |number| 2 * number;
    let descending: Place = |number| 2 * (COUNT - number);
    for place in [ascending, descending] {
        let set = Set::new();
        for number in 0..COUNT {
            let page = place(number);
            let inserted = insert(&set, page..page + 1, RO);
            ALLOWED.set(None);
            assert_eq!(inserted, Ok(()));
            assert!(set.area_at(page * PAGE).is_some(), "area {number}");
        }
        assert_eq!(set.areas().count(), COUNT);
    }
}

/// An insertion for which nothing was reserved allocates, and panics if it cannot. It does not
/// use a node that is in use already.
#[test]
fn an_insertion_that_was_not_reserved_panics_without_memory() {
    let (set, _) = grown(5);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        // The panic itself allocates.
        ALLOWED.set(None);
        hook(info);
    }));
    let filled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        ALLOWED.set(Some(0));
        for at in 1000..1100 {
            set.insert(pages(2 * at..2 * at + 1), RW, &Plain);
        }
    }));
    assert!(filled.is_err());
}
