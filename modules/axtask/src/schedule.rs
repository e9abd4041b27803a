//! Switching from one thread of a hart to the next.

use core::ptr;
use core::sync::atomic::Ordering;

use axhal::arch::{self, IrqsOff};
use axhal::context::Context;
use axhal::hart;
use axhal::power::{fail, is_ending};
use axhal::threads::may_switch;
use axhal::time::monotonic_time_nanos;
use axmm::SharedAspace;

use crate::current::{current, replace_current};
use crate::reap::reap_previous;
use crate::run_queue::this_run_queue;
use crate::shared::Shared;
use crate::thread::Thread;
use crate::wake::poll_sleepers;

/// How long a thread runs while other threads of its hart are ready, in nanoseconds.
pub const SLICE_NS: u64 = 10_000_000;

/// Why a thread gives up its hart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum SwitchReason {
    /// It stays ready, behind all other ready threads.
    Yield,
    /// It waits, and becomes ready when it is woken.
    Wait,
    /// It has ended.
    End,
    /// It is the hart's idle thread, and another thread is ready.
    IdleDone,
}

/// Switches to the hart's next thread. Returns when the calling thread runs again. Called
/// with interrupts off.
pub(crate) fn schedule(reason: SwitchReason) {
    debug_assert!(
        may_switch(),
        "a thread gives up its hart while it holds a NoPreempt"
    );
    let Some((before, next)) = choose_next(reason) else {
        return;
    };
    switch_space(&before, &next);
    next.flush_fresh_stack();
    // SAFETY: `next` has not ended, so its stack and guard zone are still its own. This
    // hart runs on that stack from the switch below on.
    unsafe { hart::set_stack(next.stack_bottom()) };
    let (from, to) = (before.context.get(), next.context.get().cast_const());
    replace_current(next);
    // The record stays: the run queue (ready, idle or ended), the thread's wait state, or
    // the hart that is waking the thread holds another reference.
    drop(before);
    // SAFETY: interrupts are off. `to` is the context of a thread of this hart that does
    // not run. `from` is the running thread's, whose record stays: even if the thread has
    // ended, its record is freed only after the next thread's `reap_previous`.
    unsafe { Context::switch(from, to) };
    reap_previous();
}

/// Puts the running thread where `reason` says and chooses the next one. Returns both, or
/// `None` if the running thread goes on.
fn choose_next(reason: SwitchReason) -> Option<(Shared<Thread>, Shared<Thread>)> {
    let mut queue = this_run_queue().lock();
    let before = current();
    match reason {
        SwitchReason::Yield => {
            queue.push_ready(before.clone());
        }
        SwitchReason::End => queue.ended = Some(before.clone()),
        SwitchReason::Wait | SwitchReason::IdleDone => {}
    }
    let next = queue.pop_ready().or_else(|| queue.idle.clone())?;
    queue.slice_end = monotonic_time_nanos().saturating_add(SLICE_NS);
    queue.arm_timer();
    (!next.ptr_eq(&before)).then_some((before, next))
}

/// Leaves the user address space that `before` has entered, and enters the one of `next`.
fn switch_space(before: &Thread, next: &Thread) {
    let entered = SharedAspace::entered();
    // Relaxed, here and below: only the thread's own hart uses `space`.
    before
        .space
        .store(entered.expose_provenance(), Ordering::Relaxed);
    let to = next.space.load(Ordering::Relaxed);
    if to != entered.addr() {
        let to: *const SharedAspace = ptr::with_exposed_provenance(to);
        // SAFETY: `next` has entered the address space, and keeps it alive until it leaves it
        // (`SharedAspace::switch`). Stacks are in the kernel's half, so that this function's
        // stack stays mapped.
        unsafe { SharedAspace::switch(to.as_ref()) };
    }
}

/// Lets the other ready threads of this hart run first. A loop that polls a condition calls
/// it so that other threads get the hart.
pub fn yield_now() {
    if is_ending() {
        return;
    }
    let _irqs_off = IrqsOff::new();
    poll_sleepers();
    schedule(SwitchReason::Yield);
}

/// Ends the calling thread. The machine goes on.
///
/// # Safety
///
/// The thread's stack is freed without dropping the values on it. No other thread may borrow
/// from the stack, as the threads of a scope do. No value on it may be pinned.
pub unsafe fn exit() -> ! {
    if is_ending() {
        fail(
            format_args!("a thread ends itself while the machine ends"),
            format_args!(""),
        );
    }
    arch::disable_irqs();
    schedule(SwitchReason::End);
    // Unreachable: an ended thread is in no queue, so no hart switches to it.
    arch::halt()
}
