//! Which thread is which hart.

use core::ptr;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

use axconfig::MAX_HARTS;

/// Each hart's thread; 0 for none yet.
static THREADS: [AtomicUsize; MAX_HARTS] = [const { AtomicUsize::new(0) }; MAX_HARTS];

/// The calling thread: never 0, and never another's. It is known without touching
/// anything that the kernel maps.
pub fn this_thread() -> usize {
    // SAFETY: it has no requirement.
    unsafe { libc::pthread_self() as usize }
}

/// Bytes of the stack that a hart's signals are handled on.
const SIGNAL_STACK: usize = 128 * 1024;

/// Makes the calling thread the hart that the kernel counts as `number`, with a stack
/// for its signals: the kernel's own may not be there when one comes. Answers whether
/// there is memory for that.
pub fn sit_down(number: usize) -> bool {
    THREADS[number].store(this_thread(), Relaxed);
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: fresh memory, which is the stack's for good.
    unsafe {
        let memory = libc::mmap(ptr::null_mut(), SIGNAL_STACK, rights, kind, -1, 0);
        let stack = libc::stack_t {
            ss_sp: memory,
            ss_flags: 0,
            ss_size: SIGNAL_STACK,
        };
        memory != libc::MAP_FAILED && libc::sigaltstack(&stack, ptr::null_mut()) == 0
    }
}

/// The kernel's number of the hart that the calling thread is.
pub fn this_hart() -> usize {
    let me = this_thread();
    let seat = THREADS.iter().position(|hart| hart.load(Relaxed) == me);
    seat.unwrap_or(0)
}
