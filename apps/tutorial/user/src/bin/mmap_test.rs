//! Maps pages with all kinds of rights, and takes them away.
//!
//! expected: exit 0
#![no_std]
#![no_main]

use user_lib::hostile::jump;
use user_lib::memory::{FREE, PAGE, read_word, write_word};
use user_lib::println;
use user_lib::process::in_child;
use user_lib::syscall::{EXECUTE, READ, WRITE, mmap, munmap};

/// Maps and unmaps what the kernel must refuse.
fn refused() {
    assert_eq!(mmap(FREE, PAGE, 0), -1, "no rights");
    assert_eq!(mmap(FREE, PAGE, 8 | READ), -1, "unknown rights");
    assert_eq!(mmap(FREE + 1, PAGE, READ), -1, "not at a page");
    assert_eq!(mmap(FREE, 2 * PAGE + 1, READ | WRITE), 0);
    assert_eq!(mmap(FREE + 2 * PAGE, PAGE, READ), -1, "mapped already");
    assert_eq!(mmap(FREE - PAGE, 2 * PAGE, READ), -1, "mapped in part");
    // A refused call maps nothing.
    assert_eq!(mmap(FREE - PAGE, PAGE, READ), 0);
    assert_eq!(unmap(FREE - PAGE, 4 * PAGE), 0, "two areas");
    assert_eq!(unmap(FREE, PAGE), -1, "not mapped");
    assert_eq!(mmap(FREE, PAGE, READ), 0);
    assert_eq!(unmap(FREE, 2 * PAGE), -1, "mapped in part");
    assert_eq!(unmap(FREE + 1, PAGE), -1, "not at a page");
    // A refused call takes nothing away.
    assert!(!ends(|| read(FREE)));
    assert_eq!(unmap(FREE, PAGE), 0);
    println!("mmap_test: wrong arguments are refused");
}

/// Uses pages in each way, in a child.
fn rights() {
    assert_eq!(mmap(FREE, PAGE, READ), 0);
    assert!(!ends(|| read(FREE)));
    assert!(ends(|| write(FREE)), "a write to a page without that right");
    assert_eq!(mmap(FREE + PAGE, PAGE, READ | WRITE), 0);
    assert!(!ends(|| write(FREE + PAGE)));
    assert!(
        ends(|| execute(FREE + PAGE)),
        "a call of a page without that right"
    );
    assert_eq!(mmap(FREE + 2 * PAGE, PAGE, READ | EXECUTE), 0);
    assert!(ends(|| write(FREE + 2 * PAGE)), "a write to code");
    assert_eq!(unmap(FREE, 3 * PAGE), 0);
    assert!(ends(|| read(FREE)), "a read of what is not mapped");
    println!("mmap_test: each page has its rights");
}

/// Takes a page out of the middle.
fn partial() {
    assert_eq!(mmap(FREE, 3 * PAGE, READ | WRITE), 0);
    for page in 0..3 {
        write(FREE + page * PAGE);
    }
    assert_eq!(unmap(FREE + PAGE, PAGE), 0);
    assert!(ends(|| read(FREE + PAGE)));
    for page in [0, 2] {
        // SAFETY: the word is mapped, and no reference to it exists.
        assert_eq!(unsafe { read_word(FREE + page * PAGE) }, 1);
    }
    assert_eq!(mmap(FREE + PAGE, PAGE, READ | WRITE), 0);
    // SAFETY: the word is mapped, and no reference to it exists.
    let word = unsafe { read_word(FREE + PAGE) };
    assert_eq!(word, 0, "a new page is not zeroed");
    assert_eq!(unmap(FREE, 3 * PAGE), 0);
    println!("mmap_test: a page in the middle is unmapped and mapped again");
}

/// Returns whether the kernel ends a child that makes an access.
fn ends(access: impl FnOnce()) -> bool {
    in_child(|| {
        access();
        0
    }) != 0
}

fn read(address: usize) {
    // SAFETY: no reference to the word exists. If it cannot be read, the kernel ends the program.
    unsafe { read_word(address) };
}

fn write(address: usize) {
    // SAFETY: no reference to the word exists. If it cannot be written, the kernel ends the program.
    unsafe { write_word(address, 1) };
}

fn execute(address: usize) {
    // SAFETY: the kernel ends the program.
    unsafe { jump(address) };
}

fn unmap(start: usize, len: usize) -> isize {
    // SAFETY: no reference to the pages exists.
    unsafe { munmap(start, len) }
}

#[unsafe(no_mangle)]
fn main() -> i32 {
    refused();
    rights();
    partial();
    0
}
