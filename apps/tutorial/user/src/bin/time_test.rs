//! Reads the time, also into a structure that lies across two areas.
//!
//! expected: exit 0
#![no_std]
#![no_main]

use user_lib::memory::{FREE, PAGE, Pages, read_word};
use user_lib::println;
use user_lib::syscall::{get_time, number, raw, time_us, yield_now};

#[unsafe(no_mangle)]
fn main() -> i32 {
    let start = time_us();
    let mut last = start;
    while last < start + 10_000 {
        let time = get_time();
        assert!(time.usec < 1_000_000, "{time:?}");
        let now = time.sec * 1_000_000 + time.usec;
        assert!(now >= last, "time has gone back from {last} to {now}");
        last = now;
        yield_now();
    }
    println!("time_test: 10 ms have passed");

    let low = Pages::map(FREE, 1);
    let high = Pages::map(FREE + PAGE, 1);
    let across = high.start() - 8;
    assert!(across >= low.start());
    // SAFETY: the kernel writes 16 bytes, to which no reference exists.
    assert_eq!(unsafe { raw(number::GET_TIME, [across, 0, 0]) }, 0);
    // SAFETY: both words are mapped, and no reference to them exists.
    let (sec, usec) = unsafe { (read_word(across), read_word(across + 8)) };
    let time = sec * 1_000_000 + usec;
    assert!((last..=time_us()).contains(&time), "{sec} s, {usec} us");
    println!("time_test: a structure across two pages");
    0
}
