//! Computes powers. By Fermat's little theorem, `a` to the power `p - 1` is 1 modulo a prime `p`.
//!
//! expected: exit 0
#![no_std]
#![no_main]

use user_lib::println;

const PRIME: u64 = 998_244_353;

/// Returns `base` to the power `exponent` modulo [`PRIME`], by repeated squaring.
fn power(base: u64, mut exponent: u64) -> u64 {
    let (mut square, mut product) = (base % PRIME, 1);
    while exponent > 0 {
        if exponent & 1 == 1 {
            product = product * square % PRIME;
        }
        square = square * square % PRIME;
        exponent >>= 1;
    }
    product
}

#[unsafe(no_mangle)]
fn main() -> i32 {
    for base in 2..200 {
        assert_eq!(power(base, PRIME - 1), 1, "base {base}");
    }
    println!("power: 198 powers modulo {PRIME}");
    0
}
