//! A backend whose own code looks areas up in the set that it is stored in. Other threads may do
//! so at any time, so a set must not call a backend while a node is half written.

use std::cell::Cell;

use super::*;

const PAGE: usize = 0x1000;
/// Enough areas for a tree of two levels, whose leaves are split and merged.
const COUNT: usize = 60;

thread_local! {
    /// The set that the code of [`Reentrant`] looks areas up in.
    static WATCHED: Cell<Option<&'static MemorySet<Reentrant>>> = const { Cell::new(None) };
    /// How often it has looked all areas up.
    static LOOKUPS: Cell<usize> = const { Cell::new(0) };
}

#[derive(Clone, Copy)]
struct Reentrant;

/// Looks up each area with an even number as another thread would. These areas stay all the time.
fn look_up() {
    // `from_words` looks areas up, too.
    let Some(set) = WATCHED.take() else { return };
    for number in (0..COUNT).step_by(2) {
        let found = set.tree.nodes().peek(start(number));
        assert!(found.is_some(), "area {number} is being written");
    }
    LOOKUPS.set(LOOKUPS.get() + 1);
    WATCHED.set(Some(set));
}

impl AreaBackend for Reentrant {
    type Addr = usize;
    type Flags = u8;
    type Slot = WordSlot;
}

impl WordBackend for Reentrant {
    fn flags_to_word(flags: u8) -> usize {
        look_up();
        flags.into()
    }

    fn flags_from_word(word: usize) -> u8 {
        look_up();
        word as u8
    }

    fn to_words(self) -> BackendWords {
        look_up();
        [0; 4]
    }

    unsafe fn from_words(_: BackendWords) -> Self {
        look_up();
        Self
    }
}

fn start(number: usize) -> usize {
    number * 4 * PAGE
}

fn insert(set: &MemorySet<Reentrant>, at: Range<usize>) {
    set.reserve_insert(range(at.clone())).unwrap();
    set.insert(range(at), RW, &Reentrant);
}

fn remove(set: &MemorySet<Reentrant>, at: Range<usize>) {
    set.reserve_cut(range(at.clone())).unwrap();
    set.remove(range(at), usize::MAX);
}

#[test]
fn no_code_of_a_backend_runs_while_a_node_is_half_written() {
    let set: &MemorySet<Reentrant> = Box::leak(Box::new(MemorySet::new()));
    let place = |number| start(number)..start(number) + 3 * PAGE;
    for number in (0..COUNT).step_by(2) {
        insert(set, place(number));
    }
    WATCHED.set(Some(set));
    for number in (1..COUNT).step_by(2) {
        insert(set, place(number));
    }
    for number in (1..COUNT).step_by(2) {
        let middle = start(number) + PAGE..start(number) + 2 * PAGE;
        set.reserve_cut(range(middle.clone())).unwrap();
        set.split_at_ends(range(middle.clone()));
        set.set_flags(range(middle.clone()), RO, usize::MAX);
        set.set_flags(range(middle.clone()), RW, usize::MAX);
        remove(set, middle.clone());
        insert(set, middle);
        remove(set, start(number)..start(number) + PAGE);
    }
    for number in (1..COUNT).step_by(2) {
        remove(set, place(number));
    }
    WATCHED.set(None);
    assert!(LOOKUPS.get() > 0);
    assert_eq!(set.areas().count(), COUNT / 2);
    set.tree.check();
}
