//! Executes an instruction that does not exist.
//!
//! expected: killed
#![no_std]
#![no_main]

use user_lib::hostile::illegal;
use user_lib::println;

#[unsafe(no_mangle)]
fn main() -> i32 {
    println!("bad_illegal: an illegal instruction");
    illegal();
    println!("bad_illegal: the kernel has allowed that");
    0
}
