//! A parallel merge sort. It sorts a large random array with 1, 2, 4, … threads, up to the number
//! of harts, each time with the same numbers and in fresh lazy mappings. A table shows the times. The
//! exit status is 0 if every result was sorted and complete.
//!
//! Arguments: `mib=` is the size of the array in MiB, 8 by default. `seed=` chooses the numbers, 1
//! by default.
//!
//! The program uses the names of `std`, as ArceOS applications do. With the feature `axstd`, which
//! `make` enables, it runs on Tessera. Without the feature it is a program for this
//! computer: `cargo run --release -p parallel`.
#![cfg_attr(feature = "axstd", no_std)]
#![cfg_attr(feature = "axstd", no_main)]

#[macro_use]
#[cfg(feature = "axstd")]
extern crate axstd as std;

mod region;
mod sort;

use std::format;
use std::process;
use std::string::String;
use std::thread;
use std::time::{Duration, Instant};
use std::vec::Vec;

use region::Region;

/// The default size in MiB, and the default seed.
const MIB: u64 = 8;
const SEED: u64 = 1;

#[cfg_attr(feature = "axstd", unsafe(no_mangle))]
fn main() {
    let (mib, seed) = (number("mib", MIB), number("seed", SEED));
    let most = thread::available_parallelism().map_or(1, usize::from);
    let count = (mib as usize).saturating_mul(1 << 20) / size_of::<u64>();
    println!("parallel: {count} numbers of {mib} MiB, seed={seed}, {most} harts");
    println!("threads        time  speed-up  verified");
    let outcome = counts(most).try_fold(None, |first, threads| {
        let took = one_run(count, seed, threads)?;
        let first = first.unwrap_or(took);
        let (ms, us) = (took.as_millis(), took.subsec_micros() % 1000);
        let hundredths = first.as_micros() * 100 / took.as_micros().max(1);
        let (whole, part) = (hundredths / 100, hundredths % 100);
        println!("{threads:>7}{ms:>9}.{us:03} ms{whole:>5}.{part:02}  ok");
        Ok::<_, String>(Some(first))
    });
    match outcome {
        Ok(_) => println!("PASS all sorted"),
        Err(reason) => {
            println!("FAIL {reason}");
            process::exit(1);
        }
    }
}

/// Returns the numbers of threads: 1, 2, 4, … and `most`.
fn counts(most: usize) -> impl Iterator<Item = usize> {
    let powers = (0..usize::BITS).map(|power| 1 << power);
    powers.take_while(move |count| *count < most).chain([most])
}

/// Fills an array, sorts it with `threads` threads, and checks it. Returns the time that the sort
/// took.
fn one_run(count: usize, seed: u64, threads: usize) -> Result<Duration, String> {
    let mut numbers = Region::new(count)?;
    let mut spare = Region::new(count)?;
    let mut random = fastrand::Rng::with_seed(seed);
    numbers.as_mut().fill_with(|| random.u64(..));
    let before = Multiset::of(numbers.as_mut());
    let start = Instant::now();
    sort::sort(numbers.as_mut(), spare.as_mut(), threads);
    let took = start.elapsed();
    let numbers = numbers.as_mut();
    if !numbers.is_sorted() {
        return Err(format!("with {threads} threads: not sorted"));
    }
    match Multiset::of(numbers) == before {
        true => Ok(took),
        false => Err(format!("with {threads} threads: numbers lost or changed")),
    }
}

/// A fingerprint of numbers that does not depend on their order: three sums. A sort that loses or
/// changes a number would have to keep all three by chance.
#[derive(PartialEq, Eq)]
struct Multiset {
    sum: u64,
    xor: u64,
    mixed: u64,
}

impl Multiset {
    fn of(numbers: &[u64]) -> Self {
        let mix = |number: u64| (number ^ number >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let zero = Self {
            sum: 0,
            xor: 0,
            mixed: 0,
        };
        numbers.iter().fold(zero, |all, &number| Self {
            sum: all.sum.wrapping_add(number),
            xor: all.xor ^ number,
            mixed: all.mixed.wrapping_add(mix(mix(number))),
        })
    }
}

/// Returns the value of the argument `name`, or `default` if it is not there. Exits with status 2
/// if it is not a number.
fn number(name: &str, default: u64) -> u64 {
    let words: Vec<String> = std::env::args().map(String::from).collect();
    let mut pairs = words.iter().filter_map(|word| word.split_once('='));
    let Some((_, value)) = pairs.rfind(|(key, _)| *key == name) else {
        return default;
    };
    value.parse().unwrap_or_else(|_| {
        println!("{name}={value} is not a number from 0 to {}", u64::MAX);
        process::exit(2)
    })
}
