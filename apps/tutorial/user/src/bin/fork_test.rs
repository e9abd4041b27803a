//! Both sides of a fork write to the same pages, and each sees only its own writes.
//!
//! expected: exit 0
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use user_lib::memory::{FREE, Pages};
use user_lib::println;
use user_lib::process::{begin, in_child, wait_for};
use user_lib::syscall::yield_now;

static DATA: AtomicUsize = AtomicUsize::new(1);
static ZEROED: AtomicUsize = AtomicUsize::new(0);

/// Writes to data, to zeroed data, to the stack and to mapped pages, on both sides.
fn both_sides_write() {
    let mut pages = Pages::map(FREE, 2);
    pages.bytes().fill(10);
    let stack = AtomicUsize::new(5);
    let add = |pages: &mut Pages, increment: usize| {
        for word in [&DATA, &ZEROED, &stack] {
            // Atomic only because a static must be. Relaxed: no other thread has this memory.
            word.fetch_add(increment, Relaxed);
        }
        for byte in pages.bytes() {
            *byte += increment as u8;
        }
    };
    let sees = |pages: &mut Pages, increment: usize| {
        DATA.load(Relaxed) == 1 + increment
            && ZEROED.load(Relaxed) == increment
            && stack.load(Relaxed) == 5 + increment
            && pages
                .bytes()
                .iter()
                .all(|byte| *byte == 10 + increment as u8)
    };
    let child = begin(|| {
        let mut good = sees(&mut pages, 0);
        for round in 1..10 {
            add(&mut pages, 1);
            yield_now();
            good &= sees(&mut pages, round);
        }
        i32::from(!good)
    });
    for round in 1..10 {
        add(&mut pages, 2);
        yield_now();
        assert!(sees(&mut pages, 2 * round), "the child's writes are seen");
    }
    assert_eq!(wait_for(child), 0, "the parent's writes are seen");
    println!("fork_test: both sides have written");
}

/// Makes a tree in which each process has `depth` children, which have fewer. Returns how many
/// processes are below the root.
fn tree(depth: u32) -> i32 {
    (0..depth).map(|less| 1 + in_child(|| tree(less))).sum()
}

#[unsafe(no_mangle)]
fn main() -> i32 {
    both_sides_write();
    assert_eq!(tree(4), 15, "processes below the root of a tree of forks");
    println!("fork_test: a tree of 16 processes");
    0
}
