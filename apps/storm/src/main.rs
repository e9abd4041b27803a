//! A stress test of address spaces on many harts.
//!
//! For some seconds every hart maps, touches, protects and unmaps random ranges, with random
//! grains. It checks every word, every fault, and the result of every operation (`region`,
//! `page`). It works in the kernel's address space and in two users'. These it also forks (`fork`).
//!
//! Some regions belong to one hart, others to all. Some lie side by side across boundaries of page
//! tables, so that harts share areas and tables. Others lie far apart, in shards of their own.
//!
//! Before, all harts change the same pages, to test that locking is fair (`fairness`).
//!
//! The output ends in a table and a line `storm: PASS …` or `storm: FAIL …`. The exit status is 0
//! for `PASS`. Boot arguments: `seconds=N` is the duration, 3 by default, and `seed=N` chooses the
//! random operations. With the same seed each hart makes the same choices, but the interleaving of
//! harts differs.
#![no_std]
#![no_main]

extern crate alloc;

mod fairness;
mod fork;
mod page;
mod region;
mod space;
mod tally;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::str::FromStr;
use core::sync::atomic::{AtomicBool, Ordering};

use axstd::memory::{Usage, UsageKind, usage};
use axstd::time::{Duration, Instant};
use axstd::{env, harts, println, process, thread};
use fastrand::Rng;
use spin::Mutex;

use page::PAGE;
use region::{Hart, Region};
use space::{Space, TABLE};
use tally::Tally;

/// The number of user address spaces.
const USERS: usize = 2;

/// The number of pages of a wide region, into which a large page fits. [`BEFORE_BOUNDARY`] of them
/// lie below a boundary between two page tables.
const WIDE: usize = 640;
const BEFORE_BOUNDARY: usize = 64;

/// The number of pages of a narrow region.
const NARROW: usize = 24;

/// The distance in bytes from an address space's base to the regions in shards of their own.
const FAR: usize = 64 << 20;

/// The time in seconds between two lines that show progress.
const PROGRESS: u64 = 10;

/// How long a hart with nothing to do sleeps, so that others can use its processor.
const NAP: Duration = Duration::from_micros(50);

/// The state of the test that all harts share.
struct Storm<'a> {
    regions: &'a [Region<'a>],
    seed: u64,
    begin: Instant,
    length: Duration,
    /// The description of the first error.
    failure: Mutex<Option<String>>,
    /// Makes all harts stop after an error. Relaxed: `failure` has a lock of its own.
    failed: AtomicBool,
    /// The counts of each hart that has finished.
    tallies: Mutex<Vec<(usize, Tally)>>,
}

#[unsafe(no_mangle)]
fn main() {
    let now = Instant::now();
    let seed = number("seed").unwrap_or(now.since_power_on().as_nanos() as u64);
    let seconds = number("seconds").unwrap_or(3);
    println!(
        "storm: {} harts, {} MiB free, seed={seed} seconds={seconds}",
        harts::online(),
        usage().free >> 8
    );
    let length = Duration::from_secs(seconds);
    match run(seed, length) {
        Ok(all) => println!(
            "storm: PASS {} operations, {} faults, {} words checked, seed={seed}",
            all.operations(),
            all.faults,
            all.words
        ),
        Err(reason) => {
            println!("storm: FAIL {reason}");
            process::exit(1);
        }
    }
}

/// Returns the value of the boot argument `name`, if it is there. Exits with status 2 if it is not
/// a number.
fn number<T: FromStr>(name: &str) -> Option<T> {
    let value = env::var(name)?;
    let Ok(number) = value.parse() else {
        println!("{name}={value} is not a number from 0 to {}", u64::MAX);
        process::exit(2);
    };
    Some(number)
}

/// Creates the address spaces, runs all tests, and checks that no frame is leaked. Returns the
/// counts of all harts together.
fn run(seed: u64, length: Duration) -> Result<Tally, String> {
    // The first user address space makes the kernel allocate the tables that all of them share.
    // These stay allocated, and must not count as a leak.
    drop(Space::new_user());
    let before = frames_in_use();
    let all = {
        let spaces = spaces()?;
        spaces.iter().try_for_each(fairness::contend)?;
        let regions = regions(&spaces);
        run_storm(&Storm {
            regions: &regions,
            seed,
            begin: Instant::now(),
            length,
            failure: Mutex::new(None),
            failed: AtomicBool::new(false),
            tallies: Mutex::new(Vec::new()),
        })?
    };
    let after = frames_in_use();
    match before == after {
        true => Ok(all),
        false => Err(format!(
            "seed {seed}, at the end: frames in use (pages, tables, other) {after:?}, expected {before:?}"
        )),
    }
}

