//! The threads that run as harts.

use core::arch::asm;
use core::ptr;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

use axconfig::MAX_HARTS;

/// The thread of each hart; 0 before the hart has started.
///
/// Relaxed in all accesses: a thread looks for its own entry only, which it has stored itself.
static THREADS: [AtomicUsize; MAX_HARTS] = [const { AtomicUsize::new(0) }; MAX_HARTS];

/// Returns the id of the calling thread, which is not 0 and unique. This touches no memory
/// that the kernel maps, so a signal handler may call it.
pub fn this_thread() -> usize {
    // SAFETY: `pthread_self` has no requirement.
    unsafe { libc::pthread_self() as usize }
}

/// The size in bytes of the stack on which a hart handles signals.
const SIGNAL_STACK: usize = 128 * 1024;

/// Makes the calling thread the kernel's hart `number`. Returns `false` if Linux has no memory
/// for the signal stack.
///
/// Signals need a stack of their own, because the process may not have the pages of the
/// kernel's stack when a signal arrives.
pub fn register_hart(number: usize) -> bool {
    THREADS[number].store(this_thread(), Relaxed);
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the memory is new, and only this hart's signal stack ever uses it.
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

/// Returns the kernel's number of the hart that the calling thread runs as; 0 for a thread
/// that is no hart.
pub fn this_hart() -> usize {
    let me = this_thread();
    let number = THREADS.iter().position(|hart| hart.load(Relaxed) == me);
    number.unwrap_or(0)
}

/// Continues with `entry(number)` on the stack that ends at `top`. libc's data for the thread
/// stays on the stack that libc allocated.
///
/// # Safety
///
/// The stack must be mapped, and no other code may use it.
pub(crate) unsafe fn continue_on_stack(
    top: usize,
    number: usize,
    entry: extern "C" fn(usize) -> !,
) -> ! {
    // SAFETY: the caller promises a mapped stack for the use of this thread only. Its end is
    // aligned to 16 bytes, as a call requires.
    unsafe {
        asm!(
            "mov rsp, {top}",
            "xor ebp, ebp",
            "call {entry}",
            "ud2",
            top = in(reg) top,
            entry = in(reg) entry,
            in("rdi") number,
            options(noreturn),
        )
    }
}
