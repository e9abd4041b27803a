//! Makes calls that do not exist.
//!
//! expected: exit 0
#![no_std]
#![no_main]

use user_lib::println;
use user_lib::syscall::{TaskInfo, getpid, number, raw, task_info};

#[unsafe(no_mangle)]
fn main() -> i32 {
    for number in [
        0,
        1,
        63,
        170,
        409,
        411,
        number::END - 1,
        number::END,
        1 << 32,
        usize::MAX,
    ] {
        // SAFETY: there is no such call.
        assert_eq!(unsafe { raw(number, [usize::MAX; 3]) }, -1, "call {number}");
    }
    let mut info = TaskInfo::new();
    assert_eq!(task_info(&mut info), 0);
    assert_eq!(info.syscall_times[number::GETPID], 0);
    assert!(getpid() > 0);
    println!("bad_number: all were refused");
    0
}
