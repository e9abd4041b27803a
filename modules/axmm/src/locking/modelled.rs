//! A machine of two harts, each a thread that loom schedules. A test runs them in every
//! interleaving, and lets each load return every value that its memory order allows. The test also
//! fails if a hart waits for ever.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use loom::model::Builder;
use loom::sync::{Arc, Notify};
use loom::thread;

use crate::machine::{Machine, ThisMachine};

/// How many harts there are.
pub const HARTS: usize = 2;

/// The machine of the two harts.
pub struct Modelled;

/// Whether any hart has waited for the other, in any run of a test.
pub static WAITED: AtomicBool = AtomicBool::new(false);

loom::thread_local! {
    static ME: Cell<usize> = Cell::new(0);
}

loom::lazy_static! {
    /// One for each hart, which waits on its own in `relax`. The other hart notifies it after each
    /// change that it may wait for, and before it waits itself.
    static ref WAKES: [Notify; HARTS] = [(); HARTS].map(|()| Notify::new());
}

/// Lets the other hart look again, if it waits.
pub fn wake_other() {
    WAKES[1 - ME.with(Cell::get)].notify();
}

// SAFETY: each thread of a test is the hart that it says.
unsafe impl Machine for Modelled {
    crate::page_tables_of!(ThisMachine);

    fn publish_entries() {}

    fn flush(_: u64, _: core::ops::Range<usize>) {}

    fn flush_local(_: core::ops::Range<usize>) {}

    type IrqGuard = ();
    type PreemptGuard = ();

    fn disable_irqs() {}

    fn disable_preemption() {}

    fn harts() -> usize {
        HARTS
    }

    fn hart() -> usize {
        ME.with(Cell::get)
    }

    fn relax(_: usize) {
        WAITED.store(true, Relaxed);
        wake_other();
        WAKES[ME.with(Cell::get)].wait();
    }
}

/// Runs two harts with what `make` returns, in every interleaving with at most `preemptions`
/// preemptions.
pub fn harts<T: Send + Sync + 'static>(
    preemptions: usize,
    make: impl Fn() -> T + Send + Sync + 'static,
    first: impl Fn(&T) + Send + Sync + 'static,
    second: impl Fn(&T) + Copy + Send + Sync + 'static,
) {
    let mut model = Builder::new();
    model.preemption_bound = Some(preemptions);
    // Operations of address spaces and memory objects have more steps than loom allows by default.
    model.max_branches = 10_000;
    model.check(move || {
        // The first use makes `WAKES`. It comes before the other thread starts, so that both
        // threads use the same ones without further synchronization.
        WAKES.iter().for_each(|_| {});
        let shared = Arc::new(make());
        let other = shared.clone();
        let other = thread::spawn(move || {
            ME.with(|me| me.set(1));
            second(&other);
        });
        first(&shared);
        other.join().unwrap();
    });
}
