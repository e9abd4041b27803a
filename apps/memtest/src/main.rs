//! tmp
#![no_std]
#![no_main]
use axstd::println;
#[unsafe(no_mangle)]
fn main() {
    println!("{:?}", axstd::memory::usage());
}
