//! The smallest application: it enables no feature, prints a line, and returns.
#![no_std]
#![no_main]

use axstd::println;

#[unsafe(no_mangle)]
fn main() {
    println!("Hello, world!");
}
