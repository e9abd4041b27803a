//! Every interleaving of a hart that changes a leaf and one that looks at it, and every
//! order that memory may have.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;
use page_table_multiarch::MappingFlags;

use super::*;

const RO: MappingFlags = MappingFlags::READ;
const RW: MappingFlags = RO.union(MappingFlags::WRITE);

/// Two words that belong together.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Twice(usize);

impl Backing for Twice {
    fn pack(self) -> [usize; 2] {
        [self.0, self.0]
    }

    fn unpack([one, other]: [usize; 2]) -> Self {
        assert_eq!(one, other, "words of two backings");
        Self(one)
    }

    fn at_offset(&self, _offset: usize) -> Self {
        *self
    }

    fn continues(&self, _len: usize, _next: &Self) -> bool {
        false
    }
}

/// An area whose backing tells its addresses.
fn area(start: usize, end: usize, flags: MappingFlags) -> Area<Twice> {
    Area::new(start..end, flags, "test", Twice(start + end))
}

fn insert(leaf: &Leaf<Twice>, position: usize, area: Area<Twice>) {
    leaf.insert(position, &area, area.backing.pack());
}

/// Lets `change` run beside a look at `addr` in a leaf with the areas 10..20 and 30..40.
/// The look finds one of the areas of `possible`, or says nothing for certain; both happen,
/// and each area is found.
fn peek_beside<const N: usize>(addr: usize, possible: [Area<Twice>; N], change: fn(&Leaf<Twice>)) {
    let nothing: &AtomicUsize = Box::leak(Box::default());
    let found: &[AtomicUsize; N] = Box::leak(Box::new([const { AtomicUsize::new(0) }; N]));
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let leaf = Arc::new(Leaf::<Twice>::new());
        insert(&leaf, 0, area(10, 20, RW));
        insert(&leaf, 1, area(30, 40, RW));
        let reader = leaf.clone();
        let reader = thread::spawn(move || {
            let Some((seen, _)) = reader.peek(addr) else {
                nothing.fetch_add(1, Relaxed);
                return;
            };
            let same = |area: &Area<Twice>| format!("{area:?}") == format!("{seen:?}");
            let which = possible.iter().position(same);
            let which = which.unwrap_or_else(|| panic!("{seen:?} was never there"));
            found[which].fetch_add(1, Relaxed);
        });
        change(&leaf);
        reader.join().unwrap();
    });
    let (nothing, found) = (
        nothing.load(Relaxed),
        found.each_ref().map(|n| n.load(Relaxed)),
    );
    assert!(
        nothing > 0 && found.iter().all(|count| *count > 0),
        "{nothing} {found:?}"
    );
}

#[test]
fn an_area_is_seen_with_its_old_rights_or_its_new_ones() {
    let possible = [area(30, 40, RW), area(30, 40, RO)];
    peek_beside(35, possible, |leaf| leaf.set_flags(1, RO));
}

#[test]
fn an_area_is_seen_whole_when_another_takes_its_place() {
    let possible = [area(30, 40, RW), area(32, 40, RO)];
    peek_beside(35, possible, |leaf| {
        let area = area(32, 40, RO);
        leaf.replace(1, &area, area.backing.pack());
    });
}

#[test]
fn an_area_that_goes_is_seen_whole_or_not_at_all() {
    peek_beside(15, [area(10, 20, RW)], |leaf| {
        leaf.remove(0);
    });
}

#[test]
fn an_area_is_found_though_another_comes_before_it() {
    peek_beside(35, [area(30, 40, RW)], |leaf| {
        insert(leaf, 1, area(22, 25, RO));
    });
}
