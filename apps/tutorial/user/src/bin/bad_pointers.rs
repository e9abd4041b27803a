//! Passes the kernel pointers that it must refuse.
//!
//! expected: exit 0
#![no_std]
#![no_main]

use user_lib::console::STDOUT;
use user_lib::hostile::{KERNEL, TOO_LARGE};
use user_lib::memory::{FREE, PAGE, Pages};
use user_lib::println;
use user_lib::process::begin;
use user_lib::syscall::{getpid, number, raw, waitpid, yield_now};

/// Makes a call that must not write.
fn call(number: usize, arguments: [usize; 3]) -> isize {
    // SAFETY: the kernel refuses the pointers.
    unsafe { raw(number, arguments) }
}

/// Waits for a child that has ended, with a pointer that is refused. The child can be waited for
/// afterwards.
fn refuses_to_wait(pointer: usize) {
    let child = begin(|| 3);
    for _ in 0..10 {
        yield_now();
        let result = call(number::WAITPID, [child as usize, pointer, 0]);
        assert_eq!(result, -1, "{pointer:#x}");
    }
    let mut status = 0;
    while waitpid(child, &mut status) == -2 {
        yield_now();
    }
    assert_eq!(status, 3, "the child was lost");
}

#[unsafe(no_mangle)]
fn main() -> i32 {
    let text = main as *const () as usize & !7;
    for pointer in [0, 8, FREE, KERNEL, TOO_LARGE, usize::MAX - 7, usize::MAX] {
        assert_eq!(
            call(number::WRITE, [STDOUT, pointer, 16]),
            -1,
            "{pointer:#x}"
        );
        assert_eq!(call(number::EXEC, [pointer, 0, 0]), -1, "{pointer:#x}");
        assert_eq!(call(number::SPAWN, [pointer, 0, 0]), -1, "{pointer:#x}");
    }
    for pointer in [
        0,
        8,
        FREE,
        text,
        KERNEL,
        TOO_LARGE,
        usize::MAX - 7,
        usize::MAX,
    ] {
        assert_eq!(call(number::GET_TIME, [pointer, 0, 0]), -1, "{pointer:#x}");
        assert_eq!(call(number::TASK_INFO, [pointer, 0, 0]), -1, "{pointer:#x}");
        refuses_to_wait(pointer);
    }
    // A name without an end, and a structure of which one page is missing.
    let mut page = Pages::map(FREE, 1);
    page.bytes().fill(b'a');
    assert_eq!(call(number::EXEC, [FREE + PAGE - 10, 0, 0]), -1);
    assert_eq!(call(number::GET_TIME, [FREE + PAGE - 8, 0, 0]), -1);
    assert_eq!(call(number::TASK_INFO, [FREE + PAGE - 8, 0, 0]), -1);
    assert!(getpid() > 0);
    println!("bad_pointers: all were refused");
    0
}
