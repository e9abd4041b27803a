//! Does nothing.
//!
//! expected: exit 0
#![no_std]
#![no_main]

use user_lib as _;

#[unsafe(no_mangle)]
fn main() -> i32 {
    0
}
