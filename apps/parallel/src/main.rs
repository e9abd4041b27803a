//! A large random array, sorted by one thread, by two, … by as many as there are harts,
//! each time from the same beginning and in fresh memory that is mapped when it is first
//! touched. The result is checked; a table says how long each took. The exit status says
//! whether all were right.
//!
//! Words for it: `mib=` (8) is the size of the array, `seed=` (1) what is in it.
//!
//! It is written as for ArceOS: with the feature `axstd`, which `make` enables, on Tessera;
//! without it on the `std` of this computer (`cargo run --release -p parallel`).
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

/// What the program does when it is not told: MiB, and a seed.
const MIB: usize = 8;
const SEED: u64 = 1;

#[cfg_attr(feature = "axstd", unsafe(no_mangle))]
fn main() {
    let (mib, seed) = (word("mib", MIB as u64), word("seed", SEED));
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
        Ok(_) => println!("PASS sorted, and nothing lost"),
        Err(what) => {
            println!("FAIL {what}");
            process::exit(1);
        }
    }
}

/// 1, 2, 4, … and `most`.
fn counts(most: usize) -> impl Iterator<Item = usize> {
    let powers = (0..usize::BITS).map(|power| 1 << power);
    powers.take_while(move |count| *count < most).chain([most])
}

/// Fills an array, sorts it with `threads` threads, and checks it; the time of the sorting.
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
        false => Err(format!("with {threads} threads: other numbers")),
    }
}

/// What an order does not change of numbers: three sums that nobody keeps by chance.
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

/// The number that the program was given under `name`, or `usual`. Another word than a
/// number ends it.
fn word(name: &str, usual: u64) -> u64 {
    let words: Vec<String> = std::env::args().map(String::from).collect();
    let mut pairs = words.iter().filter_map(|word| word.split_once('='));
    let Some((_, value)) = pairs.rfind(|(key, _)| *key == name) else {
        return usual;
    };
    value.parse().unwrap_or_else(|_| {
        println!("{name}={value} is not a number from 0 to {}", u64::MAX);
        process::exit(2)
    })
}
