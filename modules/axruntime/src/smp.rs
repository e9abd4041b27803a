//! Every hart but the first: coming up, and then waiting for work.
//!
//! There is one piece of work at a time: a function that every hart runs once
//! ([`run_on_all`]). The caller publishes it, sets a bit for each other hart, and runs
//! its own part. A hart that finds its bit set runs the function, and clears the bit when
//! it has finished; the work is done when no bit is left.
//!
//! With threads, each hart's part in it is a thread's, which takes turns with the other
//! threads of that hart. On all harts but the first it is the hart's first thread, on the
//! hart's own stack, so that the work needs no memory. The first hart's first thread is
//! `main`; a worker joins it when a thread of another hart hands out work for the first
//! time.
//!
//! Locks: `TURN`, held while a piece of work is done, then `WORK`, held to read
//! or replace a pointer.

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use axerrno::{AxError, AxResult};
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
        // SAFETY: each number is another, and the boot comes here once.
        match unsafe { hart::start(number) } {
            Arrival::Up => info!("hart {number} (hardware id {id:#x}) is up"),
            Arrival::LeftOut => warn!(
                "hart {number} (hardware id {id:#x}) did not come up and is left out; {} of {} harts run",
                hart::online().count_ones() as usize,
                hart::count()
            ),
        }
    }
}

