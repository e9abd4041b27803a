//! A machine whose harts are threads of the test. A test can choose what another hart does in
//! the middle of an operation.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};

use axmm::tlb::asid::AsidAllocator;
use axmm::tlb::state::FlushOnEntry;
use axmm::{AddrSpace, Machine};

use crate::TestMachine;

/// The number of harts.
pub const HARTS: usize = 3;

/// The number of rounds after which a waiting hart lets other threads run.
const SPINS: usize = 64;

/// A set of harts, one bit for each, and the addresses that they flush.
pub type Flush = (u64, Range<usize>);

/// What another hart does at some moment of this hart's operation.
type Action = Option<Box<dyn FnOnce()>>;

thread_local! {
    static THIS_HART: Cell<usize> = const { Cell::new(0) };
    static AT_NEXT_FLUSH: RefCell<Action> = const { RefCell::new(None) };
    static AT_NEXT_COPY: RefCell<Action> = const { RefCell::new(None) };
    static AT_NEXT_WAIT: RefCell<Action> = const { RefCell::new(None) };
    static FLUSHES: RefCell<Option<Vec<Flush>>> = const { RefCell::new(None) };
    static LOCAL_FLUSHES: RefCell<Option<Vec<Range<usize>>>> = const { RefCell::new(None) };
    static BEFORE_IRQS_ARE_DISABLED: RefCell<Action> = const { RefCell::new(None) };
}

/// Lets the next hart run `action` when this hart next flushes other harts' TLBs.
pub fn at_next_flush(action: impl FnOnce() + 'static) {
    AT_NEXT_FLUSH.set(Some(Box::new(action)));
}

/// Lets the next hart run `action` when this hart next copies bytes of a page.
pub fn at_next_copy(action: impl FnOnce() + 'static) {
    AT_NEXT_COPY.set(Some(Box::new(action)));
}

/// Lets the next hart run `action` before this hart next disables interrupts.
pub fn before_irqs_are_disabled(action: impl FnOnce() + 'static) {
    BEFORE_IRQS_ARE_DISABLED.set(Some(Box::new(action)));
}

/// Returns the flushes of other harts' TLBs that `work` requests on this thread.
pub fn flushes_of(work: impl FnOnce()) -> Vec<Flush> {
    FLUSHES.set(Some(Vec::new()));
    work();
    FLUSHES.take().unwrap_or_default()
}

/// Returns the addresses that this hart flushes from its own TLB alone during `work`.
pub fn local_flushes_of(work: impl FnOnce()) -> Vec<Range<usize>> {
    LOCAL_FLUSHES.set(Some(Vec::new()));
    work();
    LOCAL_FLUSHES.take().unwrap_or_default()
}

/// Makes this thread the hart with the number `hart`.
pub fn set_this_hart(hart: usize) {
    THIS_HART.set(hart);
}

/// Lets hart 2 do `work` in a thread. Returns once that hart waits.
///
/// # Panics
///
/// Panics if `work` returns without a wait.
pub fn spawn_until_it_waits(work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let (thread, waits) = spawn_until_it_waits_or_ends(work);
    assert!(waits, "hart 2 has not waited");
    thread
}

/// Lets hart 2 do `work` in a thread. Returns once that hart waits or has done it, and whether it
/// waits.
pub fn spawn_until_it_waits_or_ends(
    work: impl FnOnce() + Send + 'static,
) -> (JoinHandle<()>, bool) {
    let (send, waits) = channel();
    let thread = thread::spawn(move || {
        set_this_hart(2);
        let at_wait = send.clone();
        AT_NEXT_WAIT.set(Some(Box::new(move || _ = at_wait.send(true))));
        work();
        _ = send.send(false);
    });
    (thread, waits.recv().unwrap_or(false))
}

/// Runs an action as the next hart, on this thread.
fn run_as_next_hart(action: Action) {
    if let Some(action) = action {
        let this = THIS_HART.replace(THIS_HART.get() + 1);
        axalloc::fault::paused(action);
        THIS_HART.set(this);
    }
}

/// Makes harts enter address spaces.
pub struct Entries {
    asids: AsidAllocator,
    generations: [u64; HARTS],
}

impl Entries {
    /// No hart has entered an address space.
    #[expect(clippy::new_without_default, reason = "tests name what they make")]
    pub fn new() -> Self {
        Self {
            asids: AsidAllocator::new(100),
            generations: [0; HARTS],
        }
    }

    /// Makes `hart` enter an address space. Returns what it has to flush.
    pub fn enter<M: Machine>(&mut self, space: &AddrSpace<M>, hart: usize) -> FlushOnEntry {
        let generation = &mut self.generations[hart];
        // SAFETY: no hart of this machine has a TLB or makes an access.
        let (_, flush) = unsafe { space.tlb_state().enter(&self.asids, hart, generation) };
        flush
    }
}

/// Makes `hart` leave an address space.
pub fn leave<M: Machine>(space: &AddrSpace<M>, hart: usize) {
    // SAFETY: no hart of this machine makes an access.
    unsafe { space.tlb_state().leave(hart) };
}

/// A machine with the page tables of `R`, whose harts are threads.
pub struct Threads<R>(PhantomData<fn() -> R>);

// SAFETY: threads that run at the same time have different numbers below `HARTS`. A thread
// that runs an action as another hart gets its own number back afterwards.
unsafe impl<R: TestMachine> Machine for Threads<R> {
    axmm::page_tables_of!(R);

    type IrqGuard = ();
    type PreemptGuard = ();

    fn publish_entries() {
        thread::yield_now();
    }

    fn flush(harts: u64, pages: Range<usize>) {
        FLUSHES.with_borrow_mut(|flushes| {
            if let Some(flushes) = flushes {
                axalloc::fault::paused(|| flushes.push((harts, pages)));
            }
        });
        thread::yield_now();
        run_as_next_hart(AT_NEXT_FLUSH.take());
    }

    fn flush_local(pages: Range<usize>) {
        LOCAL_FLUSHES.with_borrow_mut(|flushes| {
            if let Some(flushes) = flushes {
                axalloc::fault::paused(|| flushes.push(pages));
            }
        });
    }

    fn disable_irqs() {
        run_as_next_hart(BEFORE_IRQS_ARE_DISABLED.take());
    }

    fn disable_preemption() {}

    fn harts() -> usize {
        HARTS
    }

    fn hart() -> usize {
        THIS_HART.get()
    }

    unsafe fn copy(from: *const u8, to: *mut u8, len: usize) -> usize {
        run_as_next_hart(AT_NEXT_COPY.take());
        // SAFETY: the caller allows reading `from` and writing `to`; in a process all of these
        // bytes are mapped.
        unsafe { from.copy_to(to, len) };
        len
    }

    fn relax(round: usize) {
        run_as_next_hart(AT_NEXT_WAIT.take());
        if round > SPINS {
            thread::yield_now();
        }
    }
}
