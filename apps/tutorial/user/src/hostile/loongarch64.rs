//! loongarch64.

use core::arch::{asm, naked_asm};

/// An address in the kernel's code.
pub const KERNEL: usize = 0xffff_8000_0020_0000;

/// Instructions that end the program, each with its name.
pub const EXCEPTIONS: &[(&str, fn())] = &[
    ("csrwr pgdl", privileged),
    ("csrrd crmd", exceptions::csrrd),
    ("invtlb", exceptions::invtlb),
    ("tlbwr", exceptions::tlbwr),
    ("ertn", exceptions::ertn),
    ("idle", exceptions::idle),
    ("iocsrrd", exceptions::iocsrrd),
    ("break", exceptions::break_0),
    ("misaligned code", exceptions::misaligned_code),
    ("unknown instruction", illegal),
];

/// Executes an instruction that does not exist.
pub fn illegal() {
    // SAFETY: the kernel ends the program.
    unsafe { asm!(".word 0xffffffff") }
}

/// Replaces the page table.
pub fn privileged() {
    // SAFETY: the kernel ends the program.
    unsafe { asm!("move $a0, $zero", "csrwr $a0, 0x19", out("$a0") _) }
}

macro_rules! exception {
    ($($name:ident: $($line:literal),+;)+) => {
        /// The other instructions of [`EXCEPTIONS`].
        mod exceptions {
            $(pub fn $name() {
                // SAFETY: the kernel ends the program.
                unsafe { core::arch::asm!($($line),+, out("$a0") _) }
            })+
        }
    };
}

exception! {
    csrrd: "csrrd $a0, 0";
    invtlb: "invtlb 0, $zero, $zero";
    tlbwr: "tlbwr";
    ertn: "ertn";
    idle: "idle 0";
    iocsrrd: "move $a0, $zero", "iocsrrd.d $a0, $a0";
    break_0: "break 0";
    misaligned_code: "pcaddi $a0, 0", "addi.d $a0, $a0, 2", "jr $a0";
}

/// Makes the call `getpid` with another stack pointer. Returns its result.
#[unsafe(naked)]
pub extern "C" fn getpid_with_stack_at(stack: usize) -> isize {
    naked_asm!(
        "move $t0, $sp",
        "move $sp, $a0",
        "li.w $a7, 172",
        "syscall 0",
        "move $sp, $t0",
        "ret"
    )
}

/// Writes to the stack, with another stack pointer.
#[unsafe(naked)]
pub extern "C" fn fault_with_stack_at(stack: usize) {
    naked_asm!(
        "move $t0, $sp",
        "move $sp, $a0",
        "st.d $zero, $sp, 0",
        "move $sp, $t0",
        "ret"
    )
}

/// Waits for `rounds` rounds and makes the call `getpid`, with `value` in all other registers.
/// Returns its result, or −1 if another register has changed.
#[unsafe(naked)]
pub extern "C" fn getpid_with_registers(value: usize, rounds: usize) -> isize {
    naked_asm!(
        "addi.d $sp, $sp, -112",
        "st.d $ra, $sp, 0",
        "st.d $tp, $sp, 8",
        "st.d $r21, $sp, 16",
        ".irp i,22,23,24,25,26,27,28,29,30,31",
        "st.d $r\\i, $sp, (\\i - 19) * 8",
        ".endr",
        "move $t0, $a1",
        ".irp i,1,2,5,6,7,8,9,10,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
        "move $r\\i, $a0",
        ".endr",
        "2: addi.d $t0, $t0, -1",
        "bnez $t0, 2b",
        "li.w $a7, 172",
        "syscall 0",
        ".irp i,1,2,5,6,7,8,9,10,13,14,15,16,17,18,19,20,21,22,24,25,26,27,28,29,30,31",
        "bne $r\\i, $r23, 3f",
        ".endr",
        "b 4f",
        "3: li.w $a0, -1",
        "4: ld.d $ra, $sp, 0",
        "ld.d $tp, $sp, 8",
        "ld.d $r21, $sp, 16",
        ".irp i,22,23,24,25,26,27,28,29,30,31",
        "ld.d $r\\i, $sp, (\\i - 19) * 8",
        ".endr",
        "addi.d $sp, $sp, 112",
        "ret",
    )
}
