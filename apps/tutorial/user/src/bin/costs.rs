//! Measures what calls and page faults cost, in nanoseconds. Under `-icount shift=0` these are
//! instructions, of the loops here as well.
//!
//! expected: exit 0
#![no_std]
#![no_main]

use user_lib::memory::{FREE, PAGE, read_word, write_word};
use user_lib::println;
use user_lib::process::wait_for;
use user_lib::syscall::{
    READ, WRITE, exec, exit, fork, getpid, mmap, munmap, spawn, time_us, yield_now,
};

/// The number of pages that are touched: those of one page table.
const PAGES: usize = 512;

/// Prints how long one of `count` rounds of `work` takes.
fn row(name: &str, count: usize, work: impl FnOnce()) {
    let begin = time_us();
    work();
    let ns = (time_us() - begin) * 1000;
    println!("{name:<26} {:>8}.{}", ns / count, ns * 10 / count % 10);
}

/// Prints how long the first touch of a page takes. The page tables are there: the first page is
/// touched before.
fn touch_row(name: &str, touch: impl Fn(usize)) {
    assert_eq!(mmap(FREE, PAGES * PAGE, READ | WRITE), 0);
    touch(FREE);
    row(name, PAGES - 1, || {
        for page in 1..PAGES {
            touch(FREE + page * PAGE);
        }
    });
    // SAFETY: no reference to the pages exists.
    assert_eq!(unsafe { munmap(FREE, PAGES * PAGE) }, 0);
}

#[unsafe(no_mangle)]
fn main() -> i32 {
    row("syscall.getpid", 100_000, || {
        for _ in 0..100_000 {
            getpid();
        }
    });
    row("syscall.yield", 10_000, || {
        for _ in 0..10_000 {
            yield_now();
        }
    });
    // SAFETY: the pages are mapped, and no reference to them exists.
    touch_row("user.fault_read", |page| _ = unsafe { read_word(page) });
    // SAFETY: the pages are mapped, and no reference to them exists.
    touch_row("user.fault_write", |page| unsafe { write_word(page, 1) });
    row("user.mmap_munmap", 1000, || {
        for _ in 0..1000 {
            assert_eq!(mmap(FREE, PAGE, READ | WRITE), 0);
            // SAFETY: no reference to the page exists.
            assert_eq!(unsafe { munmap(FREE, PAGE) }, 0);
        }
    });
    row("user.fork_exit_wait", 50, || {
        for _ in 0..50 {
            match fork() {
                0 => exit(0),
                child => assert_eq!(wait_for(child), 0),
            }
        }
    });
    row("user.fork_exec_exit_wait", 50, || {
        for _ in 0..50 {
            match fork() {
                0 => exit(exec(c"nothing") as i32),
                child => assert_eq!(wait_for(child), 0),
            }
        }
    });
    row("user.spawn_exit_wait", 50, || {
        for _ in 0..50 {
            assert_eq!(wait_for(spawn(c"nothing")), 0);
        }
    });
    0
}
