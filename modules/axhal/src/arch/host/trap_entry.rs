//! The signal handler, which plays the trap entry: it calls [`trap`](crate::trap).
//!
//! Each handled signal is caused by the instruction that it interrupts. The handler runs on
//! a stack that the platform has given each hart for it. It cannot use the kernel's stack,
//! because the page table maps that stack, and the access to it may be what has faulted. A
//! fault in the handler is handled further down the signal stack.

use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr;

use libc::{REG_CR2, REG_ERR, REG_TRAPNO};
use memory_addr::VirtAddr;

use crate::access::{Access, PageFault};
use crate::arch::TrapFrame;
#[cfg(feature = "paging")]
use crate::arch::{Walked, is_translated, walk_for, without_irqs};
use crate::probe::fix_up;
#[cfg(feature = "paging")]
use crate::trap::handle_page_fault;
use crate::trap::{in_any_guard, on_exception, on_page_fault, on_stack_overflow};

/// The signals that instructions cause. That of a breakpoint is left to a debugger.
const SIGNALS: [c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];

/// Sets the signal handler, for all harts.
pub fn init() {
    // SAFETY: the platform has given each hart a signal stack. The handler may be interrupted
    // by another signal. All bits zero are a valid action, without flags or blocked signals.
    unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        action.sa_sigaction = on_signal as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
        for signal in SIGNALS {
            libc::sigaction(signal, &action, ptr::null_mut());
        }
    }
}

/// The numbers of vectors (SDM table 7-1).
const GENERAL_PROTECTION: usize = 13;
const PAGE_FAULT: usize = 14;

extern "C" fn on_signal(signal: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: with `SA_SIGINFO` the argument points to the registers that Linux has saved, and
    // will restore. Only this handler uses them.
    let saved = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext };
    // SAFETY: `errno` belongs to this thread. It is saved for the interrupted code.
    let errno = unsafe { *libc::__errno_location() };
    let mut frame = TrapFrame(*saved);
    match frame.register(REG_TRAPNO) {
        PAGE_FAULT if signal == libc::SIGSEGV => on_missing_page(&mut frame),
        GENERAL_PROTECTION if fix_up_probe(&mut frame) => {}
        vector => on_exception(
            &frame,
            format_args!(
                "{} at {:#x} (vector {vector}, error code {:#x})",
                name(signal),
                frame.register(REG_CR2),
                frame.register(REG_ERR)
            ),
        ),
    }
    *saved = frame.0;
    // SAFETY: `errno` belongs to this thread.
    unsafe { *libc::__errno_location() = errno };
}

/// Handles an access that the process has no mapping for. Either the page table has not been
/// walked for it yet, or the page table does not allow it.
fn on_missing_page(frame: &mut TrapFrame) {
    let (addr, access) = (frame.register(REG_CR2), access(frame));
    #[cfg(feature = "paging")]
    match walk_for(addr, access) {
        Walked::Kept => return,
        Walked::Refused
            if is_translated(addr) && without_irqs(|| handle_page_fault(addr, access)) =>
        {
            return;
        }
        Walked::Refused => {}
        Walked::NoMemory => on_exception(frame, format_args!("Linux is out of memory")),
    }
    let fault = PageFault {
        addr: VirtAddr::from_usize(addr),
        access,
    };
    if !in_any_guard(addr) {
        on_page_fault(frame, addr, access);
    } else if !fix_up(frame, &fault) {
        on_stack_overflow(frame, addr);
    }
}

/// Returns a page fault's access, by the error code (SDM 5.7).
fn access(frame: &TrapFrame) -> Access {
    const WRITE: usize = 1 << 1;
    const FETCH: usize = 1 << 4;
    match frame.register(REG_ERR) {
        code if code & WRITE != 0 => Access::WRITE,
        code if code & FETCH != 0 => Access::EXECUTE,
        _ => Access::READ,
    }
}

/// Makes a probe of an address that is not canonical continue. Returns whether the trap was
/// such a probe's.
///
/// Such an access is a general protection fault, not a page fault. CPUs differ in whether a
/// jump to such an address faults, or the fetch from it.
fn fix_up_probe(frame: &mut TrapFrame) -> bool {
    let pc = frame.pc();
    let canonical = ((pc << 16) as isize >> 16) as usize;
    let access = if pc == canonical {
        Access::READ
    } else {
        Access::EXECUTE
    };
    let addr = VirtAddr::from_usize(pc);
    fix_up(frame, &PageFault { addr, access })
}

/// Returns what a signal means.
fn name(signal: c_int) -> &'static str {
    match signal {
        libc::SIGBUS => "no physical memory",
        libc::SIGILL => "invalid opcode",
        libc::SIGFPE => "arithmetic error",
        _ => "general protection, often a non-canonical address",
    }
}
