//! Grows and shrinks the heap.
//!
//! expected: exit 0
#![no_std]
#![no_main]

use user_lib::memory::{PAGE, read_word, write_word};
use user_lib::println;
use user_lib::process::in_child;
use user_lib::syscall::sbrk;

/// Moves the end of the heap. Returns where it was.
fn move_end(increment: i32) -> isize {
    // SAFETY: no reference to the heap exists.
    unsafe { sbrk(increment) }
}

#[unsafe(no_mangle)]
fn main() -> i32 {
    let bottom = move_end(0) as usize;
    assert_eq!(move_end(3 * PAGE as i32), bottom as isize);
    assert_eq!(move_end(0) as usize, bottom + 3 * PAGE);
    for page in 0..3 {
        let word = bottom.next_multiple_of(8) + page * (PAGE - 8);
        // SAFETY: the word is in the heap, to which no reference exists.
        unsafe {
            assert_eq!(read_word(word), 0);
            write_word(word, word);
            assert_eq!(read_word(word), word);
        }
    }
    println!("sbrk_test: 3 pages at {bottom:#x}");

    assert_eq!(move_end(-2 * PAGE as i32) as usize, bottom + 3 * PAGE);
    assert_eq!(move_end(0) as usize, bottom + PAGE);
    let freed = bottom.next_multiple_of(PAGE) + PAGE;
    // SAFETY: the word is not mapped, so the kernel ends the child.
    let status = in_child(|| i32::from(unsafe { read_word(freed) } == usize::MAX));
    assert_ne!(status, 0, "freed memory can be read");

    assert_eq!(move_end(2 * PAGE as i32) as usize, bottom + PAGE);
    // SAFETY: the word is in the heap, to which no reference exists.
    assert_eq!(unsafe { read_word(freed) }, 0, "a new page is not zeroed");
    assert_eq!(move_end(100) as usize, bottom + 3 * PAGE);
    assert_eq!(move_end(-100) as usize, bottom + 3 * PAGE + 100);
    assert_eq!(move_end(i32::MIN), -1);
    assert_eq!(move_end(-3 * PAGE as i32 - 1), -1);
    assert_eq!(move_end(0) as usize, bottom + 3 * PAGE);
    println!("sbrk_test: the heap shrinks, grows again, and does not end below its start");
    0
}
