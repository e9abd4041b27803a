//! User mode: a program that runs with its own registers, in the address space that the hart has
//! entered, and without the kernel's rights.
//!
//! ```text
//!   UserContext::run ───► the program ───► a trap
//!          ▲                  ▲               │
//!          │                  │   system call │ page fault │ interrupt │ exception
//!          │                  │               ▼
//!          │                  ├─── SyscallHandler::syscall: Resume
//!          │                  ├─── the page-fault handler has mapped the page
//!          │                  └─── SyscallHandler::interrupted: Resume
//!          └─── ReturnReason ◄──── Leave, a page fault for later, an exception
//! ```
//!
//! A trap saves only the registers that a call may change. Most system calls and page faults need
//! no more. The other registers are saved if [`UserContext::run`] returns, which it does if all
//! registers are needed (a fork, a signal), if a page fault has to wait, and if the program has to
//! end.
//!
//! Floating-point registers, and the few other registers that the kernel leaves alone, are the
//! running program's own until another one runs on the hart. They are never left to another program
//! ([`UserRegisters`]).

use core::fmt;

pub use crate::access::{Access, PageFault};
pub use crate::arch::UserRegisters;
use crate::arch::{IrqsOff, disable_irqs, enable_irqs};
use crate::trap::on_irq;

/// What a program does after a trap has been handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterTrap {
    /// It goes on.
    Resume,
    /// [`UserContext::run`] returns.
    Leave,
}

/// Handles system calls of a program while it stays in [`UserContext::run`]. The program's address
/// space is entered, and interrupts are on.
pub trait SyscallHandler {
    /// Handles a system call, whose number and arguments are in `registers`. The result goes there,
    /// too. Of the other registers only those that a call may change have their values. After
    /// `Leave`, all have.
    fn syscall(&mut self, registers: &mut UserRegisters) -> AfterTrap;

    /// Says how the program goes on after an interrupt. Other threads may have run meanwhile. Called
    /// with interrupts off.
    fn interrupted(&mut self) -> AfterTrap {
        AfterTrap::Resume
    }
}

/// Why [`UserContext::run`] has returned.
#[derive(Clone, Copy, Debug)]
pub enum ReturnReason {
    /// The handler of a system call has said `Leave`. The program continues behind the call.
    Syscall,
    /// The page-fault handler could not map the page at once. The program continues with the access.
    PageFault(PageFault),
    /// The program has done what no program may do. It would do so again.
    Exception(Exception),
    /// After an interrupt, the handler has said `Leave`.
    Interrupt,
}

/// What a program may not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExceptionKind {
    /// An instruction that this CPU does not have, or that only the kernel may use.
    IllegalInstruction,
    /// A breakpoint instruction.
    Breakpoint,
    /// An address that is not a multiple of what it has to be.
    Misaligned,
    /// An address that no page can have, or behind which there is no memory.
    BadAddress,
    /// An arithmetic operation without a result.
    Arithmetic,
    /// Anything else.
    Other,
}

/// An exception of a program.
#[derive(Clone, Copy, Debug)]
pub struct Exception {
    /// What the program has done.
    pub kind: ExceptionKind,
    /// The machine's number of the exception.
    pub number: usize,
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self.kind {
            ExceptionKind::IllegalInstruction => "illegal instruction",
            ExceptionKind::Breakpoint => "breakpoint",
            ExceptionKind::Misaligned => "misaligned address",
            ExceptionKind::BadAddress => "impossible address",
            ExceptionKind::Arithmetic => "arithmetic error",
            ExceptionKind::Other => "exception",
        })?;
        write!(f, " ({})", self.number)
    }
}

/// A program's registers, and what the trap entry needs to get from them to the kernel.
#[repr(C)]
pub struct UserContext {
    /// The program's registers.
    pub registers: UserRegisters,
    /// The kernel's stack pointer within [`run`](Self::run). The trap entry writes and reads it.
    pub(crate) kernel_sp: usize,
    /// The address of the hart's data. The trap entry writes and reads it.
    pub(crate) hart_data: usize,
    /// Handles a system call. The trap entry calls it.
    pub(crate) on_call: OnCall,
    /// The handler of [`run`](Self::run), while the program runs.
    handler: *mut (),
    on_interrupt: unsafe fn(*mut ()) -> AfterTrap,
    faults: u64,
    reason: ReturnReason,
}

