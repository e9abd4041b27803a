//! riscv64.

use core::arch::{asm, naked_asm};

/// An address in the kernel's code.
pub const KERNEL: usize = 0xffff_ffc0_8020_0000;

/// Instructions that end the program, each with its name.
pub const EXCEPTIONS: &[(&str, fn())] = &[
    ("csrw satp", privileged),
    ("csrr sstatus", exceptions::csrr_sstatus),
    ("csrr mstatus", exceptions::csrr_mstatus),
    ("sfence.vma", exceptions::sfence_vma),
    ("sret", exceptions::sret),
    ("mret", exceptions::mret),
    ("ebreak", exceptions::ebreak),
    ("misaligned amoadd.d", exceptions::misaligned),
    ("unimp", illegal),
];

/// Executes an instruction that does not exist.
pub fn illegal() {
    // SAFETY: the kernel ends the program.
    unsafe { asm!("unimp") }
}

/// Replaces the page table.
pub fn privileged() {
    // SAFETY: the kernel ends the program.
    unsafe { asm!("csrw satp, zero") }
}

macro_rules! exception {
    ($($name:ident: $($line:literal),+;)+) => {
        /// The other instructions of [`EXCEPTIONS`].
        mod exceptions {
            $(pub fn $name() {
                // SAFETY: the kernel ends the program.
                unsafe { core::arch::asm!($($line),+, out("a0") _) }
            })+
        }
    };
}

exception! {
    csrr_sstatus: "csrr a0, sstatus";
    csrr_mstatus: "csrr a0, mstatus";
    sfence_vma: "sfence.vma";
    sret: "sret";
    mret: "mret";
    ebreak: "ebreak";
    misaligned: "addi a0, sp, 1", "amoadd.d a0, zero, (a0)";
}

/// Makes the call `getpid` with another stack pointer. Returns its result.
#[unsafe(naked)]
pub extern "C" fn getpid_with_stack_at(stack: usize) -> isize {
    naked_asm!(
        "mv t0, sp",
        "mv sp, a0",
        "li a7, 172",
        "ecall",
        "mv sp, t0",
        "ret"
    )
}

/// Writes to the stack, with another stack pointer.
#[unsafe(naked)]
pub extern "C" fn fault_with_stack_at(stack: usize) {
    naked_asm!(
        "mv t0, sp",
        "mv sp, a0",
        "sd zero, 0(sp)",
        "mv sp, t0",
        "ret"
    )
}

/// Waits for `rounds` rounds and makes the call `getpid`, with `value` in all other registers.
/// Returns its result, or −1 if another register has changed.
#[unsafe(naked)]
pub extern "C" fn getpid_with_registers(value: usize, rounds: usize) -> isize {
    naked_asm!(
        "addi sp, sp, -128",
        "sd ra, 0(sp)",
        "sd gp, 8(sp)",
        "sd tp, 16(sp)",
        "sd s0, 24(sp)",
        "sd s1, 32(sp)",
        "sd s2, 40(sp)",
        "sd s3, 48(sp)",
        "sd s4, 56(sp)",
        "sd s5, 64(sp)",
        "sd s6, 72(sp)",
        "sd s7, 80(sp)",
        "sd s8, 88(sp)",
        "sd s9, 96(sp)",
        "sd s10, 104(sp)",
        "sd s11, 112(sp)",
        "mv t0, a1",
        ".irp r,ra,gp,tp,t1,t2,t3,t4,t5,t6,s0,s1,s2,s3,s4,s5,s6,s7,s8,s9,s10,s11,a1,a2,a3,a4,a5,a6",
        "mv \\r, a0",
        ".endr",
        "2: addi t0, t0, -1",
        "bnez t0, 2b",
        "li a7, 172",
        "ecall",
        ".irp r,ra,gp,tp,t1,t2,t3,t4,t5,t6,s0,s2,s3,s4,s5,s6,s7,s8,s9,s10,s11,a1,a2,a3,a4,a5,a6",
        "bne \\r, s1, 3f",
        ".endr",
        "j 4f",
        "3: li a0, -1",
        "4: ld ra, 0(sp)",
        "ld gp, 8(sp)",
        "ld tp, 16(sp)",
        "ld s0, 24(sp)",
        "ld s1, 32(sp)",
        "ld s2, 40(sp)",
        "ld s3, 48(sp)",
        "ld s4, 56(sp)",
        "ld s5, 64(sp)",
        "ld s6, 72(sp)",
        "ld s7, 80(sp)",
        "ld s8, 88(sp)",
        "ld s9, 96(sp)",
        "ld s10, 104(sp)",
        "ld s11, 112(sp)",
        "addi sp, sp, 128",
        "ret",
    )
}
