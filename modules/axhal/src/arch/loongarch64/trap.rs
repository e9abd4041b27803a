//! The trap vector and the registers it saves.

use core::arch::global_asm;
use core::fmt;

use super::csr::{self, ECFG, EENTRY};
use super::irqs::past_idle;
use super::refill::REFUSED_FETCH;
use crate::trap::{
    Access, PageFault, on_exception, on_irq, on_page_fault, on_stack_overflow, resolve,
};

/// The registers of what was interrupted.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct TrapFrame {
    /// `r1` to `r31`; `r[0]` is not used.
    r: [usize; 32],
    era: usize,
    prmd: usize,
}

const FRAME_SIZE: usize = size_of::<TrapFrame>();
const NAMES: [&str; 32] = [
    "zero", "ra", "tp", "sp", "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "t0", "t1", "t2",
    "t3", "t4", "t5", "t6", "t7", "t8", "r21", "fp", "s0", "s1", "s2", "s3", "s4", "s5", "s6",
    "s7", "s8",
];

/// `PRMD.PIE`: interrupts were let in when the trap came.
const PRMD_PIE: usize = 1 << 2;

impl TrapFrame {
    /// The instruction that was interrupted.
    pub fn pc(&self) -> usize {
        self.era
    }

    /// Whether interrupts were let in.
    pub fn irqs_were_on(&self) -> bool {
        self.prmd & PRMD_PIE != 0
    }

    /// Goes on at `pc` instead.
    pub fn set_pc(&mut self, pc: usize) {
        self.era = pc;
    }

    /// Where the function that was just called, and has not run yet, returns to.
    pub fn return_address(&self) -> usize {
        self.r[1]
    }

    /// Forgets that return address. It is in a register: nothing to do.
    pub fn drop_return_address(&mut self) {}
}

