//! Tests of threads on one hart of a kernel in a process: the order of turns, the reuse of
//! stacks, and that a refused thread leaks no memory.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};

use axalloc::fault::fail_from;
use axalloc::{AxError, usage};
use axhal::probe::can_read;
use axhal::time::monotonic_time_nanos;
use axtask::{
    Spawn, WaitQueue, current, free_cached_stacks, park_until, sleep_until, spawn, yield_now,
};

use support::{load, on_hart, store, writable};

/// Runs a test as the hart's first thread.
fn as_thread(test: impl FnOnce() + Send + 'static) {
    static FIRST: Once = Once::new();
    on_hart(|| {
        FIRST.call_once(|| {
            axhal::irq::init();
            axtask::init_hart("first").unwrap();
        });
        test();
    });
}

/// Returns the options of a thread with the smallest stack.
fn small() -> Spawn {
    Spawn {
        name: "small".into(),
        stack_size: 16 << 10,
        hart: None,
    }
}

#[test]
fn threads_take_turns_in_the_order_of_their_creation() {
    as_thread(|| {
        let turns = Arc::new(Mutex::new(String::new()));
        let threads = ['a', 'b', 'c'].map(|name| {
            let turns = turns.clone();
            let work = move || {
                for _ in 0..3 {
                    turns.lock().unwrap().push(name);
                    yield_now();
                }
            };
            spawn(small(), work).unwrap()
        });
        threads.iter().for_each(|thread| thread.join());
        assert_eq!(*turns.lock().unwrap(), "abcabcabc");
        assert!(threads.iter().all(|thread| thread.has_ended()));
    });
}

#[test]
fn a_hart_has_one_first_thread() {
    as_thread(|| {
        let me = current().id();
        assert_eq!(axtask::init_hart("second"), Err(AxError::BadState));
        assert_eq!(current().id(), me);
    });
}

#[test]
fn a_refused_thread_leaks_no_memory() {
    as_thread(|| {
        let count = Arc::new(());
        let mut refused = 0;
        for n in 1.. {
            free_cached_stacks();
            let (free, its) = (usage().free, count.clone());
            let armed = fail_from(n);
            let large = Spawn {
                stack_size: 4 << 20,
                ..small()
            };
            let result = spawn(large, move || drop(its));
            if !armed.has_fired() {
                result.unwrap().join();
                break;
            }
            assert_eq!(result.err(), Some(AxError::NoMemory), "allocation {n}");
            assert_eq!(usage().free, free, "allocation {n}");
            assert_eq!(Arc::strong_count(&count), 1, "the work is dropped");
            refused += 1;
        }
        assert!(refused > 1, "1024 pages and their tables: {refused}");
        assert_eq!(Arc::strong_count(&count), 1);
    });
}

#[test]
fn a_missing_hart_and_a_huge_stack_are_refused() {
    as_thread(|| {
        let hart = Spawn {
            hart: Some(1),
            ..small()
        };
        assert_eq!(spawn(hart, || {}).err(), Some(AxError::InvalidInput));
        let none = Spawn {
            stack_size: usize::MAX - 4096,
            ..small()
        };
        assert_eq!(spawn(none, || {}).err(), Some(AxError::NoMemory));
    });
}

#[test]
fn the_stack_of_an_ended_thread_is_unmapped() {
    as_thread(|| {
        let thread = spawn(small(), || {}).unwrap();
        let bottom = thread.stack_bottom();
        // The thread has not run yet. The stack has only its closure, at the upper end.
        assert_eq!(load(bottom), 0);
        store(bottom, 7);
        assert!(writable(bottom) && !can_read(bottom - 1));
        thread.join();
        free_cached_stacks();
        assert!(!can_read(bottom));
    });
}

#[test]
fn a_closure_that_is_larger_than_the_stack_is_on_the_heap() {
    as_thread(|| {
        let sum = Arc::new(AtomicUsize::new(0));
        let (load, its) = ([1_u8; 40 << 10], sum.clone());
        let add_up = move || {
            let sum = load.iter().map(|byte| usize::from(*byte)).sum();
            its.store(sum, Ordering::Relaxed);
        };
        spawn(small(), add_up).unwrap().join();
        assert_eq!(sum.load(Ordering::Relaxed), 40 << 10);
    });
}

#[test]
fn stacks_are_reused_and_freed_in_one_operation() {
    as_thread(|| {
        let bottoms = |count: usize| {
            let threads: Vec<_> = (0..count).map(|_| spawn(small(), || {}).unwrap()).collect();
            threads.iter().for_each(|thread| thread.join());
            let mut bottoms: Vec<_> = threads.iter().map(|thread| thread.stack_bottom()).collect();
            bottoms.sort_unstable();
            bottoms
        };
        free_cached_stacks();
        let first = bottoms(20);
        assert!(first.iter().all(|bottom| can_read(*bottom)), "kept");
        assert_eq!(bottoms(20), first, "used again");
        assert!(free_cached_stacks());
        assert!(!first.iter().any(|bottom| can_read(*bottom)), "unmapped");
        assert!(!free_cached_stacks(), "all were given back");
    });
}

#[test]
fn a_notification_before_the_wait_is_seen() {
    as_thread(|| {
        let (queue, looked) = (Arc::new(WaitQueue::new()), AtomicUsize::new(0));
        // The notification comes between the check of the condition and the wait.
        queue.wait_until(|| {
            let first = looked.fetch_add(1, Ordering::Relaxed) == 0;
            if first {
                queue.notify_one();
            }
            !first
        });
        assert_eq!(looked.into_inner(), 2);
        current().unpark();
        assert!(park_until(None), "the earlier unpark counts");
    });
}

#[test]
fn a_timed_wait_ends_at_its_deadline() {
    as_thread(|| {
        let queue = WaitQueue::new();
        let end = monotonic_time_nanos() + 2_000_000;
        assert!(!queue.wait_until_or(Some(end), || false));
        assert!(monotonic_time_nanos() >= end);
        assert!(!queue.notify_one(), "the queue is empty");
        let order = Arc::new(Mutex::new(Vec::new()));
        let start = monotonic_time_nanos();
        let threads = [3, 1, 2].map(|n| {
            let order = order.clone();
            let work = move || {
                sleep_until(start + n * 5_000_000);
                order.lock().unwrap().push(n);
            };
            spawn(small(), work).unwrap()
        });
        threads.iter().for_each(|thread| thread.join());
        assert_eq!(*order.lock().unwrap(), [1, 2, 3]);
    });
}
