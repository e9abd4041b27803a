//! Executes an instruction that only the kernel may.
//!
//! expected: killed
#![no_std]
#![no_main]

use user_lib::hostile::privileged;
use user_lib::println;

#[unsafe(no_mangle)]
fn main() -> i32 {
    println!("bad_privileged: a privileged instruction");
    privileged();
    println!("bad_privileged: the kernel has allowed that");
    0
}
