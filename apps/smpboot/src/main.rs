//! What each hart sees after the boot: the page-table root it runs on, a value
//! that its neighbour has written, and whether its timer wakes it; then a table of
//! where its stack and its own data are, how often its timer has rung, and the thread
//! that it runs when there is nothing to do. All roots must be one, no two harts may
//! share a stack or data, no guard page may be mapped, and every hart of the machine
//! must be there; the exit status says whether.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use axstd::time::{Duration, Instant};
use axstd::{harts, memory, println, process, thread};

const MOST: usize = 64;

/// What one hart has seen.
struct Seen {
    root: AtomicUsize,
    /// Written by the hart before this one.
    from_neighbour: AtomicU64,
    timer: AtomicBool,
    stack: AtomicUsize,
    /// Whether the page below the stack is mapped.
    unguarded: AtomicBool,
    data: AtomicUsize,
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

/// What a hart writes for the next: a value that no other hart writes.
fn message(from: usize) -> u64 {
    0x7e55_e7a0_0000_0000 | from as u64
}

/// Whether this hart sleeps no shorter than it should, and takes its timer's
/// interrupt. A sleep may end before the interrupt comes, by another hart's call
/// at the right moment, but not every one of many.
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

/// The next hart that is up, forwards or backwards around the circle.
fn neighbour(hart: usize, step: usize) -> usize {
    let count = harts::count();
    let mut next = (hart + step) % count;
    while !harts::is_online(next) {
        next = (next + step) % count;
    }
    next
}

/// Prints what a hart has seen; whether it is what it should be.
fn report(hart: usize, root: usize) -> bool {
    let (seen, id) = (&SEEN[hart], harts::hardware_id(hart));
    if !harts::is_online(hart) {
        println!("hart {hart} (id {id:#x}) is left out");
        return false;
    }
    let before = neighbour(hart, harts::count() - 1);
    let here = seen.root.load(Ordering::Acquire);
    let told = seen.from_neighbour.load(Ordering::Acquire) == message(before);
    let woken = seen.timer.load(Ordering::Acquire);
    let word = |good| if good { "ok" } else { "FAILED" };
    println!(
        "hart {hart} (id {id:#x}) root {here:#x} {} neighbour {before} {} timer {}",
        word(here == root),
        word(told),
        word(woken)
    );
    told && woken && here == root
}

/// Notes where this hart's own things are.
fn look_around(seen: &Seen) {
    let stack = thread::current().stack_bottom();
    let unguarded = memory::probe::can_read(stack - 1);
    seen.stack.store(stack, Ordering::Release);
    seen.unguarded.store(unguarded, Ordering::Release);
    seen.data.store(harts::own_data(), Ordering::Release);
    seen.ticks.store(harts::timer_ticks(), Ordering::Release);
}

/// Prints where a hart's own things are; whether they are nobody else's.
fn place(hart: usize) -> bool {
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
        if unguarded { "MAPPED" } else { "  none" },
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
        look_around(&SEEN[hart]);
    });
    if let Err(error) = ran {
        println!("FAIL: work on all harts: {error:?}");
        process::exit(1);
    }
    let count = harts::count();
    let root = SEEN[0].root.load(Ordering::Acquire);
    let passed = (0..count).filter(|&hart| report(hart, root)).count();
    println!("\n  no    id  stack               guard   own data            ticks  idle thread");
    let all = (0..count).filter(|&hart| harts::is_online(hart));
    let placed = all.filter(|&hart| place(hart)).count();
    let mut passed = passed.min(placed);
    for absent in [count, 64, usize::MAX] {
        if harts::idle_thread(absent).is_some() || harts::is_online(absent) {
            println!("hart {absent} is none, and yet it runs");
            passed = 0;
        }
    }
    let verdict = if passed == count { "PASS" } else { "FAIL" };
    println!("{verdict} {passed}/{count}");
    process::exit(i32::from(passed != count));
}
