//! What the kernel does with the registers of a user program on every machine. An architecture says
//! where they are in its frame.

use core::fmt;

use super::{TrapFrame, UserRegisters};

impl UserRegisters {
    /// Returns the address of the next instruction.
    pub fn pc(&self) -> usize {
        self.frame.pc()
    }

    /// Makes the program continue at `pc`.
    pub fn set_pc(&mut self, pc: usize) {
        self.frame.set_pc(pc);
    }

    /// Returns the number of the system call that the program makes: `a7` on riscv64 and loongarch64,
    /// `rax` on x86_64, `x8` on aarch64.
    #[inline(always)]
    pub fn call_number(&self) -> usize {
        self.frame.general()[TrapFrame::CALL_NUMBER]
    }

    /// Returns argument `n`, from 0 to 5, of a system call: `a0` to `a5` on riscv64 and loongarch64;
    /// `rdi`, `rsi`, `rdx`, `r10`, `r8` and `r9` on x86_64; `x0` to `x5` on aarch64.
    #[inline(always)]
    pub fn argument(&self, n: usize) -> usize {
        self.frame.general()[TrapFrame::CALL_ARGUMENTS[n]]
    }

    /// Sets argument `n`, from 0 to 5, of the function at which the program continues. It is in the
    /// register of [`argument`](Self::argument), except for `rcx` in the place of `r10`.
    pub fn set_argument(&mut self, n: usize, value: usize) {
        self.frame.general_mut()[TrapFrame::ARGUMENTS[n]] = value;
    }

    /// Sets the result of a system call: `a0` on riscv64 and loongarch64, `rax` on x86_64, `x0` on
    /// aarch64.
    #[inline(always)]
    pub fn set_result(&mut self, value: usize) {
        self.frame.general_mut()[TrapFrame::RESULT] = value;
    }
}

impl fmt::Display for UserRegisters {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.frame.fmt(f)
    }
}
