//! Who is next: going from one thread of a hart to another.

use alloc::borrow::Cow;
use core::ops::Range;
use core::ptr;
use core::sync::atomic::Ordering;

use axerrno::{AxError, AxResult};
use axhal::arch::{self, IrqsOff};
use axhal::context::Context;
use axhal::hart::{self, this_hart};
use axhal::power::{fail, is_ending};
use axhal::threads::may_switch;
use axhal::time::monotonic_time_nanos;
use axmm::SharedAspace;

use crate::queue::{Queue, queue_of, this_queue};
use crate::stack::{LEAST, Stack, give_back};
use crate::thread::{Thread, current, replace_current, this_thread};
use crate::{PREEMPTIVE, SLICE_NS, Shared};

/// Makes what this hart runs its first thread, under `name`, and lets other threads take
/// turns with it. Each hart calls it once, when it can take interrupts and allocate.
///
/// # Errors
///
/// `NoMemory`: no thread may be given to this hart. `BadState` for a hart that runs a
/// thread already.
pub fn init_hart(name: &'static str) -> AxResult {
    if this_thread().is_some() {
        return Err(AxError::BadState);
    }
    let number = this_hart();
    let idle = new_idle(number)?;
    let name = Cow::Borrowed(name);
    let first = Thread::new(name, number, Context::running(), hart::stack(), None);
    let first = Shared::try_new(first)?;
    let mut queue = queue_of(number).lock();
    queue.admit()?;
    queue.idle = Some(idle);
    replace_current(first);
    drop(queue);
    if PREEMPTIVE {
        axalloc::set_shrinker(give_back);
    }
    Ok(())
}

fn new_idle(hart: usize) -> AxResult<Shared<Thread>> {
    let stack = Stack::new(LEAST)?;
    let bottom = stack.bottom();
    // SAFETY: the stack is mapped, and nobody's.
    let context = unsafe { Context::starting(stack.top(), idle) };
    let name = Cow::Borrowed("idle");
    Shared::try_new(Thread::new(name, hart, context, bottom, Some(stack)))
}

/// The thread that hart `number` runs while no other is ready, if it runs threads.
pub fn idle_of(number: usize) -> Option<Shared<Thread>> {
    let exists = number < hart::count();
    exists.then(|| queue_of(number).lock().idle.clone())?
}

/// What a hart does that has nothing to do: it sleeps. An interrupt that makes a thread
/// ready goes on with that (`after_irq`).
extern "C" fn idle() -> ! {
    finish();
    loop {
        arch::disable_irqs();
        catch_up();
        if this_queue().lock().has_ready() {
            schedule(Leave::Idle);
        } else {
            arch::wait_for_irqs();
        }
    }
}

/// How a thread goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leave {
    /// It is ready, and its turn comes again after all others'.
    Ready,
    /// It waits, and whoever wakes it makes it ready.
    Waits,
    /// It does not come back.
    Dead,
    /// It is the hart's idle thread.
    Idle,
}

/// Goes on with the hart's next thread, with interrupts out; returns when the calling
/// one's turn comes.
fn schedule(leave: Leave) {
    debug_assert!(may_switch(), "a thread with a NoPreempt leaves its hart");
    let Some((before, next)) = choose(leave) else {
        return;
    };
    change_space(&before, &next);
    next.flush_fresh_stack();
    // SAFETY: the stack of a thread that has not ended is mapped, guard and all, and this
    // hart goes on there below.
    unsafe { hart::set_stack(next.stack_bottom()) };
    let (from, to) = (before.context.get(), next.context.get().cast_const());
    replace_current(next);
    // Its owner now is the queue, whoever wakes it, or the grave.
    drop(before);
    // SAFETY: interrupts are out. `to` is the context of a thread of this hart that does
    // not run; `from` that of the one that does, which is not freed before `finish` of
    // another thread has it.
    unsafe { Context::switch(from, to) };
    finish();
}

/// Who goes and who comes, unless that is the same.
fn choose(leave: Leave) -> Option<(Shared<Thread>, Shared<Thread>)> {
    let mut queue = this_queue().lock();
    let before = current();
    match leave {
        Leave::Ready => drop(queue.push(before.clone())),
        Leave::Dead => queue.dead = Some(before.clone()),
        Leave::Waits | Leave::Idle => {}
    }
    let next = queue.pop().or_else(|| queue.idle.clone())?;
    queue.slice_end = monotonic_time_nanos().saturating_add(SLICE_NS);
    queue.arm();
    (!next.ptr_eq(&before)).then_some((before, next))
}