// SAFETY: `handler` is used only during `run`, in one thread. No other field depends on the thread.
unsafe impl Send for UserContext {}

impl UserContext {
    /// The context of a program that continues with `registers`.
    pub fn new(registers: UserRegisters) -> Self {
        Self {
            registers,
            kernel_sp: 0,
            hart_data: 0,
            on_call: on_call::<NoHandler>,
            handler: core::ptr::null_mut(),
            on_interrupt: interrupted::<NoHandler>,
            faults: 0,
            reason: ReturnReason::Interrupt,
        }
    }

    /// Returns the number of page faults so far.
    pub fn faults(&self) -> u64 {
        self.faults
    }

    /// Counts a page fault.
    #[inline(always)]
    pub(crate) fn count_fault(&mut self) {
        self.faults += 1;
    }

    /// Runs the program until something happens that it cannot go on from by itself. Returns what
    /// that is.
    ///
    /// The caller has entered the program's address space, and has interrupts on. Another thread may
    /// run meanwhile. If it runs other programs, it leaves this one's registers as they are.
    pub fn run<H: SyscallHandler>(&mut self, handler: &mut H) -> ReturnReason {
        self.handler = (&raw mut *handler).cast();
        self.on_call = on_call::<H>;
        self.on_interrupt = interrupted::<H>;
        let irqs_off = IrqsOff::new();
        if self.can_resume() {
            let context = &raw mut *self;
            // SAFETY: interrupts are off, and the caller has entered the address space. The context
            // stays where it is meanwhile, and is reached by this pointer alone. `handler` is borrowed
            // until this returns.
            unsafe { UserRegisters::run(&raw mut (*context).registers, context.cast()) };
        }
        drop(irqs_off);
        self.reason
    }

    /// Returns whether the program can continue with its registers. If not, sets the reason.
    #[inline(always)]
    fn can_resume(&mut self) -> bool {
        let can_resume = self.registers.can_continue();
        if !can_resume {
            self.reason = ReturnReason::Exception(Exception {
                kind: ExceptionKind::BadAddress,
                number: 0,
            });
        }
        can_resume
    }

    /// Handles interrupt `irq`. Returns whether the program goes on.
    pub(crate) fn on_interrupt(&mut self, irq: usize) -> bool {
        self.registers.store_extended();
        on_irq(irq);
        // SAFETY: `run` has set both, and has not returned, so the handler is borrowed.
        let after = unsafe { (self.on_interrupt)(self.handler) };
        self.after(after, ReturnReason::Interrupt)
    }

    /// Makes `run` return with `reason`. Returns `false`: the program does not go on.
    pub(crate) fn leave(&mut self, reason: ReturnReason) -> bool {
        self.registers.store_extended();
        self.reason = reason;
        false
    }

    #[inline(always)]
    fn after(&mut self, after: AfterTrap, reason: ReturnReason) -> bool {
        match after {
            AfterTrap::Resume => {
                self.registers.load_extended();
                self.can_resume()
            }
            AfterTrap::Leave => {
                self.reason = reason;
                false
            }
        }
    }
}

/// Handles a system call. Returns whether the program goes on.
type OnCall = unsafe extern "C" fn(&mut UserContext) -> bool;

/// Handles a system call by a handler of type `H`. Returns whether the program goes on.
///
/// # Safety
///
/// `context.handler` is the address of a handler of this type, which is borrowed.
unsafe extern "C" fn on_call<H: SyscallHandler>(context: &mut UserContext) -> bool {
    context.registers.store_extended();
    // SAFETY: the caller's promise.
    let handler = unsafe { &mut *context.handler.cast::<H>() };
    enable_irqs();
    let after = handler.syscall(&mut context.registers);
    disable_irqs();
    context.after(after, ReturnReason::Syscall)
}

/// Asks a handler of type `H` how the program goes on after an interrupt.
///
/// # Safety
///
/// `handler` is the address of a handler of this type, which is borrowed.
unsafe fn interrupted<H: SyscallHandler>(handler: *mut ()) -> AfterTrap {
    // SAFETY: the caller's promise.
    unsafe { &mut *handler.cast::<H>() }.interrupted()
}

/// The handler of a context that does not run.
struct NoHandler;

impl SyscallHandler for NoHandler {
    fn syscall(&mut self, _registers: &mut UserRegisters) -> AfterTrap {
        AfterTrap::Leave
    }
}
