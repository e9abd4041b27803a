//! A storm: for some seconds every hart maps, touches, protects and unmaps stretches of
//! the kernel's address space and of user programs', its own and such as it shares with
//! all others, in random sizes and grains, and checks every value it finds, every fault
//! that must be, and what every operation answers (`stretch`, `page`). Stretches lie
//! side by side, across the edges of page tables, so that harts meet in areas and
//! tables; others lie far apart, in shards of their own. Before, all harts change the same
//! pages, and whether each has its turn is counted (`crowd`).
//!
//! It ends in a table, then `storm: PASS …` or `storm: FAIL …`, and its exit status says
//! the same. The boot arguments `seconds=N` and `seed=N` say how long, and which; one
//! seed makes each hart choose alike, but who comes first is not the seed's to say.
#![no_std]
#![no_main]

extern crate alloc;

mod crowd;
mod page;
mod space;
mod stretch;
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
use space::Space;
use stretch::{Hart, Stretch};
use tally::Tally;

/// User address spaces.
const USERS: usize = 2;

/// Pages of a stretch that has room for a large page, and how many of them lie before
/// a table's edge; pages of the others.
const WIDE: usize = 640;
const BEFORE_EDGE: usize = 64;
const NARROW: usize = 24;

/// Bytes that a lowest page table translates.
const TABLE: usize = 2 << 20;

/// From the first stretch of an address space to those that are far from others.
const FAR: usize = 64 << 20;

/// After so many seconds there is a line on the console.
const SIGN_OF_LIFE: u64 = 10;

/// How long a hart that waits for others leaves the processor to them.
const NAP: Duration = Duration::from_micros(50);

/// The storm over one set of stretches.
struct Storm<'a> {
    stretches: &'a [Stretch<'a>],
    seed: u64,
    begin: Instant,
    length: Duration,
    /// What went wrong first.
    failure: Mutex<Option<String>>,
    failed: AtomicBool,
    /// What each hart has done.
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
        Err(what) => {
            println!("storm: FAIL {what}");
            process::exit(1);
        }
    }
}

/// The number that a boot argument gives, if it is there.
fn number<T: FromStr>(name: &str) -> Option<T> {
    let value = env::var(name)?;
    let Ok(number) = value.parse() else {
        println!("{name}={value} is not a number from 0 to {}", u64::MAX);
        process::exit(2);
    };
    Some(number)
}

/// Makes address spaces, lets the storm go through them, and sees that all has come
/// back. Answers what was done.
fn run(seed: u64, length: Duration) -> Result<Tally, String> {
    // The first makes the kernel's tables ready for all, and they stay.
    drop(Space::new_user());
    let before = taken();
    let all = {
        let spaces = spaces()?;
        spaces.iter().try_for_each(crowd::meet)?;
        let stretches = stretches(&spaces);
        weather(&Storm {
            stretches: &stretches,
            seed,
            begin: Instant::now(),
            length,
            failure: Mutex::new(None),
            failed: AtomicBool::new(false),
            tallies: Mutex::new(Vec::new()),
        })?
    };
    let after = taken();
    match before == after {
        true => Ok(all),
        false => Err(format!(
            "seed {seed}, at the end: (pages, tables, other) taken are {after:?}, expected {before:?}"
        )),
    }
}

/// The frames that are in use, by what for.
fn taken() -> [usize; 3] {
    let usage: Usage = usage();
    [UsageKind::VirtMem, UsageKind::PageTable, UsageKind::Global].map(|kind| usage.of(kind))
}

fn spaces() -> Result<Vec<Space>, String> {
    let users = (0..USERS).map(|_| Space::new_user().map_err(|error| format!("{error:?}")));
    core::iter::once(Ok(Space::Kernel)).chain(users).collect()
}

/// In each address space a wide and a narrow stretch for all harts, then a narrow one
/// for each hart alone, one behind the other with nothing between; and one for each hart
/// alone that is far from all others, in another shard of the address space.
fn stretches(spaces: &[Space]) -> Vec<Stretch<'_>> {
    let online = (0..harts::count()).filter(|hart| harts::is_online(*hart));
    let own: Vec<u64> = online.map(|hart| 1 << hart).collect();
    let all = own.iter().sum();
    let sizes = [(WIDE, all), (NARROW, all)];
    let sizes = sizes
        .into_iter()
        .chain(own.iter().map(|hart| (NARROW, *hart)));
    let mut stretches = Vec::new();
    for (number, space) in spaces.iter().enumerate() {
        let far = (space.base() + FAR..).step_by(2 * TABLE);
        for (start, harts) in far.zip(&own) {
            stretches.push(Stretch::new(space, number, start, NARROW, *harts));
        }
        let mut start = space.base() + TABLE - BEFORE_EDGE * PAGE;
        for (pages, harts) in sizes.clone() {
            stretches.push(Stretch::new(space, number, start, pages, harts));
            start += pages * PAGE;
        }
    }
    stretches
}

/// The storm itself, the table, and the calm after it.
fn weather(storm: &Storm) -> Result<Tally, String> {
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
        .stretches
        .iter()
        .try_for_each(|stretch| stretch.clear(&hart))?;
    run_on_all(|number| {
        let mut hart = storm.hart(number);
        for stretch in storm.stretches {
            storm.note(stretch.look(&mut hart));
        }
    })?;
    storm.verdict()?;
    crowd::verdict().map(|()| all)
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
        let (mut next_sign, mut idle) = (SIGN_OF_LIFE, 0);
        while self.begin.elapsed() < self.length && !self.failed.load(Ordering::Relaxed) {
            if number == 0 && self.begin.elapsed().as_secs() >= next_sign {
                println!("storm: {next_sign} s");
                next_sign += SIGN_OF_LIFE;
            }
            let stretch = &self.stretches[hart.rng.usize(..self.stretches.len())];
            // To look at a wide one takes as long as at many narrow ones.
            if stretch.is_wide() && hart.rng.u8(..8) != 0 {
                continue;
            }
            idle = match self.note(stretch.go_on(&mut hart)) {
                Some(true) => 0,
                _ => idle + 1,
            };
            if idle > self.stretches.len() {
                thread::sleep(NAP);
            }
        }
        self.tallies.lock().push((number, hart.tally));
    }

    /// What came of something; if it went wrong, that is noted.
    fn note<T>(&self, outcome: Result<T, String>) -> Option<T> {
        let fail = |what| {
            self.failure.lock().get_or_insert(what);
            self.failed.store(true, Ordering::Relaxed);
        };
        outcome.map_err(fail).ok()
    }

    fn verdict(&self) -> Result<(), String> {
        self.failure.lock().take().map_or(Ok(()), Err)
    }
}