#[axplat::secondary_main]
fn secondary(cpu_id: usize) -> ! {
    // SAFETY: the platform calls this once on each hart that is started, with its number,
    // and nothing has run there before.
    unsafe { hart::init_secondary(cpu_id) };
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

/// The work at hand; valid while `PENDING` is not 0.
static WORK: SpinNoIrq<Option<Work<'static>>> = SpinNoIrq::new(None);
/// One bit for each hart that has yet to finish it, besides the one that handed it out.
static PENDING: AtomicU64 = AtomicU64::new(0);
/// The hart that handed it out, to be woken at the end; [`NO_MASTER`] before the first.
static MASTER: AtomicUsize = AtomicUsize::new(NO_MASTER);
const NO_MASTER: usize = usize::MAX;
/// Whether work is being done.
static TURN: AtomicBool = AtomicBool::new(false);

/// Runs `work` once on every hart that is up, this one included, at the same
/// time, and returns when all have finished. `work` is given the hart's number.
///
/// With threads, a thread of any hart may call it. One piece of work is done at a time:
/// a second caller waits for the first one's to end. So work that waits for another
/// thread's call of this function waits for ever.
///
/// # Errors
///
/// `BadState` if the caller is a part of such work itself: it would wait for its own end.
/// `NoMemory` if there is none for the first hart's worker, which the first call from
/// another hart starts. The work has run nowhere then.
pub fn run_on_all(work: &(dyn Fn(usize) + Sync)) -> AxResult {
    waiting::take_turn(&TURN)?;
    let me = hart::this_hart();
    let ready = waiting::start_worker(me);
    if ready.is_ok() {
        hand_out(work, me);
    }
    waiting::end_turn(&TURN);
    ready
}

/// Runs `work` on all harts. The caller, on hart `me`, has the turn.
fn hand_out(work: &(dyn Fn(usize) + Sync), me: usize) {
    let others = hart::online() & !(1 << me);
    // SAFETY: other harts use the reference only between here and the moment
    // `PENDING` becomes 0, and this function returns after that.
    let shared: Work<'static> = unsafe { core::mem::transmute(work) };
    *WORK.lock() = Some(shared);
    MASTER.store(me, Ordering::Relaxed);
    // Release: a hart that sees its bit sees the work and the master.
    PENDING.store(others, Ordering::Release);
    waiting::wake(others);
    waiting::take_part(me, || work(me));
    waiting::until(|| PENDING.load(Ordering::Acquire) == 0);
    *WORK.lock() = None;
}

/// Whether there is work for the hart with the bit `mine`. Nothing writes `MASTER` in an
/// image that calls [`run_on_all`] nowhere, so that the compiler leaves the rest of
/// [`wait_for_work`] out of it.
fn is_pending(mine: u64) -> bool {
    PENDING.load(Ordering::Acquire) & mine != 0 && MASTER.load(Ordering::Relaxed) != NO_MASTER
}

/// What a hart's worker does for the rest of its life.
fn wait_for_work(number: usize) -> ! {
    let mine = 1 << number;
    loop {
        waiting::until(|| is_pending(mine));
        let work = *WORK.lock();
        // Read before the bit goes: the next caller may be another hart.
        let master = MASTER.load(Ordering::Relaxed);
        if let Some(work) = work {
            waiting::take_part(number, || work(number));
        }
        // Release: who sees no bit left sees all that the work has done.
        if PENDING.fetch_and(!mine, Ordering::AcqRel) == mine {
            waiting::wake(1 << master);
        }
    }
}

/// How a hart waits: asleep as a whole.
#[cfg(not(feature = "multitask"))]
mod waiting {
    use core::sync::atomic::{AtomicBool, Ordering};

    use axhal::arch;

    use super::{AxError, AxResult};

    pub fn init_hart() -> bool {
        true
    }

    /// Fails where the turn is taken: each hart does one thing at a time, and the first
    /// runs `main`, so that whoever comes then is a part of the work.
    pub fn take_turn(turn: &AtomicBool) -> AxResult {
        match turn.swap(true, Ordering::Acquire) {
            true => Err(AxError::BadState),
            false => Ok(()),
        }
    }

    pub fn end_turn(turn: &AtomicBool) {
        turn.store(false, Ordering::Release);
    }

    /// Work is handed out by the first hart alone, and every other has a worker.
    pub fn start_worker(_me: usize) -> AxResult {
        Ok(())
    }

    pub fn take_part(_hart: usize, work: impl FnOnce()) {
        work();
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
    use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use axconfig::MAX_HARTS;
    use axtask::{Spawn, WaitQueue};

    use super::{AxError, AxResult};

    /// What a worker is called in reports.
    const NAME: &str = "work of all harts";

    /// Workers that wait for work, and a caller that waits for the end of it.
    static QUEUE: WaitQueue = WaitQueue::new();
    /// Those that have work to hand out.
    static TURNS: WaitQueue = WaitQueue::new();
    /// The number of the thread that runs each hart's part of the work now; 0 for none.
    static PARTS: [AtomicU64; MAX_HARTS] = [const { AtomicU64::new(0) }; MAX_HARTS];
    /// Whether the first hart has a worker.
    static FIRST_HAS_WORKER: AtomicBool = AtomicBool::new(false);

    pub fn init_hart() -> bool {
        axtask::init_hart(NAME).is_ok()
    }

    /// Fails where the calling thread runs a part of the work that has the turn.
    pub fn take_turn(turn: &AtomicBool) -> AxResult {
        let me = axtask::current();
        // Relaxed: only this thread itself writes its number, or takes it away.
        if PARTS[me.hart()].load(Ordering::Relaxed) == me.id() {
            return Err(AxError::BadState);
        }
        TURNS.wait_until(|| !turn.swap(true, Ordering::Acquire));
        Ok(())
    }

    pub fn end_turn(turn: &AtomicBool) {
        turn.store(false, Ordering::Release);
        TURNS.notify_one();
    }

    /// Starts the first hart's worker, unless it is there or hart `me`, which hands out
    /// work, is the first. The caller has the turn.
    pub fn start_worker(me: usize) -> AxResult {
        // Relaxed: the turn orders all callers.
        if me == 0 || FIRST_HAS_WORKER.load(Ordering::Relaxed) {
            return Ok(());
        }
        let spawn = Spawn {
            name: NAME.into(),
            hart: Some(0),
            ..Spawn::default()
        };
        axtask::spawn(spawn, || super::wait_for_work(0))?;
        FIRST_HAS_WORKER.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Runs `hart`'s part of the work in the calling thread.
    pub fn take_part(hart: usize, work: impl FnOnce()) {
        PARTS[hart].store(axtask::current().id(), Ordering::Relaxed);
        work();
        PARTS[hart].store(0, Ordering::Relaxed);
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
