//! What each hart sees after the boot: the page-table root it runs on, a value
//! that its neighbour has written, and whether its timer wakes it. All roots
//! must be one, and every hart of the machine must be there; the exit status
//! says whether.
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
}

static SEEN: [Seen; MOST] = [const {
    Seen {
        root: AtomicUsize::new(0),
        from_neighbour: AtomicU64::new(0),
        timer: AtomicBool::new(false),
    }
}; MOST];

/// What a hart writes for the next: a value that no other hart writes.
fn message(from: usize) -> u64 {
    0x7e55_e7a0_0000_0000 | from as u64
}

/// Whether a sleep on this hart ends, not early, and by its timer.
fn timer_wakes() -> bool {
    const NAP: Duration = Duration::from_millis(1);
    let (start, ticks) = (Instant::now(), harts::timer_ticks());
    thread::sleep(NAP);
    start.elapsed() >= NAP && harts::timer_ticks() > ticks
}

#[unsafe(no_mangle)]
fn main() {
    let count = harts::count();
    harts::run_on_all(|hart| {
        let next = &SEEN[(hart + 1) % count];
        next.from_neighbour.store(message(hart), Ordering::Release);
        SEEN[hart]
            .root
            .store(memory::page_table_root(), Ordering::Release);
        SEEN[hart].timer.store(timer_wakes(), Ordering::Release);
    });
    let mut passed = 0;
    let root = SEEN[0].root.load(Ordering::Acquire);
    for (hart, seen) in SEEN.iter().enumerate().take(count) {
        let neighbour = (hart + count - 1) % count;
        let here = seen.root.load(Ordering::Acquire);
        let told = seen.from_neighbour.load(Ordering::Acquire) == message(neighbour);
        let woken = seen.timer.load(Ordering::Acquire);
        let word = |good| if good { "ok" } else { "FAILED" };
        println!(
            "hart {hart} (id {:#x}) root {here:#x} neighbour {neighbour} {} timer {}",
            harts::hardware_id(hart),
            word(told),
            word(woken)
        );
        passed += usize::from(told && woken && here == root);
    }
    let verdict = if passed == count { "PASS" } else { "FAIL" };
    println!("{verdict} {passed}/{count}");
    process::exit(i32::from(passed != count));
}
