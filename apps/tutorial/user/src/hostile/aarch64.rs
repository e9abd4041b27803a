//! aarch64.

use core::arch::{asm, naked_asm};

/// An address in the kernel's code.
pub const KERNEL: usize = 0xffff_0000_4020_0000;

/// Instructions that end the program, each with its name.
pub const EXCEPTIONS: &[(&str, fn())] = &[
    ("msr ttbr0_el1", privileged),
    ("mrs sctlr_el1", exceptions::mrs_sctlr),
    ("msr daifset", exceptions::msr_daifset),
    ("tlbi", exceptions::tlbi),
    ("eret", exceptions::eret),
    ("hvc", exceptions::hvc),
    ("smc", exceptions::smc),
    ("brk", exceptions::brk),
    ("misaligned ldxr", exceptions::misaligned),
    ("misaligned code", exceptions::misaligned_code),
    ("udf", illegal),
];

/// Executes an instruction that does not exist.
pub fn illegal() {
    // SAFETY: the kernel ends the program.
    unsafe { asm!("udf #0") }
}

/// Replaces the page table.
pub fn privileged() {
    // SAFETY: the kernel ends the program.
    unsafe { asm!("msr ttbr0_el1, xzr") }
}

macro_rules! exception {
    ($($name:ident: $($line:literal),+;)+) => {
        /// The other instructions of [`EXCEPTIONS`].
        mod exceptions {
            $(pub fn $name() {
                // SAFETY: the kernel ends the program.
                unsafe { core::arch::asm!($($line),+, out("x0") _) }
            })+
        }
    };
}

exception! {
    mrs_sctlr: "mrs x0, sctlr_el1";
    msr_daifset: "msr daifset, #15";
    tlbi: "tlbi vmalle1";
    eret: "eret";
    hvc: "hvc #0";
    smc: ".inst 0xd4000003";
    brk: "brk #0";
    misaligned: "mov x0, sp", "add x0, x0, #1", "ldxr x0, [x0]";
    misaligned_code: "adr x0, 2f", "add x0, x0, #2", "br x0", "2:";
}

/// Makes the call `getpid` with another stack pointer. Returns its result.
#[unsafe(naked)]
pub extern "C" fn getpid_with_stack_at(stack: usize) -> isize {
    naked_asm!(
        "mov x9, sp",
        "mov sp, x0",
        "mov x8, #172",
        "svc #0",
        "mov sp, x9",
        "ret"
    )
}

/// Writes to the stack, with another stack pointer.
#[unsafe(naked)]
pub extern "C" fn fault_with_stack_at(stack: usize) {
    naked_asm!(
        "mov x9, sp",
        "mov sp, x0",
        "str xzr, [sp]",
        "mov sp, x9",
        "ret"
    )
}

/// Waits for `rounds` rounds and makes the call `getpid`, with `value` in all other registers and in
/// the thread pointer. Returns its result, or −1 if another register has changed.
#[unsafe(naked)]
pub extern "C" fn getpid_with_registers(value: usize, rounds: usize) -> isize {
    naked_asm!(
        "stp x29, x30, [sp, #-112]!",
        "stp x19, x20, [sp, #16]",
        "stp x21, x22, [sp, #32]",
        "stp x23, x24, [sp, #48]",
        "stp x25, x26, [sp, #64]",
        "stp x27, x28, [sp, #80]",
        "str x18, [sp, #96]",
        "msr tpidr_el0, x0",
        "mov x8, x1",
        ".irp i,1,2,3,4,5,6,7,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30",
        "mov x\\i, x0",
        ".endr",
        "2: subs x8, x8, #1",
        "b.ne 2b",
        "mov x8, #172",
        "svc #0",
        ".irp i,1,2,3,4,5,6,7,9,10,11,12,13,14,15,16,17,18,20,21,22,23,24,25,26,27,28,29,30",
        "cmp x\\i, x19",
        "b.ne 3f",
        ".endr",
        "mrs x1, tpidr_el0",
        "cmp x1, x19",
        "b.eq 4f",
        "3: mov x0, #-1",
        "4: ldr x18, [sp, #96]",
        "ldp x27, x28, [sp, #80]",
        "ldp x25, x26, [sp, #64]",
        "ldp x23, x24, [sp, #48]",
        "ldp x21, x22, [sp, #32]",
        "ldp x19, x20, [sp, #16]",
        "ldp x29, x30, [sp], #112",
        "ret",
    )
}
