//! How a thread begins.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use core::mem::align_of;

use axconfig::STACK_SIZE;
use axerrno::{AxError, AxResult};
use axhal::arch::enable_irqs;
use axhal::context::Context;
use axhal::hart;

use crate::Shared;
use crate::queue::queue_of;
use crate::schedule::{exit, finish};
use crate::shared::try_box;
use crate::stack::{Stack, retried};
use crate::thread::{Thread, make_ready, this_thread};

/// Work of more bytes than this lies on the heap, other work at the end of its thread's
/// stack.
pub const MOST_ON_STACK: usize = 1024;

/// What a thread-to-be is like.
#[derive(Debug)]
pub struct Spawn {
    /// Its name, for reports; may be empty.
    pub name: Cow<'static, str>,
    /// The least size of its stack in bytes; it has no less than 16 KiB.
    pub stack_size: usize,
    /// The hart that it is to run on; without one, that which has the fewest threads.
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

/// Makes a thread that runs `work` and ends.
///
/// # Errors
///
/// `NoMemory`; `InvalidInput` for a hart that is not up. Nothing has begun then, and `work`
/// is dropped.
pub fn spawn<F: FnOnce() + Send + 'static>(spawn: Spawn, work: F) -> AxResult<Shared<Thread>> {
    // SAFETY: what it has borrowed stays for ever.
    unsafe { spawn_borrowing(spawn, work) }
}

/// As [`spawn`], of work that may borrow.
///
/// # Errors
///
/// As [`spawn`].
///
/// # Safety
///
/// What it has borrowed stays until the work is done.
pub unsafe fn spawn_borrowing<F: FnOnce() + Send>(
    spawn: Spawn,
    work: F,
) -> AxResult<Shared<Thread>> {
    if size_of::<F>() <= MOST_ON_STACK {
        // SAFETY: the caller's promise.
        return unsafe { spawn_on_stack(spawn, work) };
    }
    // Called through a pointer, the work is not moved to the stack.
    let work: Box<dyn FnOnce() + Send + '_> = try_box(work)?;
    // SAFETY: the caller's promise.
    unsafe { spawn_on_stack(spawn, work) }
}

/// As [`spawn_borrowing`], of work that fits on any stack.
///
/// # Safety
///
/// What it has borrowed stays until the work is done.
unsafe fn spawn_on_stack<F: FnOnce() + Send>(spawn: Spawn, work: F) -> AxResult<Shared<Thread>> {
    let hart = spawn.hart.unwrap_or_else(fewest);
    let runs = |hart| hart::is_online(hart) && queue_of(hart).lock().idle.is_some();
    if !runs(hart) {
        return Err(AxError::InvalidInput);
    }
    let stack = Stack::new(spawn.stack_size)?;
    let (bottom, place) = (stack.bottom(), place_of::<F>(stack.top()));
    // SAFETY: the room below `place` is the new stack's, which is mapped, and nobody's.
    let context = unsafe { Context::starting(place, begin::<F>) };
    let thread = Thread::new(spawn.name, hart, context, bottom, Some(stack));
    let thread = Shared::try_new(thread)?;
    retried(|| queue_of(hart).lock().admit())?;
    // SAFETY: `place_of` has left room for the work between `place` and the end of the new
    // stack, aligned for it; the stack is mapped, and this function's alone.
    unsafe { (place as *mut F).write(work) };
    make_ready(thread.clone());
    Ok(thread)
}

/// The hart that has the fewest threads; of several the next after the caller's, which is
/// busy.
fn fewest() -> usize {
    let (me, count) = (hart::this_hart(), hart::count());
    let harts = (1..=count).map(|step| (me + step) % count);
    let harts = harts.filter(|number| hart::is_online(*number));
    let least = harts.min_by_key(|number| queue_of(*number).lock().threads());
    least.unwrap_or(me)
}

/// Where a thread's work of at most `MOST_ON_STACK` bytes lies: at the end of its stack,
/// which is larger than that and than any alignment of such work.
const fn place_of<F>(top: usize) -> usize {
    let align = if align_of::<F>() > 16 {
        align_of::<F>()
    } else {
        16
    };
    (top - size_of::<F>()) & !(align - 1)
}

/// A thread's first function, with interrupts out.
extern "C" fn begin<F: FnOnce()>() -> ! {
    finish();
    if let Some(stack) = this_thread().map(Thread::stack_top) {
        let place = place_of::<F>(stack) as *const F;
        // SAFETY: `spawn` has put it there for this thread, which takes it once.
        let work = unsafe { place.read() };
        enable_irqs();
        work();
    }
    // SAFETY: the work has returned, and with it all that was on the stack has been
    // dropped.
    unsafe { exit() }
}
