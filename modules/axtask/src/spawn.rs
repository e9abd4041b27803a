//! Beginning a thread.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use core::mem::align_of;

use axconfig::STACK_SIZE;
use axerrno::{AxError, AxResult};
use axhal::arch::enable_irqs;
use axhal::context::Context;
use axhal::hart;

use crate::current::this_thread;
use crate::reap::reap_previous;
use crate::run_queue::run_queue_of;
use crate::schedule::exit;
use crate::shared::{Shared, try_box};
use crate::stack::{Stack, retry_without_cache};
use crate::thread::Thread;
use crate::wake::make_ready;

/// The largest size and alignment in bytes of work that is stored at the end of its thread's
/// stack. Other work is stored on the heap.
const MAX_WORK_ON_STACK: usize = 1024;

/// Returns whether work of type `F` is stored at the end of its thread's stack.
pub const fn fits_on_stack<F>() -> bool {
    size_of::<F>() <= MAX_WORK_ON_STACK && align_of::<F>() <= MAX_WORK_ON_STACK
}

/// The properties of a thread that is to be spawned.
#[derive(Debug)]
pub struct Spawn {
    /// The name in reports, which may be empty.
    pub name: Cow<'static, str>,
    /// The least size of the stack in bytes. It is rounded up to pages and to at least
    /// 16 KiB.
    pub stack_size: usize,
    /// The hart that the thread runs on. `None` chooses the hart with the fewest threads.
    pub hart: Option<usize>,
}

impl Default for Spawn {
    fn default() -> Self {
        Self {
            name: Cow::Borrowed(""),
            stack_size: STACK_SIZE,
            hart: None,
        }
    }
}

/// Begins a thread that runs `work` and then ends. Returns the thread.
///
/// # Errors
///
/// - `NoMemory` if there is no memory for the thread or its stack.
/// - `InvalidInput` if the hart is not online or runs no threads.
///
/// No thread has begun then, and `work` is dropped.
pub fn spawn<F: FnOnce() + Send + 'static>(spawn: Spawn, work: F) -> AxResult<Shared<Thread>> {
    // SAFETY: `F` is `'static`, so everything that it borrows lives for ever.
    unsafe { spawn_borrowing(spawn, work) }
}

/// Begins a thread that runs `work` and then ends, where `work` may borrow. Returns the
/// thread.
///
/// # Errors
///
/// - `NoMemory` if there is no memory for the thread or its stack.
/// - `InvalidInput` if the hart is not online or runs no threads.
///
/// No thread has begun then, and `work` is dropped.
///
/// # Safety
///
/// What `work` borrows must live until `work` has returned.
pub unsafe fn spawn_borrowing<F: FnOnce() + Send>(
    spawn: Spawn,
    work: F,
) -> AxResult<Shared<Thread>> {
    if fits_on_stack::<F>() {
        // SAFETY: the caller promises that what `work` borrows lives until it has returned.
        return unsafe { spawn_on_stack(spawn, work) };
    }
    // The work stays in the box: a call through a `dyn` pointer does not move it to the stack,
    // which may be too small for it.
    let work: Box<dyn FnOnce() + Send + '_> = try_box(work)?;
    // SAFETY: the caller promises that what `work` borrows lives until it has returned.
    unsafe { spawn_on_stack(spawn, work) }
}

/// Begins a thread whose `work`, with a size and an alignment of at most [`MAX_WORK_ON_STACK`]
/// bytes, is stored at the end of its stack.
///
/// # Safety
///
/// What `work` borrows must live until `work` has returned.
unsafe fn spawn_on_stack<F: FnOnce() + Send>(spawn: Spawn, work: F) -> AxResult<Shared<Thread>> {
    let hart = spawn.hart.unwrap_or_else(hart_with_fewest_threads);
    let runs_threads = |hart| hart::is_online(hart) && run_queue_of(hart).lock().idle.is_some();
    if !runs_threads(hart) {
        return Err(AxError::InvalidInput);
    }
    let stack = Stack::new(spawn.stack_size)?;
    let (bottom, place) = (stack.bottom(), place_of_work::<F>(stack.top()));
    // SAFETY: `place` lies within the new stack, which is mapped, and which this function
    // owns exclusively.
    let context = unsafe { Context::starting(place, run_work::<F>) };
    let thread = Thread::new(spawn.name, hart, context, bottom, Some(stack));
    let thread = Shared::try_new(thread)?;
    retry_without_cache(|| run_queue_of(hart).lock().attach())?;
    // SAFETY: `place_of_work` leaves room for `F` between `place` and the end of the stack,
    // and aligns it. The stack is mapped, and the thread does not run yet.
    unsafe { (place as *mut F).write(work) };
    make_ready(thread.clone());
    Ok(thread)
}

/// Returns the number of the hart that has the fewest threads. Of several such harts, it is
/// the next one after the caller's, since the caller's is busy.
fn hart_with_fewest_threads() -> usize {
    let (me, count) = (hart::this_hart(), hart::count());
    let harts = (1..=count).map(|step| (me + step) % count);
    let harts = harts.filter(|number| hart::is_online(*number));
    let fewest = harts.min_by_key(|number| run_queue_of(*number).lock().thread_count());
    fewest.unwrap_or(me)
}

/// Returns the address of a thread's work of type `F` on a stack that ends at `top`. Size and
/// alignment are at most [`MAX_WORK_ON_STACK`] bytes, and every stack is larger than both
/// together.
const fn place_of_work<F>(top: usize) -> usize {
    let align = if align_of::<F>() > 16 {
        align_of::<F>()
    } else {
        16
    };
    (top - size_of::<F>()) & !(align - 1)
}

/// The first function of a thread. It is entered with interrupts off.
extern "C" fn run_work<F: FnOnce()>() -> ! {
    reap_previous();
    if let Some(top) = this_thread().map(Thread::stack_top) {
        let place = place_of_work::<F>(top) as *const F;
        // SAFETY: `spawn_on_stack` has stored the work there for this thread, and only this
        // call takes it.
        let work = unsafe { place.read() };
        enable_irqs();
        work();
    }
    // SAFETY: the work has returned, so all values on its part of the stack are dropped.
    unsafe { exit() }
}
