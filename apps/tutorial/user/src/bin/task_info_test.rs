//! Reads what the kernel knows of the process, also into a structure that lies across two pages.
//!
//! expected: exit 0
#![no_std]
#![no_main]

use core::mem::size_of;
use user_lib::memory::{FREE, PAGE, Pages};
use user_lib::println;
use user_lib::syscall::{TaskInfo, TaskStatus, number, raw, task_info, time_us, yield_now};

#[unsafe(no_mangle)]
fn main() -> i32 {
    let start = time_us();
    while time_us() < start + 20_000 {}
    yield_now();
    yield_now();
    let mut info = TaskInfo::new();
    assert_eq!(task_info(&mut info), 0);
    let passed = (time_us() - start) / 1000;
    assert_eq!(info.status, TaskStatus::RUNNING);
    assert_eq!(info.syscall_times[number::YIELD], 2);
    assert_eq!(info.syscall_times[number::TASK_INFO], 1, "this call counts");
    assert_eq!(info.syscall_times[number::WRITE], 0);
    assert_eq!(info.syscall_times[number::EXIT], 0);
    assert!(info.syscall_times[number::GET_TIME] >= 2);
    assert!(info.time >= 19, "{} ms", info.time);
    println!(
        "task_info_test: ran for {} ms, {passed} ms measured",
        info.time
    );

    let mut pages = Pages::map(FREE, 2);
    let across = pages.start() + PAGE - 1000;
    // SAFETY: the kernel writes the structure in the pages, to which no reference exists.
    assert_eq!(unsafe { raw(number::TASK_INFO, [across, 0, 0]) }, 0);
    // SAFETY: the structure is in the pages, aligned, and any bytes are valid.
    let second = unsafe { &*(across as *const TaskInfo) };
    assert_eq!(second.status, TaskStatus::RUNNING);
    assert_eq!(second.syscall_times[number::TASK_INFO], 2);
    assert_eq!(second.syscall_times[number::WRITE], 1);
    assert_eq!(second.syscall_times[number::MMAP], 1);
    assert!(second.time >= info.time);
    let behind = PAGE - 1000 + size_of::<TaskInfo>();
    let bytes = pages.bytes();
    assert!(bytes[..PAGE - 1000].iter().all(|byte| *byte == 0));
    assert!(bytes[behind..].iter().all(|byte| *byte == 0));
    println!("task_info_test: a structure across two pages");
    0
}
