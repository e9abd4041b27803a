//! Every hart but the first: coming up, and then waiting for work.
//!
//! There is one piece of work at a time: a function that every hart runs once
//! ([`run_on_all`]). It is published under a serial number, the harts are
//! woken, and each that has run it counts itself down.
//!
//! With threads, each hart's part in it is a thread like others, on the hart's own stack,
//! and takes turns with them; so the work needs no memory, as without threads.
//!
//! Locks: `TURN`, held while a piece of work is done, then `WORK`, held to read
//! or replace a pointer.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axhal::arch;
use axhal::hart::{self, Arrival};
use axlog::{info, warn};
use kspin::SpinNoIrq;

/// A function for every hart, which is given the hart's number.
type Work<'a> = &'a (dyn Fn(usize) + Sync);

/// Starts every other hart, one at a time, and names those that do not come.
pub fn start_all() {
    for number in 1..hart::count() {
        let id = hart::hardware_id(number);
        match hart::start(number) {
            Arrival::Up => info!("hart {number} (hardware id {id:#x}) is up"),
            Arrival::LeftOut => warn!(
                "hart {number} (hardware id {id:#x}) did not come up and is left out; {} of {} harts run",
                hart::online().count_ones(),
                hart::count()
            ),
        }
    }
}

#[axplat::secondary_main]
fn secondary(cpu_id: usize) -> ! {
    hart::init_secondary(cpu_id);
    axplat::init::init_early_secondary(cpu_id);
    #[cfg(feature = "paging")]
    axmm::init_memory_management_secondary();
    axplat::init::init_later_secondary(cpu_id);
    if has_memory() && hart::arrive(cpu_id) == Arrival::Up {
        wait_for_work(cpu_id);
    }
    arch::halt()
}

/// Whether there is memory for what this hart needs of its own.
fn has_memory() -> bool {
    #[cfg(feature = "alloc")]
    let stock = axalloc::init_hart().is_ok();
    #[cfg(not(feature = "alloc"))]
    let stock = true;
    stock && waiting::init_hart()
}

/// The work at hand; valid while `LEFT` is not 0.
static WORK: SpinNoIrq<Option<Work<'static>>> = SpinNoIrq::new(None);
/// Which piece of work is the newest.
static SERIAL: AtomicUsize = AtomicUsize::new(0);
/// How many harts have yet to finish it.
static LEFT: AtomicUsize = AtomicUsize::new(0);
/// The hart that handed it out, to be woken at the end.
static MASTER: AtomicUsize = AtomicUsize::new(0);
/// Whether work is being done.
static TURN: AtomicBool = AtomicBool::new(false);

/// Runs `work` once on every hart that is up, this one included, at the same
/// time, and returns when all have finished. `work` is given the hart's number.
///
/// One piece of work is done at a time: a second caller waits. `work` must not
/// call this function.
pub fn run_on_all(work: &(dyn Fn(usize) + Sync)) {
    waiting::take_turn(&TURN);
    let me = hart::this_hart();
    let others = hart::online() & !(1 << me);
    // SAFETY: other harts use the reference only between here and the moment
    // `LEFT` becomes 0, and this function returns after that.
    let work: Work<'static> = unsafe { core::mem::transmute(work) };
    *WORK.lock() = Some(work);
    MASTER.store(me, Ordering::Relaxed);
    LEFT.store(others.count_ones() as usize, Ordering::Relaxed);
    SERIAL.fetch_add(1, Ordering::Release);
    waiting::wake(others);
    work(me);
    waiting::until(|| LEFT.load(Ordering::Acquire) == 0);
    *WORK.lock() = None;
    waiting::end_turn(&TURN);
}

/// What every hart but the first does for the rest of its life.
fn wait_for_work(number: usize) -> ! {
    let mut done = 0;
    loop {
        waiting::until(|| SERIAL.load(Ordering::Acquire) != done);
        done += 1;
        let work = *WORK.lock();
        if let Some(work) = work {
            work(number);
        }
        if LEFT.fetch_sub(1, Ordering::AcqRel) == 1 {
            waiting::wake(1 << MASTER.load(Ordering::Relaxed));
        }
    }
}

/// How a hart waits: asleep as a whole.
#[cfg(not(feature = "multitask"))]
mod waiting {
    use core::sync::atomic::{AtomicBool, Ordering};

    use axhal::arch;

    pub fn init_hart() -> bool {
        true
    }

    pub fn take_turn(turn: &AtomicBool) {
        while turn.swap(true, Ordering::Acquire) {
            core::hint::spin_loop();
        }
    }

    pub fn end_turn(turn: &AtomicBool) {
        turn.store(false, Ordering::Release);
    }

    /// Lets the harts of a set look at what they wait for.
    pub fn wake(harts: u64) {
        (0..u64::BITS as usize)
            .filter(|hart| harts & 1 << hart != 0)
            .for_each(axhal::irq::kick);
    }

    /// Sleeps until `condition` holds, with interrupts let in meanwhile and after.
    /// It is looked at with interrupts off, and the sleep ends for one that came in
    /// between: no call to wake up is missed.
    pub fn until(condition: impl Fn() -> bool) {
        arch::disable_irqs();
        while !condition() {
            arch::wait_for_irqs();
        }
        arch::enable_irqs();
    }
}

/// How a hart's thread waits: others run meanwhile.
#[cfg(feature = "multitask")]
mod waiting {
    use core::sync::atomic::{AtomicBool, Ordering};

    use axtask::WaitQueue;

    /// Each hart's first thread that waits for work, or for the end of it.
    static QUEUE: WaitQueue = WaitQueue::new();
    /// Those that have work to hand out.
    static TURNS: WaitQueue = WaitQueue::new();

    pub fn init_hart() -> bool {
        axtask::init_hart("work of all harts").is_ok()
    }

    pub fn take_turn(turn: &AtomicBool) {
        TURNS.wait_until(|| !turn.swap(true, Ordering::Acquire));
    }

    pub fn end_turn(turn: &AtomicBool) {
        turn.store(false, Ordering::Release);
        TURNS.notify_one();
    }

    /// Lets all that wait look at what they wait for.
    pub fn wake(_harts: u64) {
        QUEUE.notify_all();
    }

    /// Waits until `condition` holds, with interrupts in.
    pub fn until(condition: impl Fn() -> bool) {
        axhal::arch::enable_irqs();
        QUEUE.wait_until(condition);
    }
}
