//! Checks that a program begins with the contents of its file and nothing else. It also runs after
//! another program, by exec.
//!
//! expected: exit 0
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use user_lib::memory::{FREE, PAGE, Pages};
use user_lib::println;
use user_lib::syscall::sbrk;

static DATA: AtomicUsize = AtomicUsize::new(11);
static ZEROED: [AtomicUsize; 2000] = [const { AtomicUsize::new(0) }; 2000];
static CONSTANT: &str = "constant";

#[unsafe(no_mangle)]
fn main() -> i32 {
    // Relaxed: the program has one thread.
    assert_eq!(DATA.swap(0, Relaxed), 11);
    assert!(ZEROED.iter().all(|word| word.swap(1, Relaxed) == 0));
    assert!(CONSTANT.bytes().eq(*b"constant"));
    // That fails if a page is mapped there already.
    assert!(Pages::map(FREE, 4).bytes().iter().all(|byte| *byte == 0));
    // SAFETY: nothing is freed.
    let bottom = unsafe { sbrk(PAGE as i32) };
    assert!(bottom > 0, "sbrk: {bottom}");
    println!("fresh: data, constants, zeroed data, free addresses, heap");
    0
}
