//! One thread changes areas, others look at them without its lock. Under Miri, which sees
//! every read of what may be written at the same time, as well as in a plain process.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use fastrand::Rng;

use super::*;

const PAGE: usize = 0x1000;

/// Slots of two pages, each with an area of one page or none; so many that the tree has
/// several levels in a plain process, and several leaves under Miri.
const SLOTS: usize = if cfg!(miri) { 40 } else { 2000 };
const READERS: usize = 2;

/// How often an area comes, goes or changes.
const STEPS: usize = if cfg!(miri) { 60 } else { 200_000 };

/// The areas, and the lock of the one that changes them.
struct Both {
    areas: SharedAreas<From>,
    lock: Mutex<()>,
}

/// What there may be at `slot`: the rights come with a name of their own.
fn area(slot: usize, writable: bool) -> Area<From> {
    let (flags, name) = match writable {
        true => (RW, "may be written"),
        false => (RO, "read-only"),
    };
    let start = slot * 2 * PAGE;
    Area::new(start..start + PAGE, flags, name, From(start + PAGE))
}

fn change(areas: &Areas<From>, slot: usize, writable: bool) {
    let new = area(slot, writable);
    let span = new.span();
    if areas.find(span.start).is_some() {
        areas.reserve_cuts(&span).unwrap();
        areas.remove(&span, usize::MAX);
    }
    if !slot.is_multiple_of(7) || writable {
        areas.reserve_insert(&span).unwrap();
        areas.insert(new);
    }
}

/// Looks at any slot. Returns whether an area was there; it is one that can be.
fn look(areas: &SharedAreas<From>, rng: &mut Rng) -> bool {
    let slot = rng.usize(0..SLOTS);
    let addr = slot * 2 * PAGE + rng.usize(0..2 * PAGE);
    let Some((found, sight)) = areas.peek(addr) else {
        return false;
    };
    assert!(found.span().contains(&addr), "{addr:#x}: {found:x?}");
    let whole = area(slot, found.flags() == RW);
    let parts = |area: &Area<From>| (area.span(), area.flags().bits(), area.name(), area.backing);
    assert_eq!(parts(&found), parts(&whole));
    // SAFETY: the areas outlive all threads of the test.
    unsafe { sight.holds() };
    true
}

#[test]
fn who_looks_while_areas_change_sees_whole_ones() {
    let both = Both {
        areas: SharedAreas::empty(),
        lock: Mutex::new(()),
    };
    let (done, seen) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for reader in 0..READERS {
            let (both, done, seen) = (&both, &done, &seen);
            scope.spawn(move || {
                let mut rng = Rng::with_seed(reader as u64);
                while !done.load(Ordering::Relaxed) {
                    let found = look(&both.areas, &mut rng);
                    seen.fetch_add(usize::from(found), Ordering::Relaxed);
                }
            });
        }
        let mut rng = Rng::with_seed(99);
        for _ in 0..STEPS {
            let _guard = both.lock.lock().unwrap();
            // SAFETY: `lock` is held as long as the reference is used.
            let areas = unsafe { both.areas.locked() };
            change(areas, rng.usize(0..SLOTS), rng.bool());
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(seen.into_inner() > 0, "no reader has seen an area");
    // SAFETY: no other thread is left.
    unsafe { both.areas.locked() }.tree.check();
}
