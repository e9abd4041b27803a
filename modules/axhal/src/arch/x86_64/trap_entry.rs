//! The trap entries: they save registers, and call [`trap`](crate::trap).

use core::arch::{asm, global_asm};
use core::mem::offset_of;

use memory_addr::VirtAddr;
use x86::controlregs::cr2;
use x86::msr::IA32_GS_BASE;

use crate::access::{Access, PageFault};
use crate::arch::descriptors::{self, DOUBLE_FAULT, NMI};
use crate::arch::{PRESERVED, TrapFrame};
use crate::hart::{EMERGENCY_SIZE, emergency_stack, is_below_stack};
use crate::probe::fix_up;
use crate::trap::{
    handle_page_fault, in_any_guard, on_exception, on_irq, on_page_fault, on_stack_overflow,
};

/// Bytes from one entry to the next.
const ENTRY_SIZE: usize = 16;

/// The numbers of vectors (SDM table 7-1).
pub(crate) const GENERAL_PROTECTION: usize = 13;
pub(crate) const PAGE_FAULT: usize = 14;
pub(crate) const FIRST_INTERRUPT: usize = 32;

/// One bit for each vector whose error code the hart pushes.
const WITH_ERROR_CODE: u64 = 1 << 8 | 0b11111 << 10 | 1 << 17 | 1 << 21 | 0b11 << 29;

global_asm!(
    "
    .section .text.trap, \"ax\"
    .balign {entry_size}
trap_entries:
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47
    .balign {entry_size}
    .ifeq ({with_error_code} >> \\n) & 1
    push    0
    .endif
    push    \\n
    .if {has_user_mode} && (\\n == {nmi} || \\n == {double_fault})
    jmp     trap_anywhere
    .else
    jmp     trap_common
    .endif
    .endr

trap_common:
    .irp register, r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax
    push    \\register
    .endr
    cld
    .if {has_user_mode}
    test    byte ptr [rsp + {cs} - {preserved_size}], 3
    jnz     user_trap
    .endif
    // First save only the registers that a call may change. If on_fault handles the trap,
    // that was enough. Otherwise the rest of the frame is saved.
    // The frame's lowest registers are not pushed yet, so its offsets are too large.
    cmp     qword ptr [rsp + {vector} - {preserved_size}], {page_fault}
    jne     1f
    mov     rdi, [rsp + {error_code} - {preserved_size}]
    mov     rsi, [rsp + {rip} - {preserved_size}]
    call    {fault}
    test    al, al
    jnz     2f
1:  .irp register, r15, r14, r13, r12, rbp, rbx
    push    \\register
    .endr
    mov     rdi, rsp
    call    {handler}
    add     rsp, {preserved_size}
2:  .irp register, rax, rcx, rdx, rsi, rdi, r8, r9, r10, r11
    pop     \\register
    .endr
    add     rsp, 2 * 8
    iretq

    .if {has_user_mode}
    // These traps come at any time, also between the first instructions of another trap from user
    // mode. The kernel's base of gs, which is in the upper half, tells whether it is loaded.
trap_anywhere:
    push    rax
    push    rcx
    push    rdx
    mov     ecx, {gs_base}
    rdmsr
    test    edx, edx
    js      3f
    swapgs
3:  pop     rdx
    pop     rcx
    pop     rax
    .irp register, r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax
    push    \\register
    .endr
    cld
    jmp     1b
    .endif
    ",
    entry_size = const ENTRY_SIZE,
    with_error_code = const WITH_ERROR_CODE,
    preserved_size = const PRESERVED * size_of::<usize>(),
    page_fault = const PAGE_FAULT,
    nmi = const NMI,
    double_fault = const DOUBLE_FAULT,
    has_user_mode = const cfg!(feature = "uspace") as usize,
    gs_base = const IA32_GS_BASE,
    cs = const offset_of!(TrapFrame, cs),
    fault = sym on_fault,
    handler = sym on_trap,
    vector = const offset_of!(TrapFrame, vector),
    error_code = const offset_of!(TrapFrame, error_code),
    rip = const offset_of!(TrapFrame, rip),
);

unsafe extern "C" {
    static trap_entries: u8;
}

/// Returns the address of the entry of `vector`.
fn vector_entry(vector: usize) -> usize {
    &raw const trap_entries as usize + vector * ENTRY_SIZE
}

/// Loads the descriptor tables, which name the trap entries, and makes this hart check the
/// rights of pages.
pub fn init() {
    // The emergency stack, and as many bytes above it in the hart's first stack: an NMI can interrupt
    // a double fault's report.
    let end = emergency_stack();
    descriptors::load(vector_entry, end, end + EMERGENCY_SIZE);
    #[cfg(feature = "paging")]
    crate::arch::enable_paging_features();
    #[cfg(feature = "uspace")]
    crate::user_entry::init();
}

