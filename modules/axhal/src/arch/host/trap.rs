//! Signals as traps, and the registers that Linux saves.
//!
//! All are the fault of the instruction they interrupt. Their handler runs on a stack
//! that the platform has given each hart for it: a fault may be that of the kernel's stack, which the
//! page table maps. A fault of the handler's is handled further down that stack.

use core::ffi::{c_int, c_void};
use core::fmt;
use core::mem::MaybeUninit;
use core::ptr;

use libc::{REG_CR2, REG_CSGSFS, REG_EFL, REG_ERR, REG_RIP, REG_RSP, REG_TRAPNO};
use memory_addr::VirtAddr;

#[cfg(feature = "paging")]
use super::paging::{Walked, is_translated, walk_for};
use crate::probe::fix_up;
#[cfg(feature = "paging")]
use crate::trap::resolve;
use crate::trap::{Access, PageFault, in_guard, on_exception, on_page_fault, on_stack_overflow};

/// How many page faults this hart is resolving.
#[percpu::def_percpu]
static RESOLVING: usize = 0;

/// Whether this hart is resolving a page fault, which lets no interrupts in.
pub fn is_resolving() -> bool {
    RESOLVING.read_current() > 0
}

/// The registers of what was interrupted, as Linux saves them.
#[derive(Clone, Copy, Debug)]
pub struct TrapFrame(libc::mcontext_t);

/// The general registers in the order of Linux.
const NAMES: [&str; 15] = [
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rdi", "rsi", "rbp", "rbx", "rdx", "rax",
    "rcx",
];

impl TrapFrame {
    fn register(&self, number: c_int) -> usize {
        self.0.gregs[number as usize] as usize
    }

    /// The instruction that was interrupted.
    pub fn pc(&self) -> usize {
        self.register(REG_RIP)
    }

    /// Whether interrupts were let in: a process takes none where it does not wait.
    pub fn irqs_were_on(&self) -> bool {
        false
    }

    /// Goes on at `pc` instead.
    pub fn set_pc(&mut self, pc: usize) {
        self.0.gregs[REG_RIP as usize] = pc as i64;
    }

    /// Where the function that was just called, and has not run yet, returns to.
    pub fn return_address(&self) -> usize {
        // SAFETY: the call has just pushed it to the stack.
        unsafe { (self.register(REG_RSP) as *const usize).read_unaligned() }
    }

    /// Forgets that return address: takes it off the stack.
    pub fn drop_return_address(&mut self) {
        self.0.gregs[REG_RSP as usize] += size_of::<usize>() as i64;
    }
}

impl fmt::Display for TrapFrame {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(
            f,
            "   rip {:016x}   rsp {:016x}  rflg {:016x}  cs {:x}",
            self.register(REG_RIP),
            self.register(REG_RSP),
            self.register(REG_EFL),
            self.register(REG_CSGSFS) & 0xffff
        )?;
        for (names, values) in NAMES.chunks(4).zip(self.0.gregs.chunks(4)) {
            for (name, value) in names.iter().zip(values) {
                write!(f, "  {name:>4} {value:016x}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// The signals that instructions are the cause of. A breakpoint's is a debugger's.
const SIGNALS: [c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];

/// Points signals at the kernel's handler, those of all harts.
pub fn init_trap() {
    // SAFETY: the platform has given each hart a stack for it. A signal may come in
    // the midst of another's handler, as traps do; all bits zero are no flags and no
    // signals.
    unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        action.sa_sigaction = on_signal as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
        for signal in SIGNALS {
            libc::sigaction(signal, &action, ptr::null_mut());
        }
    }
}

/// The caller's own registers, but for those that a call may lose.
#[inline(always)]
pub fn capture() -> TrapFrame {
    let mut context = MaybeUninit::<libc::ucontext_t>::zeroed();
    // SAFETY: there is room for the registers; all bits zero are some, too.
    unsafe {
        libc::getcontext(context.as_mut_ptr());
        TrapFrame(context.assume_init().uc_mcontext)
    }
}

/// Vectors (SDM table 7-1).
const GENERAL_PROTECTION: usize = 13;
const PAGE_FAULT: usize = 14;

extern "C" fn on_signal(signal: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: by `SA_SIGINFO` it is what Linux has saved, and will restore.
    let saved = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext };
    // SAFETY: each thread has its own; what was interrupted may yet look at it.
    let errno = unsafe { *libc::__errno_location() };
    let mut frame = TrapFrame(*saved);
    match frame.register(REG_TRAPNO) {
        PAGE_FAULT if signal == libc::SIGSEGV => on_missing_page(&mut frame),
        GENERAL_PROTECTION if is_probe(&mut frame) => {}
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
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// Linux says that the process may not do that: because nobody has walked the page
/// table yet, or because that says so too.
fn on_missing_page(frame: &mut TrapFrame) {
    let (addr, access) = (frame.register(REG_CR2), access(frame));
    #[cfg(feature = "paging")]
    match walk_for(addr, access) {
        Walked::Kept => return,
        Walked::Refused if is_translated(addr) && resolve_in_trap(addr, access) => return,
        Walked::Refused => {}
        Walked::NoMemory => on_exception(frame, format_args!("Linux is out of memory")),
    }
    let fault = PageFault {
        addr: VirtAddr::from_usize(addr),
        access,
    };
    if !in_guard(addr) {
        on_page_fault(frame, addr, access);
    } else if !fix_up(frame, &fault) {
        on_stack_overflow(frame, addr);
    }
}

/// As [`resolve`], with no interrupts meanwhile. A hart's own data lies in what the page
/// table maps, so that it may take a walk, but no more, to get at it.
#[cfg(feature = "paging")]
fn resolve_in_trap(addr: usize, access: Access) -> bool {
    let before = RESOLVING.read_current();
    RESOLVING.write_current(before + 1);
    let resolved = resolve(addr, access);
    RESOLVING.write_current(before);
    resolved
}

/// What a page fault's access wanted to do, by the error code (SDM 5.7).
fn access(frame: &TrapFrame) -> Access {
    const WRITE: usize = 1 << 1;
    const FETCH: usize = 1 << 4;
    match frame.register(REG_ERR) {
        code if code & WRITE != 0 => Access::WRITE,
        code if code & FETCH != 0 => Access::EXECUTE,
        _ => Access::READ,
    }
}

/// Lets a probe go on whose address was not canonical, which is no page fault.
/// CPUs differ in whether a jump to such an address, or the fetch there, faults.
fn is_probe(frame: &mut TrapFrame) -> bool {
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

fn name(signal: c_int) -> &'static str {
    match signal {
        libc::SIGBUS => "no physical memory",
        libc::SIGILL => "invalid opcode",
        libc::SIGFPE => "arithmetic error",
        _ => "general protection, often a non-canonical address",
    }
}
