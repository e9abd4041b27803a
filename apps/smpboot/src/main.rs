//! A test that every hart of the machine has booted completely.
//!
//! It prints a line for each hart: the page-table root that the hart runs on, whether it sees a
//! value that another hart has written, and whether its timer wakes it. A table follows, with the
//! addresses of each hart's stack and per-hart data, the number of its timer interrupts, and its
//! idle thread.
//!
//! All harts must be online, on the same root. Each must have a stack, per-hart data and an idle
//! thread of its own, and an unmapped page below its stack. The exit status is 0 if all this holds.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use axstd::time::{Duration, Instant};
use axstd::{harts, memory, println, process, thread};

/// The highest number of harts.
const MOST: usize = 64;

/// What one hart has found. It stores all fields but `from_neighbour` itself, with release order.
/// `main` loads them with acquire order after all harts have finished.
struct Seen {
    /// The physical address of the page-table root.
    root: AtomicUsize,
    /// A message that the hart before this one stores.
    from_neighbour: AtomicU64,
    /// Whether the timer has woken the hart.
    timer: AtomicBool,
    /// The lowest address of the stack.
    stack: AtomicUsize,
    /// Whether the page below the stack is mapped.
    unguarded: AtomicBool,
    /// The address of the per-hart data.
    data: AtomicUsize,
    /// The number of timer interrupts.
    ticks: AtomicU64,
}

static SEEN: [Seen; MOST] = [const {
    Seen {
        root: AtomicUsize::new(0),
        from_neighbour: AtomicU64::new(0),
        timer: AtomicBool::new(false),
        stack: AtomicUsize::new(0),
        unguarded: AtomicBool::new(true),
        data: AtomicUsize::new(0),
        ticks: AtomicU64::new(0),
    }
}; MOST];

/// Returns the value that hart `from` stores for the next hart. No other hart stores it.
fn message(from: usize) -> u64 {
    0x7e55_e7a0_0000_0000 | from as u64
}

/// Returns whether this hart sleeps long enough, and is interrupted by its timer. A call from
/// another hart can end a sleep before the timer's interrupt, but not all of many sleeps.
fn timer_wakes() -> bool {
    const NAP: Duration = Duration::from_millis(1);
    const NAPS: usize = 100;
    let ticks = harts::timer_ticks();
    for _ in 0..NAPS {
        let start = Instant::now();
        thread::sleep(NAP);
        if start.elapsed() < NAP {
            return false;
        }
        if harts::timer_ticks() > ticks {
            return true;
        }
    }
    false
}

/// Returns the next online hart. The harts form a circle. `step` is 1 for the next hart, and the
/// number of harts less 1 for the hart before.
fn neighbour(hart: usize, step: usize) -> usize {
    let count = harts::count();
    let mut next = (hart + step) % count;
    while !harts::is_online(next) {
        next = (next + step) % count;
    }
    next
}

/// Prints what a hart has found, and returns whether it is as expected.
fn report(hart: usize, root: usize) -> bool {
    let (seen, id) = (&SEEN[hart], harts::hardware_id(hart));
    if !harts::is_online(hart) {
        println!("hart {hart} (id {id:#x}) is left out");
        return false;
    }
    let before = neighbour(hart, harts::count() - 1);
    let here = seen.root.load(Ordering::Acquire);
    let received = seen.from_neighbour.load(Ordering::Acquire) == message(before);
    let woken = seen.timer.load(Ordering::Acquire);
    let word = |good| if good { "ok" } else { "FAILED" };
    println!(
        "hart {hart} (id {id:#x}) root {here:#x} {} neighbour {before} {} timer {}",
        word(here == root),
        word(received),
        word(woken)
    );
    received && woken && here == root
}

/// Stores the addresses of this hart's stack and per-hart data, and its timer interrupts.
fn record_own(seen: &Seen) {
    let stack = thread::current().stack_bottom();
    let unguarded = memory::probe::can_read(stack - 1);
    seen.stack.store(stack, Ordering::Release);
    seen.unguarded.store(unguarded, Ordering::Release);
    seen.data.store(harts::own_data(), Ordering::Release);
    seen.ticks.store(harts::timer_ticks(), Ordering::Release);
}

/// Prints a hart's row of the table. Returns whether its stack and per-hart data are its own, its
/// stack has a guard zone, and it has an idle thread.
fn report_own(hart: usize) -> bool {
    let (seen, id) = (&SEEN[hart], harts::hardware_id(hart));
    let (stack, data) = (
        seen.stack.load(Ordering::Acquire),
        seen.data.load(Ordering::Acquire),
    );
    let unguarded = seen.unguarded.load(Ordering::Acquire);
    let ticks = seen.ticks.load(Ordering::Acquire);
    let idle = harts::idle_thread(hart);
    println!(
        "{hart:>4}{id:>#6x}  {stack:#018x}  {}  {data:#018x}{ticks:>7}{:>6}",
        if unguarded { "MAPPED" } else { "    ok" },
        idle.unwrap_or(0)
    );
    let same = |other: &usize| {
        SEEN[*other].stack.load(Ordering::Acquire) == stack
            || SEEN[*other].data.load(Ordering::Acquire) == data
    };
    (0..harts::count()).filter(same).eq([hart]) && !unguarded && idle.is_some()
}

#[unsafe(no_mangle)]
fn main() {
    let ran = harts::run_on_all(|hart| {
        let next = &SEEN[neighbour(hart, 1)];
        next.from_neighbour.store(message(hart), Ordering::Release);
        SEEN[hart]
            .root
            .store(memory::page_table_root(), Ordering::Release);
        SEEN[hart].timer.store(timer_wakes(), Ordering::Release);
        record_own(&SEEN[hart]);
    });
    if let Err(error) = ran {
        println!("FAIL: work on all harts: {error:?}");
        process::exit(1);
    }
    let count = harts::count();
    let root = SEEN[0].root.load(Ordering::Acquire);
    let passed = (0..count).filter(|&hart| report(hart, root)).count();
    println!("\n  no    id  stack               guard   per-hart data       ticks  idle thread");
    let online = (0..count).filter(|&hart| harts::is_online(hart));
    let separate = online.filter(|&hart| report_own(hart)).count();
    let mut passed = passed.min(separate);
    for absent in [count, 64, usize::MAX] {
        if harts::idle_thread(absent).is_some() || harts::is_online(absent) {
            println!("hart {absent} does not exist, but counts as online");
            passed = 0;
        }
    }
    let verdict = if passed == count { "PASS" } else { "FAIL" };
    println!("{verdict} {passed}/{count}");
    process::exit(i32::from(passed != count));
}
