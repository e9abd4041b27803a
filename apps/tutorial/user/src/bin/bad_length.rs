//! Passes lengths that go beyond the address space.
//!
//! expected: exit 0
#![no_std]
#![no_main]

use user_lib::console::STDOUT;
use user_lib::hostile::KERNEL;
use user_lib::memory::{FREE, PAGE};
use user_lib::println;
use user_lib::syscall::{READ, mmap, munmap, number, raw, sbrk};

#[unsafe(no_mangle)]
fn main() -> i32 {
    for start in [FREE, KERNEL, usize::MAX - 8] {
        for len in [usize::MAX, usize::MAX / 2, usize::MAX - PAGE] {
            // SAFETY: the call only reads memory.
            let written = unsafe { raw(number::WRITE, [STDOUT, start, len]) };
            assert_eq!(written, -1, "{start:#x}, {len:#x}");
        }
    }
    for start in [0, FREE, KERNEL & !(PAGE - 1), !(PAGE - 1), (1 << 47) - PAGE] {
        for len in [usize::MAX, usize::MAX - PAGE + 1, usize::MAX / 2, 1 << 52] {
            assert_eq!(mmap(start, len, READ), -1, "{start:#x}, {len:#x}");
            // SAFETY: the call is refused.
            assert_eq!(unsafe { munmap(start, len) }, -1, "{start:#x}, {len:#x}");
        }
    }
    assert_eq!(
        mmap(KERNEL & !(PAGE - 1), PAGE, READ),
        -1,
        "the kernel's addresses"
    );
    assert_eq!(mmap((1 << 47) - PAGE, PAGE, READ), -1, "the last page");
    // SAFETY: the call is refused.
    assert_eq!(unsafe { sbrk(i32::MIN) }, -1);
    println!("bad_length: all were refused");
    0
}
