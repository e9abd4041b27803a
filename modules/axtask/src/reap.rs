//! Freeing what an ended thread has.
//!
//! A thread runs on its stack until the last instruction of its last switch, so it cannot
//! free the stack itself. The thread that runs next on that hart does it.

use crate::run_queue::{run_queue_of, this_run_queue};
use crate::thread::Thread;

/// Reaps the thread that ran on this hart before the calling one, if it has ended. Every
/// thread calls this first when it gets the hart, with interrupts off.
pub(crate) fn reap_previous() {
    let ended = this_run_queue().lock().ended.take();
    if let Some(thread) = ended {
        reap(&thread);
    }
}

/// Frees an ended thread's stack, detaches the thread from its hart, and wakes the threads
/// that join it.
fn reap(thread: &Thread) {
    let stack = thread.stack.lock().take();
    if let Some(stack) = stack {
        stack.free();
    }
    run_queue_of(thread.hart()).lock().detach();
    thread.set_ended();
    thread.joiners.notify_all();
}