/// Handles a page fault within bounded time. Returns whether it did.
extern "C" fn on_fault(error_code: usize, rip: usize) -> bool {
    let addr = faulting_address();
    !is_reserved(error_code) && handle_page_fault(addr, access(error_code, addr, rip))
}

/// Returns whether a page-table entry has a reserved bit set: its physical address is one that this
/// CPU does not have (SDM 4.7). No change of rights helps against that.
pub(crate) fn is_reserved(error_code: usize) -> bool {
    const RESERVED: usize = 1 << 3;
    error_code & RESERVED != 0
}

extern "C" fn on_trap(frame: &mut TrapFrame) {
    let vector = frame.vector;
    match vector {
        // An NMI may come before the entry of a system call has left the program's stack.
        _ if vector != NMI && frame.cs & 3 == 0 && is_below_stack(frame.rsp) => overflow(frame),
        PAGE_FAULT => {
            let addr = faulting_address();
            on_page_fault(frame, addr, access(frame.error_code, addr, frame.rip));
        }
        // The hart could not push the frame of another trap. If the address of that push
        // is in a guard zone, the stack has overflowed.
        DOUBLE_FAULT if in_any_guard(faulting_address()) => {
            on_stack_overflow(frame, faulting_address())
        }
        GENERAL_PROTECTION if fix_up_probe(frame) => {}
        FIRST_INTERRUPT.. => on_irq(vector),
        _ => on_exception(
            frame,
            format_args!(
                "{} (vector {vector}, error code {:#x})",
                name(vector),
                frame.error_code
            ),
        ),
    }
}

/// Ends the machine because too little of the interrupted stack is left.
///
/// A double fault and an NMI have a stack of their own. Any other trap runs on the rest of the
/// interrupted stack, which has too few bytes for the report. So it switches to the emergency
/// stack.
fn overflow(frame: &TrapFrame) -> ! {
    if matches!(frame.vector, DOUBLE_FAULT | NMI) {
        on_stack_overflow(frame, frame.rsp);
    }
    // SAFETY: the emergency stack is mapped, and this hart does not run on it. The code that
    // runs on the stacks below never continues.
    unsafe {
        asm!(
            "mov rsp, {stack}",
            "call {report}",
            stack = in(reg) emergency_stack(),
            in("rdi") frame,
            report = sym report_overflow,
            options(noreturn),
        )
    }
}

/// Reports the overflow of the stack that `frame` is on. The emergency stack may be the lowest
/// part of the same stack, so the report begins with a copy of the frame.
extern "C" fn report_overflow(frame: *const TrapFrame) -> ! {
    // SAFETY: `overflow` passes a reference, and nothing has overwritten the frame yet.
    let frame = unsafe { frame.read() };
    on_stack_overflow(&frame, frame.rsp)
}

/// Returns a page fault's access, by the error code (SDM 5.7).
pub(crate) fn access(error_code: usize, addr: usize, rip: usize) -> Access {
    const WRITE: usize = 1 << 1;
    const FETCH: usize = 1 << 4;
    match error_code {
        code if code & WRITE != 0 => Access::WRITE,
        code if code & FETCH != 0 => Access::EXECUTE,
        // Without EFER.NXE the error code of a fetch is that of a read.
        _ if addr == rip => Access::EXECUTE,
        _ => Access::READ,
    }
}

/// Makes a probe of an address that is not canonical continue. Returns whether the trap was
/// such a probe's.
///
/// Such an access is a general protection fault, not a page fault. CPUs differ in whether a
/// jump to such an address faults, or the fetch from it.
fn fix_up_probe(frame: &mut TrapFrame) -> bool {
    let canonical = ((frame.rip << 16) as isize >> 16) as usize;
    let access = if frame.rip == canonical {
        Access::READ
    } else {
        Access::EXECUTE
    };
    let addr = VirtAddr::from_usize(frame.rip);
    fix_up(frame, &PageFault { addr, access })
}

/// Returns the address whose access was a page fault.
pub(crate) fn faulting_address() -> usize {
    // SAFETY: reading the register has no effect.
    unsafe { cr2() }
}

/// Returns an exception's name. It is not inlined, so that the code of common traps stays
/// small.
#[inline(never)]
fn name(vector: usize) -> &'static str {
    match vector {
        0 => "divide error",
        1 => "debug",
        NMI => "non-maskable interrupt",
        3 => "breakpoint",
        6 => "invalid opcode",
        7 => "device not available",
        DOUBLE_FAULT => "double fault",
        10 => "invalid task-state segment",
        11 => "segment not present",
        12 => "stack-segment fault",
        GENERAL_PROTECTION => "general protection, often a non-canonical address",
        16 => "x87 floating-point error",
        17 => "alignment check",
        18 => "machine check",
        19 => "SIMD floating-point exception",
        _ => "unknown",
    }
}
