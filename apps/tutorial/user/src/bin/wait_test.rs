//! Waits for children: one that runs, one that has ended, one that the kernel has ended, and none.
//!
//! expected: exit 0
#![no_std]
#![no_main]

use user_lib::hostile;
use user_lib::println;
use user_lib::process::{begin, in_child, wait_for};
use user_lib::syscall::{getpid, time_us, waitpid, yield_now};

/// Waits for a child that runs for some time. Returns whether it was found running.
fn is_not_yet(microseconds: usize) -> bool {
    let mut status = 5;
    let start = time_us();
    let slow = begin(|| {
        while time_us() < start + microseconds {
            yield_now();
        }
        -9
    });
    if waitpid(slow, &mut status) != -2 {
        return false;
    }
    assert_eq!(waitpid(slow + 1000, &mut status), -1, "no such child");
    assert_eq!(status, 5, "a failed call has written");
    assert_eq!(wait_for(slow), -9);
    assert_eq!(waitpid(slow, &mut status), -1, "waited for twice");
    true
}

/// Outlives its parent by a little.
fn yield_for_long() -> i32 {
    for _ in 0..20 {
        yield_now();
    }
    0
}

#[unsafe(no_mangle)]
fn main() -> i32 {
    let mut status = 5;
    assert_eq!(waitpid(-1, &mut status), -1, "no child");
    assert_eq!(waitpid(getpid(), &mut status), -1, "not a child");
    assert_eq!(status, 5, "a failed call has written");

    // A longer time helps if this process did not get a hart in the shorter one.
    assert!([50_000, 500_000, 5_000_000].into_iter().any(is_not_yet));
    println!("wait_test: a child that still runs");

    for code in [0, 1, 255, 256, -1, i32::MAX, i32::MIN] {
        assert_eq!(in_child(|| code), code);
    }
    assert_ne!(in_child(hostile::illegal), 0, "ended by the kernel");
    println!("wait_test: children end with what they say");

    // A grandchild whose parent has ended is not a child.
    assert_eq!(in_child(|| i32::from(begin(yield_for_long) <= 0)), 0);
    assert_eq!(waitpid(-1, &mut status), -1, "the child of a child");
    println!("wait_test: a process waits only for its own children");
    0
}
