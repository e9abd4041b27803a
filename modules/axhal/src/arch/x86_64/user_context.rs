//! The registers of a user program.

use core::arch::asm;
use core::mem::offset_of;
use core::ptr;

use x86::msr::{IA32_FS_BASE, IA32_KERNEL_GSBASE, rdmsr, wrmsr};

use super::descriptors::set_user_trap_stack;
use super::frame::TrapFrame;
use crate::arch::extended::{Extended, Place};

/// The selectors of a program's code and data, with its privilege level.
pub(crate) const USER_CODE: u16 = 32 | 3;
pub(crate) const USER_DATA: u16 = 24 | 3;

/// `rflags` of a program that begins: interrupts are on. Bit 1 is always set.
const RFLAGS: usize = super::interrupts::RFLAGS_IF | 2;

/// The registers of a user program.
#[repr(C, align(16))]
#[derive(Clone, Debug)]
pub struct UserRegisters {
    /// The trap entry stores and loads these. A trap pushes to the end of the frame, which is aligned
    /// to 16 bytes as the hardware demands.
    pub(in crate::arch) frame: TrapFrame,
    pub(in crate::arch) extended: Place<ExtendedRegisters>,
}

/// The registers that the kernel does not use: those of x87 and SSE, and the bases of the segments
/// `fs` and `gs`.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug)]
pub(in crate::arch) struct ExtendedRegisters {
    /// As `fxsave64` stores them.
    float: [u8; 512],
    fs_base: u64,
    gs_base: u64,
}

impl Extended for ExtendedRegisters {
    /// Registers that are 0, and a control word and MXCSR that mask all exceptions (SDM volume 2,
    /// "FXSAVE").
    const INITIAL: Self = {
        let mut float = [0; 512];
        (float[0], float[1]) = (0x7f, 0x03);
        (float[24], float[25]) = (0x80, 0x1f);
        Self {
            float,
            fs_base: 0,
            gs_base: 0,
        }
    };

    fn store(&mut self) {
        // SAFETY: `user_entry::init` has enabled the instruction. There are 512 bytes, aligned to 16.
        // While the kernel runs, the second base of `gs` is the program's.
        unsafe {
            asm!("fxsave64 [{}]", in(reg) &raw mut self.float, options(nostack));
            self.fs_base = rdmsr(IA32_FS_BASE);
            self.gs_base = rdmsr(IA32_KERNEL_GSBASE);
        }
    }

    unsafe fn load(&self) {
        // These registers lie behind the frame of the same program.
        set_user_trap_stack(ptr::from_ref(self).addr());
        // SAFETY: the bytes are those of `fxsave64`, or the initial ones. The kernel does not use these
        // registers. The bases are canonical: others cannot be set.
        unsafe {
            // Some CPUs keep the last instruction's addresses where `fxrstor` finds no exception. They
            // become those of `fild` (CVE-2006-1056).
            asm!(
                "fnclex",
                "ffree st(7)",
                "fild qword ptr [{at}]",
                "fxrstor64 [{at}]",
                // The selectors, which mean nothing to a program of 64 bits, may be another program's.
                // To load that of gs changes its base, so it is done with the program's.
                "mov ds, {zero:e}",
                "mov es, {zero:e}",
                "mov fs, {zero:e}",
                "swapgs",
                "mov gs, {zero:e}",
                "swapgs",
                at = in(reg) &raw const self.float,
                zero = in(reg) 0_u32,
                options(nostack)
            );
            wrmsr(IA32_FS_BASE, self.fs_base);
            wrmsr(IA32_KERNEL_GSBASE, self.gs_base);
        }
    }
}

/// A trap from user mode pushes its first words right before the extended registers.
const _: () = assert!(offset_of!(UserRegisters, extended) == size_of::<TrapFrame>());

impl UserRegisters {
    /// The registers of a program that begins at `entry` with the stack pointer `sp`. All others
    /// are 0.
    pub fn new(entry: usize, sp: usize) -> Self {
        Self {
            frame: TrapFrame {
                rip: entry,
                rsp: sp,
                rflags: RFLAGS,
                cs: USER_CODE.into(),
                ss: USER_DATA.into(),
                ..TrapFrame::default()
            },
            extended: Place::new(),
        }
    }

    /// Returns the number of the trap.
    pub(crate) fn vector(&self) -> usize {
        self.frame.vector
    }

    /// Returns the error code that the hardware has given the trap.
    pub(crate) fn error_code(&self) -> usize {
        self.frame.error_code
    }

    /// Returns the stack pointer.
    pub fn sp(&self) -> usize {
        self.frame.rsp
    }

    /// Sets the stack pointer.
    pub fn set_sp(&mut self, sp: usize) {
        self.frame.rsp = sp;
    }

    /// Sets the thread pointer, the base of `fs`. Returns whether it can be: it must be canonical, and
    /// not the kernel's.
    pub fn set_thread_pointer(&mut self, address: usize) -> bool {
        let can_be = address >> 47 == 0;
        if can_be {
            self.extended
                .change(|extended| extended.fs_base = address as u64);
        }
        can_be
    }

    /// Returns whether the return from a trap can load these registers. An address that is not
    /// canonical would fault in the kernel.
    #[inline(always)]
    pub(crate) fn can_continue(&self) -> bool {
        self.frame.rip >> 47 == 0
    }
}
