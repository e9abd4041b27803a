//! Calls its own data.
//!
//! expected: killed
#![no_std]
#![no_main]

use core::sync::atomic::AtomicU64;
use user_lib::hostile::jump;
use user_lib::println;

static DATA: AtomicU64 = AtomicU64::new(5);

#[unsafe(no_mangle)]
fn main() -> i32 {
    println!("bad_data_execute: a call of data");
    // SAFETY: the kernel ends the program.
    unsafe { jump(DATA.as_ptr() as usize) };
    println!("bad_data_execute: the kernel has allowed that");
    0
}
