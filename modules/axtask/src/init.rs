//! A hart's first thread and its idle thread.

use alloc::borrow::Cow;

use axerrno::{AxError, AxResult};
use axhal::arch;
use axhal::context::Context;
use axhal::hart::{self, this_hart};

use crate::current::{replace_current, this_thread};
use crate::interrupts::PREEMPTIVE;
use crate::reap::reap_previous;
use crate::run_queue::{run_queue_of, this_run_queue};
use crate::schedule::{SwitchReason, schedule};
use crate::shared::Shared;
use crate::stack::{MIN_STACK_SIZE, Stack, free_cached_stacks, retry_without_cache};
use crate::thread::Thread;
use crate::wake::poll_sleepers;

/// Makes the code that runs on this hart its first thread, under `name`, and lets the hart
/// run other threads. Each hart calls it once, when it can take interrupts and allocate.
///
/// # Errors
///
/// `NoMemory` if there is no memory for the two threads. This hart runs no threads then.
/// `BadState` if this hart has been initialized already.
pub fn init_hart(name: &'static str) -> AxResult {
    if this_thread().is_some() {
        return Err(AxError::BadState);
    }
    let number = this_hart();
    let idle = new_idle(number)?;
    let name = Cow::Borrowed(name);
    let first = Thread::new(name, number, Context::running(), hart::stack(), None);
    let first = Shared::try_new(first)?;
    retry_without_cache(|| run_queue_of(number).lock().attach())?;
    run_queue_of(number).lock().idle = Some(idle);
    replace_current(first);
    if PREEMPTIVE {
        axalloc::set_shrinker(free_cached_stacks);
    }
    Ok(())
}

fn new_idle(hart: usize) -> AxResult<Shared<Thread>> {
    let stack = Stack::new(MIN_STACK_SIZE)?;
    let bottom = stack.bottom();
    // SAFETY: the stack is mapped, and this function owns it exclusively.
    let context = unsafe { Context::starting(stack.top(), run_idle) };
    let name = Cow::Borrowed("idle");
    Shared::try_new(Thread::new(name, hart, context, bottom, Some(stack)))
}

/// Returns the idle thread of hart `number`, or `None` if that hart runs no threads.
pub fn idle_of(number: usize) -> Option<Shared<Thread>> {
    if number >= hart::count() {
        return None;
    }
    run_queue_of(number).lock().idle.clone()
}

/// The idle thread: sleeps until an interrupt. If the interrupt makes a thread ready, its
/// handler switches to that thread (`after_irq`).
extern "C" fn run_idle() -> ! {
    reap_previous();
    loop {
        arch::disable_irqs();
        poll_sleepers();
        if this_run_queue().lock().has_ready() {
            schedule(SwitchReason::IdleDone);
        } else {
            arch::wait_for_irqs();
        }
    }
}
