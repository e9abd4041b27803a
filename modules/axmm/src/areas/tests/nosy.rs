//! A backing whose code uses the areas that it is kept in. Another hart may look at them
//! meanwhile, so none of that code may run while a node is half written.

use std::cell::Cell;

use super::*;

const PAGE: usize = 0x1000;
/// Enough areas for a tree of two levels, whose leaves are split and merged.
const COUNT: usize = 60;

thread_local! {
    /// The areas that the code of [`Nosy`] looks at.
    static WATCHED: Cell<Option<&'static Areas<Nosy>>> = const { Cell::new(None) };
    /// How often it has.
    static LOOKS: Cell<usize> = const { Cell::new(0) };
}

#[derive(Clone, Copy)]
struct Nosy;

/// Looks at every area with an even number, as another hart would. They stay all the time.
fn look() {
    // `unpack` looks, too.
    let Some(areas) = WATCHED.take() else { return };
    for number in (0..COUNT).step_by(2) {
        let seen = areas.nodes().peek(start(number));
        assert!(seen.is_some(), "area {number} is being written");
    }
    LOOKS.set(LOOKS.get() + 1);
    WATCHED.set(Some(areas));
}

impl Backing for Nosy {
    fn pack(self) -> [usize; 2] {
        look();
        [0; 2]
    }

    fn unpack(_: [usize; 2]) -> Self {
        look();
        Self
    }

    fn at_offset(&self, _: usize) -> Self {
        look();
        *self
    }

    fn continues(&self, _: usize, _: &Self) -> bool {
        look();
        true
    }
}

fn start(number: usize) -> usize {
    number * 4 * PAGE
}

fn insert(areas: &Areas<Nosy>, span: Span) {
    areas.reserve_insert(&span).unwrap();
    areas.insert(Area::new(span, RW, "nosy", Nosy));
}

fn remove(areas: &Areas<Nosy>, span: &Span) {
    areas.reserve_cuts(span).unwrap();
    areas.remove(span, usize::MAX);
}

#[test]
fn no_code_of_a_backing_runs_while_a_node_is_written() {
    let areas: &Areas<Nosy> = Box::leak(Box::new(Areas::empty()));
    let span = |number| start(number)..start(number) + 3 * PAGE;
    for number in (0..COUNT).step_by(2) {
        insert(areas, span(number));
    }
    WATCHED.set(Some(areas));
    for number in (1..COUNT).step_by(2) {
        insert(areas, span(number));
    }
    for number in (1..COUNT).step_by(2) {
        let middle = start(number) + PAGE..start(number) + 2 * PAGE;
        areas.reserve_cuts(&middle).unwrap();
        areas.cut(&middle);
        areas.set_flags(&middle, RO, usize::MAX);
        areas.set_flags(&middle, RW, usize::MAX);
        remove(areas, &middle);
        insert(areas, middle);
        remove(areas, &(start(number)..start(number) + PAGE));
    }
    for number in (1..COUNT).step_by(2) {
        remove(areas, &span(number));
    }
    WATCHED.set(None);
    assert!(LOOKS.get() > 0);
    assert_eq!(areas.iter().count(), COUNT / 2);
    areas.tree.check();
}
