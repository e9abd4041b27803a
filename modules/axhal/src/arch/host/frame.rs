//! The registers that Linux saves for a signal handler.

use core::ffi::c_int;
use core::fmt;
use core::mem::MaybeUninit;

use libc::{REG_CSGSFS, REG_EFL, REG_RIP, REG_RSP};

/// The registers of interrupted code, as Linux saves them.
#[derive(Clone, Copy, Debug)]
pub struct TrapFrame(pub(crate) libc::mcontext_t);

/// The general registers, in the order in which Linux saves them.
const NAMES: [&str; 15] = [
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rdi", "rsi", "rbp", "rbx", "rdx", "rax",
    "rcx",
];

impl TrapFrame {
    /// Returns the register `number`, one of `libc`'s `REG_*`.
    pub(crate) fn register(&self, number: c_int) -> usize {
        self.0.gregs[number as usize] as usize
    }

    /// Returns the address of the interrupted instruction.
    pub fn pc(&self) -> usize {
        self.register(REG_RIP)
    }

    /// Returns `false`, whatever they were: in a process there is nothing to turn on again.
    pub fn irqs_were_on(&self) -> bool {
        false
    }

    /// Makes the interrupted code continue at `pc`.
    pub fn set_pc(&mut self, pc: usize) {
        self.0.gregs[REG_RIP as usize] = pc as i64;
    }

    /// Returns the return address of a function that was just called, and has not run an
    /// instruction yet.
    pub fn return_address(&self) -> usize {
        // SAFETY: the call has just pushed it to the stack, so that stack can be read.
        unsafe { (self.register(REG_RSP) as *const usize).read_unaligned() }
    }

    /// Takes that return address off the stack.
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

/// Returns the caller's own registers, without those that a call may change.
#[inline(always)]
pub fn capture() -> TrapFrame {
    let mut context = MaybeUninit::<libc::ucontext_t>::zeroed();
    // SAFETY: `context` is large enough for the registers, and all bits zero are valid
    // values of those that the call does not write.
    unsafe {
        libc::getcontext(context.as_mut_ptr());
        TrapFrame(context.assume_init().uc_mcontext)
    }
}