/// Leaves the user address space that the thread that goes has entered, and enters that
/// of the one that comes.
fn change_space(before: &Thread, next: &Thread) {
    let entered = SharedAspace::entered();
    before
        .space
        .store(entered.expose_provenance(), Ordering::Relaxed);
    let to = next.space.load(Ordering::Relaxed);
    if to != entered.addr() {
        let to: *const SharedAspace = ptr::with_exposed_provenance(to);
        // SAFETY: it was entered by a thread that has not left it, and keeps it until it
        // has (`SharedAspace::switch`). Stacks are in the upper half.
        unsafe { SharedAspace::switch(to.as_ref()) };
    }
}

/// What a thread does first when it comes: it buries the one before, if that has ended.
/// With interrupts out.
pub fn finish() {
    let dead = this_queue().lock().take_dead();
    if let Some(thread) = dead {
        thread.bury();
    }
}

/// Lets the other ready threads of this hart run first. In no hurry it is a busy wait's
/// better form.
pub fn yield_now() {
    if is_ending() {
        return;
    }
    let _no_interrupts = IrqsOff::new();
    catch_up();
    schedule(Leave::Ready);
}

/// Ends the calling thread. The machine goes on.
///
/// # Safety
///
/// The thread's stack goes, and no value on it is dropped. So nothing that other threads
/// borrow is on it, as it is within a scope that has threads, nor anything that is pinned.
pub unsafe fn exit() -> ! {
    if is_ending() {
        fail(format_args!("the thread ends itself"), format_args!(""));
    }
    arch::disable_irqs();
    schedule(Leave::Dead);
    // Nobody comes back to the dead.
    arch::halt()
}

/// Waits until woken, or until the monotonic time `deadline` in nanoseconds. It may be
/// shorter: who calls it looks why.
pub fn block(deadline: Option<u64>) {
    if is_ending() {
        return spin_in_last_words(deadline);
    }
    debug_assert!(may_switch(), "a thread with a NoPreempt waits");
    let _no_interrupts = IrqsOff::new();
    let me = current();
    if !me.fall_asleep(me.clone()) {
        return;
    }
    if let Some(deadline) = deadline {
        this_queue().lock().add_sleeper(deadline, me.clone());
    }
    schedule(Leave::Waits);
    if deadline.is_some() {
        this_queue().lock().remove_sleeper(&me);
    }
}

/// Waits as the hart that ends the machine can: no other thread runs any more, so a wait
/// with a deadline is a busy one, and a wait without could not end.
#[cold]
fn spin_in_last_words(deadline: Option<u64>) {
    let Some(deadline) = deadline else {
        fail(
            format_args!("a wait for another thread, and none goes on"),
            format_args!(""),
        );
    };
    while monotonic_time_nanos() < deadline {
        core::hint::spin_loop();
    }
}

/// Waits until the monotonic time `deadline`, in nanoseconds. Never returns early.
pub fn sleep_until(deadline: u64) {
    while monotonic_time_nanos() < deadline {
        block(Some(deadline));
    }
}

/// Wakes the sleepers of this hart whose time has come. With interrupts out.
fn wake_sleepers(now: u64) {
    let due = || this_queue().lock().pop_due(now);
    while let Some(thread) = due() {
        thread.wake();
    }
}

/// Does what interrupts do elsewhere: in a process none takes the hart from a thread, not
/// even where it waits for another hart, in the middle of an operation.
fn catch_up() {
    if !PREEMPTIVE {
        wake_sleepers(monotonic_time_nanos());
        this_queue().lock().arm();
    }
}

/// Whether the thread that runs makes room for one that is ready.
fn is_over(queue: &mut Queue, me: &Thread, now: u64) -> Option<Leave> {
    queue.arm();
    let idles = queue.idle.as_ref().is_some_and(|idle| idle.id() == me.id());
    match (queue.has_ready(), idles) {
        (false, _) => None,
        (true, true) => Some(Leave::Idle),
        (true, false) => (now >= queue.slice_end).then_some(Leave::Ready),
    }
}

struct Threads;

#[crate_interface::impl_interface]
impl axhal::threads::ThreadsIf for Threads {
    fn after_irq() {
        let Some(me) = this_thread() else {
            return;
        };
        let now = monotonic_time_nanos();
        wake_sleepers(now);
        let leave = is_over(&mut this_queue().lock(), me, now);
        if let Some(leave) = leave {
            schedule(leave);
        }
    }

    fn current_guard() -> Range<usize> {
        let mine = this_thread().filter(|thread| thread.has_own_stack());
        mine.map_or(0..0, Thread::guard)
    }

    fn current_name() -> Option<(u64, &'static str)> {
        this_thread().map(|thread| (thread.id(), thread.name()))
    }
}
