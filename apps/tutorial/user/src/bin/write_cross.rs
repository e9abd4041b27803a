//! Writes text that lies across pages and areas.
//!
//! expected: exit 0
#![no_std]
#![no_main]

use core::slice;
use user_lib::console::STDOUT;
use user_lib::memory::{FREE, PAGE, Pages};
use user_lib::println;
use user_lib::syscall::{READ, mmap, write};

const TEXT: &[u8] = b"write_cross: a line that begins in one area and ends in another\n";

#[unsafe(no_mangle)]
fn main() -> i32 {
    let mut low = Pages::map(FREE, 1);
    let mut high = Pages::map(FREE + PAGE, 1);
    let (front, back) = TEXT.split_at(TEXT.len() / 2);
    low.bytes()[PAGE - front.len()..].copy_from_slice(front);
    high.bytes()[..back.len()].copy_from_slice(back);
    let start = FREE + PAGE - front.len();
    // SAFETY: both areas are mapped, adjacent, and not written while the slice is used.
    let text = unsafe { slice::from_raw_parts(start as *const u8, TEXT.len()) };
    assert_eq!(text, TEXT);
    assert_eq!(write(STDOUT, text), TEXT.len() as isize);

    // Pages that were never touched.
    assert_eq!(mmap(FREE + 2 * PAGE, 2 * PAGE, READ), 0);
    // SAFETY: the pages are mapped, and they hold zeroes.
    let zeroes = unsafe { slice::from_raw_parts((FREE + 3 * PAGE - 2) as *const u8, 4) };
    assert_eq!(write(STDOUT, zeroes), 4);
    println!("write_cross: untouched pages");

    assert_eq!(write(STDOUT, &[]), 0);
    assert_eq!(write(7, TEXT), -1, "there is no such file");
    assert_eq!(write(usize::MAX, TEXT), -1, "there is no such file");
    0
}
