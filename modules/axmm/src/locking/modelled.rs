//! Two harts of which loom knows. A test runs them in every interleaving, and with every
//! order that memory may have. It fails also if a hart waits for ever.

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
    /// Ends a hart's waiting: the other has done something, or waits itself.
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

/// Runs two harts with what `make` returns, in every interleaving with so many preemptions.
pub fn harts<T: Send + Sync + 'static>(
    preemptions: usize,
    make: impl Fn() -> T + Send + Sync + 'static,
    first: impl Fn(&T) + Send + Sync + 'static,
    second: impl Fn(&T) + Copy + Send + Sync + 'static,
) {
    let mut model = Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(move || {
        // The thread that makes them has synchronized with the other one, which starts later.
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
