//! Which hart gets the index lock next.

use fastrand::Rng;

use super::*;
use crate::by_turns::{FourHarts, HARTS, ON_WAIT, at_round};

const MOST_HARTS: usize = 64;

#[test]
fn a_free_lock_goes_to_any_hart_and_to_no_other_until_it_is_free() {
    let lock = IndexLock::<FourHarts>::new();
    for hart in 0..HARTS {
        assert!(lock.try_lock(hart));
        for other in 0..HARTS {
            assert!(!lock.try_lock(other));
            assert_eq!(lock.is_held_by(other), other == hart);
        }
        lock.unlock();
        assert!((0..HARTS).all(|hart| !lock.is_held_by(hart)));
    }
}

#[test]
fn a_holder_names_the_first_waiting_hart_behind_it() {
    let mut rng = Rng::with_seed(0);
    for holder in (0..MOST_HARTS).cycle().take(1000) {
        let lock = IndexLock::<FourHarts>::new();
        // Few harts, so that often none is behind the holder.
        let waiting = 1 << rng.usize(..MOST_HARTS) | 1 << rng.usize(..MOST_HARTS);
        assert!(lock.try_lock(holder));
        lock.waiting.store(waiting, Ordering::Relaxed);
        lock.unlock();
        let behind = (holder + 1..=holder + MOST_HARTS).map(|number| number % MOST_HARTS);
        let next = behind.into_iter().find(|hart| waiting >> hart & 1 != 0);
        let others = (0..MOST_HARTS).filter(|hart| Some(*hart) != next);
        assert!(!others.into_iter().any(|hart| lock.try_lock(hart)));
        assert!(lock.try_lock(next.unwrap()));
    }
}

#[test]
fn a_hart_waits_its_patience_and_then_in_cyclic_order() {
    let wait: [fn(&IndexLock<FourHarts>, usize); 2] = [
        |lock, hart| lock.lock(hart, &mut None),
        |lock, hart| lock.lock_beside_others(hart),
    ];
    for (wait, more) in wait.into_iter().flat_map(|wait| [(wait, 0), (wait, 5)]) {
        let lock: &'static _ = Box::leak(Box::new(IndexLock::<FourHarts>::new()));
        assert!(lock.try_lock(2));
        at_round(PATIENCE - 1, move || {
            assert_eq!(lock.waiting.load(Ordering::Relaxed), 0);
            at_round(more, move || {
                assert_eq!(lock.waiting.load(Ordering::Relaxed), 1 << 1);
                lock.unlock();
                assert!(!lock.try_lock(2), "hart 1 has waited long");
            });
        });
        wait(lock, 1);
        assert!(lock.is_held_by(1));
        assert!(ON_WAIT.take().is_none(), "it has waited");
        lock.unlock();
        assert!(lock.try_lock(3), "no hart waits any more");
    }
}

#[test]
fn other_harts_stay_in_cyclic_order() {
    let lock: &'static _ = Box::leak(Box::new(IndexLock::<FourHarts>::new()));
    assert!(lock.try_lock(0));
    at_round(PATIENCE, || {
        lock.waiting.fetch_or(1 << 3, Ordering::Relaxed);
        lock.unlock();
    });
    lock.lock(1, &mut None);
    lock.unlock();
    assert!(!lock.try_lock(1));
    assert!(lock.try_lock(3));
}

/// An interrupt handler of a waiting hart waits for the lock as well, and gets it.
#[test]
fn a_hart_stays_in_cyclic_order_when_its_interrupt_handler_has_left_it() {
    let lock: &'static _ = Box::leak(Box::new(IndexLock::<FourHarts>::new()));
    assert!(lock.try_lock(2));
    at_round(PATIENCE, move || {
        at_round(PATIENCE, move || lock.unlock());
        lock.lock(1, &mut None);
        lock.unlock();
        assert!(lock.try_lock(3));
        at_round(0, move || {
            assert_eq!(lock.waiting.load(Ordering::Relaxed), 1 << 1);
            lock.unlock();
        });
    });
    lock.lock(1, &mut None);
    assert!(ON_WAIT.take().is_none(), "it has waited");
}
