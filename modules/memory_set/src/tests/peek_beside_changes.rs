//! One thread changes areas while others look them up without its lock. Under Miri, which
//! notices each data race, as well as in a plain process.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use fastrand::Rng;

use super::*;

const PAGE: usize = 0x1000;

/// Places of two pages, each with an area of one page or without. In a plain process the tree has
/// several levels, and under Miri several leaves.
const PLACES: usize = if cfg!(miri) { 40 } else { 2000 };
const READERS: usize = 2;

/// How often an area is inserted, removed or changed.
const STEPS: usize = if cfg!(miri) { 60 } else { 200_000 };

/// The set, and the lock of the thread that changes it.
struct Locked {
    set: SharedMemorySet<Offset>,
    lock: Mutex<()>,
}

/// Returns the area that there may be at `place`. Its flags tell its backend.
fn area_at(place: usize, is_writable: bool) -> MemoryArea<Offset> {
    let start = place * 2 * PAGE;
    match is_writable {
        true => area(start..start + PAGE, RW, start),
        false => area(start..start + PAGE, RO, !start),
    }
}

/// Replaces the area at `place`. Every seventh place has no area instead of one that is not
/// writable, so that areas are also missing.
fn change(set: &Set, place: usize, is_writable: bool) {
    let new = area_at(place, is_writable);
    if set.area_at(new.start()).is_some() {
        set.reserve_cut(new.va_range()).unwrap();
        set.remove(new.va_range(), usize::MAX);
    }
    if !place.is_multiple_of(7) || is_writable {
        set.reserve_insert(new.va_range()).unwrap();
        set.insert(new.va_range(), new.flags(), new.backend());
    }
}

/// Looks up an address of a random place. Returns whether an area was found. Panics if it is not
/// one that the writer inserts there.
fn look_up(set: &SharedMemorySet<Offset>, rng: &mut Rng) -> bool {
    let place = rng.usize(0..PLACES);
    let addr = place * 2 * PAGE + rng.usize(0..2 * PAGE);
    let Some((found, snapshot)) = set.peek(addr) else {
        return false;
    };
    assert!(found.va_range().contains(addr), "{addr:#x}: {found:x?}");
    let whole = area_at(place, found.flags() == RW);
    let parts = |area: &MemoryArea<Offset>| (area.range(), area.flags(), *area.backend());
    assert_eq!(parts(&found), parts(&whole));
    // SAFETY: the set outlives all threads of the test.
    unsafe { snapshot.is_current() };
    true
}

#[test]
fn lookups_beside_changes_return_whole_areas() {
    let locked = Locked {
        set: SharedMemorySet::new(),
        lock: Mutex::new(()),
    };
    let (done, seen) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for reader in 0..READERS {
            let (locked, done, seen) = (&locked, &done, &seen);
            scope.spawn(move || {
                let mut rng = Rng::with_seed(reader as u64);
                while !done.load(Ordering::Relaxed) {
                    let found = look_up(&locked.set, &mut rng);
                    seen.fetch_add(usize::from(found), Ordering::Relaxed);
                }
            });
        }
        let mut rng = Rng::with_seed(99);
        for _ in 0..STEPS {
            let _guard = locked.lock.lock().unwrap();
            // SAFETY: `lock` is held as long as the reference is used.
            let set = unsafe { locked.set.locked() };
            change(set, rng.usize(0..PLACES), rng.bool());
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(seen.into_inner() > 0, "no reader has found an area");
    // SAFETY: no other thread is left.
    unsafe { locked.set.locked() }.tree.check();
}