/// Returns the numbers of frames in use: mapped pages, page tables, and other frames without the
/// heap's.
fn frames_in_use() -> [usize; 3] {
    let usage: Usage = usage();
    [UsageKind::VirtMem, UsageKind::PageTable, UsageKind::Global].map(|kind| usage.of(kind))
}

fn spaces() -> Result<Vec<Space>, String> {
    let users = (0..USERS).map(|_| Space::new_user().map_err(|error| format!("{error:?}")));
    core::iter::once(Ok(Space::Kernel)).chain(users).collect()
}

/// Returns the regions of all address spaces. Side by side lie a wide and a narrow region for all
/// harts together, and a narrow one for each hart alone. Each hart also has a narrow region that
/// lies far from all others, in another shard.
fn regions(spaces: &[Space]) -> Vec<Region<'_>> {
    let online = (0..harts::count()).filter(|hart| harts::is_online(*hart));
    let own: Vec<u64> = online.map(|hart| 1 << hart).collect();
    let all = own.iter().sum();
    let sizes = [(WIDE, all), (NARROW, all)];
    let sizes = sizes
        .into_iter()
        .chain(own.iter().map(|hart| (NARROW, *hart)));
    let mut regions = Vec::new();
    for (number, space) in spaces.iter().enumerate() {
        let far = (space.base() + FAR..).step_by(2 * TABLE);
        for (start, harts) in far.zip(&own) {
            regions.push(Region::new(space, number, start, NARROW, *harts));
        }
        let mut start = space.base() + TABLE - BEFORE_BOUNDARY * PAGE;
        for (pages, harts) in sizes.clone() {
            regions.push(Region::new(space, number, start, pages, harts));
            start += pages * PAGE;
        }
    }
    regions
}

/// Runs the storm on all harts and prints the table. Then all regions are unmapped, and every hart
/// checks that they are. Returns the counts of all harts together.
fn run_storm(storm: &Storm) -> Result<Tally, String> {
    run_on_all(|number| storm.on_hart(number))?;
    let mut tallies = storm.tallies.lock().clone();
    tallies.sort_by_key(|(hart, _)| *hart);
    let mut all = Tally::default();
    println!("{}", Tally::head());
    for (hart, tally) in tallies {
        println!("{hart:>4}{tally}");
        all += tally;
    }
    println!(" all{all}");
    storm.verdict()?;
    let hart = storm.hart(harts::current());
    storm
        .regions
        .iter()
        .try_for_each(|region| region.clear(&hart))?;
    run_on_all(|number| {
        let mut hart = storm.hart(number);
        for region in storm.regions {
            storm.record(region.visit(&mut hart));
        }
    })?;
    storm.verdict()?;
    fairness::verdict().map(|()| all)
}

fn run_on_all(work: impl Fn(usize) + Sync) -> Result<(), String> {
    harts::run_on_all(work).map_err(|error| format!("work on all harts: {error:?}"))
}

impl Storm<'_> {
    fn hart(&self, number: usize) -> Hart {
        Hart {
            number,
            seed: self.seed,
            rng: Rng::with_seed(self.seed ^ (number as u64) << 32),
            tally: Tally::default(),
        }
    }

    fn on_hart(&self, number: usize) {
        let mut hart = self.hart(number);
        let (mut next_line, mut idle) = (PROGRESS, 0);
        while self.begin.elapsed() < self.length && !self.failed.load(Ordering::Relaxed) {
            if number == 0 && self.begin.elapsed().as_secs() >= next_line {
                println!("storm: {next_line} s");
                next_line += PROGRESS;
            }
            let region = &self.regions[hart.rng.usize(..self.regions.len())];
            // A visit of a wide region takes as long as many visits of narrow ones.
            if region.is_wide() && hart.rng.u8(..8) != 0 {
                continue;
            }
            idle = match self.record(region.advance(&mut hart)) {
                Some(true) => 0,
                _ => idle + 1,
            };
            if idle > self.regions.len() {
                thread::sleep(NAP);
            }
        }
        self.tallies.lock().push((number, hart.tally));
    }

    /// Returns the value of `outcome`. Records an error, and makes all harts stop.
    fn record<T>(&self, outcome: Result<T, String>) -> Option<T> {
        let fail = |reason| {
            self.failure.lock().get_or_insert(reason);
            self.failed.store(true, Ordering::Relaxed);
        };
        outcome.map_err(fail).ok()
    }

    /// Fails with the first error that a hart has recorded.
    fn verdict(&self) -> Result<(), String> {
        self.failure.lock().take().map_or(Ok(()), Err)
    }
}