impl fmt::Display for TrapFrame {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(f, "    pc {:016x}  prmd {:016x}", self.era, self.prmd)?;
        for (row, names) in NAMES[1..].chunks(4).enumerate() {
            for (column, name) in names.iter().enumerate() {
                write!(f, "  {name:>4} {:016x}", self.r[1 + 4 * row + column])?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

global_asm!(
    "
    .equ    CRMD, 0x0
    .equ    PRMD, 0x1
    .equ    ESTAT, 0x5
    .equ    ERA, 0x6
    .equ    BADV, 0x7
    .equ    SAVE0, 0x30
    .equ    TLBRERA, 0x8a
    .equ    TLBRSAVE, 0x8b

    .section .text.vectors, \"ax\"
    .balign 4096
    .global trap_vector
trap_vector:
    // Bit 0 of TLBRERA: this is a TLB's wish to be refilled.
    csrwr   $t0, TLBRSAVE
    csrrd   $t0, TLBRERA
    andi    $t0, $t0, 1
    bnez    $t0, refill_tlb
    csrrd   $t0, TLBRSAVE

    // A stack that has overflowed cannot hold the frame: compare first.
    csrwr   $t0, SAVE0
    ori     $t0, $zero, %abs_lo12(__PERCPU_STACK_LIMIT)
    ldx.d   $t0, $r21, $t0
    bltu    $sp, $t0, stack_overflow
    csrrd   $t0, SAVE0

    // For a page fault it is enough to save what a call may change: the rest of
    // the frame is for whatever is left then.
    addi.d  $sp, $sp, -{frame_size}
    .irp n, 1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20
    st.d    $r\\n, $sp, \\n * 8
    .endr
    csrrd   $a0, ESTAT
    csrrd   $a1, BADV
    bl      {resolve}
    bnez    $a0, 1f

    .irp n, 2, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    st.d    $r\\n, $sp, \\n * 8
    .endr
    addi.d  $t0, $sp, {frame_size}
    st.d    $t0, $sp, 3 * 8
    csrrd   $t0, ERA
    csrrd   $t1, PRMD
    st.d    $t0, $sp, 32 * 8
    st.d    $t1, $sp, 33 * 8

    move    $a0, $sp
    csrrd   $a1, ESTAT
    csrrd   $a2, BADV
    bl      {handler}

    ld.d    $t0, $sp, 32 * 8
    ld.d    $t1, $sp, 33 * 8
    csrwr   $t0, ERA
    csrwr   $t1, PRMD
1:  .irp n, 1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20
    ld.d    $r\\n, $sp, \\n * 8
    .endr
    addi.d  $sp, $sp, {frame_size}
    ertn

stack_overflow:
    move    $t0, $sp
    ori     $sp, $zero, %abs_lo12(__PERCPU_EMERGENCY_STACK)
    ldx.d   $sp, $r21, $sp
    addi.d  $sp, $sp, -{frame_size}
    .irp n, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    st.d    $r\\n, $sp, \\n * 8
    .endr
    st.d    $t0, $sp, 3 * 8
    move    $a1, $t0
    csrrd   $t0, SAVE0
    st.d    $t0, $sp, 12 * 8
    csrrd   $t0, ERA
    csrrd   $t1, PRMD
    st.d    $t0, $sp, 32 * 8
    st.d    $t1, $sp, 33 * 8
    move    $a0, $sp
    bl      {overflow}

    .section .text.trap, \"ax\"
    .global capture_registers
capture_registers:
    .irp n, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    st.d    $r\\n, $a0, \\n * 8
    .endr
    st.d    $ra, $a0, 32 * 8
    // PRMD would be the lowest bits of this, had it been a trap.
    csrrd   $t0, CRMD
    andi    $t0, $t0, 7
    st.d    $t0, $a0, 33 * 8
    ret
    ",
    frame_size = const FRAME_SIZE,
    resolve = sym on_fault,
    handler = sym on_trap,
    overflow = sym overflow,
);

unsafe extern "C" {
    fn trap_vector();
    fn capture_registers(frame: *mut TrapFrame);
}

/// Points this hart's trap vector at the kernel's, with every interrupt masked.
/// The one for TLB refills, which is the same, is set since this hart's entry.
///
/// Machine errors have none: what has met an uncorrectable error in memory or
/// cache cannot be trusted with a report, and QEMU makes none.
pub fn init_trap() {
    // SAFETY: `trap_vector` is a trap entry, aligned to a page; without a spacing
    // (`ECFG.VS`) every exception and interrupt goes there.
    unsafe {
        csr::write::<ECFG>(0);
        csr::write::<EENTRY>(trap_vector as *const () as usize);
    }
}

/// The caller's own registers.
#[inline(always)]
pub fn capture() -> TrapFrame {
    let mut frame = TrapFrame::default();
    // SAFETY: it writes every register to the frame, and nothing else.
    unsafe { capture_registers(&mut frame) };
    frame
}

/// Whether the trap was a page fault, and what was interrupted can go on.
///
/// The TLB keeps what it has refused an access by, also that nothing was there, and
/// must forget that, or it will refuse the access again, whatever is there then.
extern "C" fn on_fault(estat: usize, badv: usize) -> bool {
    let Some(access) = access(estat) else {
        return false;
    };
    #[cfg(feature = "paging")]
    super::flush_tlb_page(badv);
    resolve(badv, access)
}

/// "Exception Status": a code, a code below it, and the pending interrupts.
extern "C" fn on_trap(frame: &mut TrapFrame, estat: usize, badv: usize) {
    if let Some(access) = access(estat) {
        return on_page_fault(frame, badv, access);
    }
    match (estat >> 16 & 0x3f, estat >> 22 & 0x1ff) {
        (0, _) => on_interrupts(frame, estat),
        (8, subcode) => on_address_error(frame, subcode, badv),
        (code, subcode) => on_exception(
            frame,
            format_args!("{} (ecode {code:#x}.{subcode}, badv {badv:#x})", name(code)),
        ),
    }
}

/// What a page fault's access wanted to do; `None` for any other trap.
fn access(estat: usize) -> Option<Access> {
    match estat >> 16 & 0x3f {
        1 | 5 => Some(Access::READ),
        2 | 4 => Some(Access::WRITE),
        3 | 6 => Some(Access::EXECUTE),
        _ => None,
    }
}

/// An access to an address that no page can have: a fetch that was refused, a
/// probe, or the end. Probes are fixed up alike for reads and writes, which the
/// hardware does not tell from each other.
fn on_address_error(frame: &mut TrapFrame, subcode: usize, badv: usize) {
    let (what, access) = match subcode {
        0 => ("instruction fetch", Access::EXECUTE),
        _ => ("memory access", Access::READ),
    };
    let meant = badv ^ REFUSED_FETCH;
    if access == Access::EXECUTE && is_canonical(meant) {
        frame.set_pc(meant);
        if !resolve(meant, access) {
            on_page_fault(frame, meant, access);
        }
        return;
    }
    let addr = badv.into();
    if !crate::probe::fix_up(frame, &PageFault { addr, access }) {
        on_exception(frame, format_args!("address error, {what} at {badv:#x}"))
    }
}

/// Whether a page can have this address, of 48 bits, sign-extended.
fn is_canonical(addr: usize) -> bool {
    matches!(addr as isize >> 47, 0 | -1)
}

/// "Table of Exceptions".
#[inline(never)]
fn name(code: usize) -> &'static str {
    match code {
        7 => "page privilege",
        9 => "address not aligned",
        10 => "bound check",
        11 => "system call",
        12 => "breakpoint",
        13 => "illegal instruction",
        14 => "privileged instruction",
        15..=17 => "floating point or vector unit disabled",
        18 => "floating point",
        19 => "watchpoint",
        _ => "unknown",
    }
}

/// Interrupts: all that are pending and let in, the bits of `ESTAT.IS`.
fn on_interrupts(frame: &mut TrapFrame, estat: usize) {
    frame.set_pc(past_idle(frame.pc()));
    let mut pending = estat & csr::read::<ECFG>() & 0x1fff;
    while pending != 0 {
        on_irq(pending.trailing_zeros() as usize);
        pending &= pending - 1;
    }
}

extern "C" fn overflow(frame: &TrapFrame, sp: usize) -> ! {
    on_stack_overflow(frame, sp)
}
