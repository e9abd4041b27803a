//! The way into user mode and back.
//!
//! A trap from user mode pushes its first words to the end of the frame in the program's
//! [`UserContext`], and so does a system call. The trap entry pushes the registers that a call may
//! change below them. `swapgs` (SDM volume 2) exchanges the program's base of `gs` for the address of
//! this hart's data.
//!
//! ```text
//!   run_user ──────────────► user program
//!      ▲                        │ syscall      │ trap
//!      │                    syscall_entry   user_trap
//!      │                        │           ┌──┴──────┐
//!      │                        │       page fault    anything else
//!      │                        │           │         │
//!      │                     on_call     on_fault   on_trap       back to the program, or
//!      │                        └───────────┴─────────┘
//!      └── leave: saves the other registers, and returns from run_user
//! ```

use core::arch::global_asm;
use core::mem::offset_of;

use x86::bits64::task::TaskStateSegment;
use x86::controlregs::{Cr0, Cr4, cr0, cr0_write, cr4, cr4_write};
use x86::msr::{IA32_EFER, IA32_FMASK, IA32_LSTAR, IA32_STAR, rdmsr, wrmsr};

use crate::access::PageFault;
use crate::arch::{PRESERVED, TrapFrame, USER_CODE, USER_DATA};
use crate::trap::handle_user_page_fault;
use crate::trap_entry::{
    FIRST_INTERRUPT, GENERAL_PROTECTION, PAGE_FAULT, access, faulting_address, is_reserved,
};
use crate::uspace::{Exception, ExceptionKind, ReturnReason, UserContext};

/// The selector of the kernel's code. That of its data is the next one.
const KERNEL_CODE: u64 = 8;
/// The selector before those of user programs.
const BEFORE_USER: u64 = 16 | 3;

/// Flags that a system call clears: TF, IF, DF, NT, AC.
const CLEARED_FLAGS: u64 = 1 << 8 | 1 << 9 | 1 << 10 | 1 << 14 | 1 << 18;

/// The program's stack pointer, for a moment.
#[percpu::def_percpu]
#[unsafe(no_mangle)]
static USER_SP: usize = 0;

global_asm!(
    "
    .section .text.trap, \"ax\"
    .global run_user
run_user: // rdi: the context. Interrupts are off.
    .irp register, rbx, rbp, r12, r13, r14, r15, rdi
    push    \\register
    .endr
    mov     [rdi + {kernel_sp}], rsp
    .set    at, 0
    .irp register, rbx, rbp, r12, r13, r14, r15
    mov     \\register, [rdi + at]
    .set    at, at + 8
    .endr

resume_by_iret: // rdi: the context. Interrupts are off.
    lea     rsp, [rdi + {preserved_size}]
    .irp register, rax, rcx, rdx, rsi, rdi, r8, r9, r10, r11
    pop     \\register
    .endr
    add     rsp, 2 * 8
    swapgs
    iretq

    .global user_trap
user_trap: // The rest of the frame is below rsp.
    swapgs
    lea     rdi, [rsp - {preserved_size}]
    mov     rsp, [rdi + {kernel_sp}]
    cmp     qword ptr [rdi + {vector}], {page_fault}
    jne     1f
    call    {on_fault}
    mov     rdi, [rsp]
    test    al, al
    jnz     resume_by_iret
1:  call    {on_trap}
    mov     rdi, [rsp]
    test    al, al
    jnz     resume_by_iret

leave_user_mode: // rdi: the context.
    .set    at, 0
    .irp register, rbx, rbp, r12, r13, r14, r15
    mov     [rdi + at], \\register
    .set    at, at + 8
    .endr
    add     rsp, 8
    .irp register, r15, r14, r13, r12, rbp, rbx
    pop     \\register
    .endr
    ret

    // rcx has the address of the next instruction, r11 rflags (SDM volume 2, \"SYSCALL\").
syscall_entry:
    swapgs
    mov     gs:[__PERCPU_USER_SP], rsp
    mov     rsp, gs:[__PERCPU_TASK_STATE + {trap_stack}]
    push    {user_data}
    push    qword ptr gs:[__PERCPU_USER_SP]
    push    r11
    push    {user_code}
    push    rcx
    sub     rsp, 2 * 8
    .irp register, r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax
    push    \\register
    .endr
    lea     rdi, [rsp - {preserved_size}]
    mov     rsp, [rdi + {kernel_sp}]
    call    [rdi + {on_call}]
    mov     rdi, [rsp]
    test    al, al
    jz      leave_user_mode
    lea     rsp, [rdi + {preserved_size}]
    .irp register, rax, rcx, rdx, rsi, rdi, r8, r9, r10, r11
    pop     \\register
    .endr
    mov     rcx, [rsp + 2 * 8]
    mov     r11, [rsp + 4 * 8]
    mov     rsp, [rsp + 5 * 8]
    swapgs
    sysretq
    ",
    preserved_size = const PRESERVED * size_of::<usize>(),
    kernel_sp = const offset_of!(UserContext, kernel_sp),
    vector = const offset_of!(TrapFrame, vector),
    trap_stack = const offset_of!(TaskStateSegment, rsp),
    page_fault = const PAGE_FAULT,
    user_code = const USER_CODE,
    user_data = const USER_DATA,
    on_call = const offset_of!(UserContext, on_call),
    on_fault = sym on_fault,
    on_trap = sym on_trap,
);

/// Lets programs make system calls and use SSE on this hart. Called once on each hart.
pub fn init() {
    unsafe extern "C" {
        fn syscall_entry();
    }
    const SYSCALL_ENABLE: u64 = 1;
    // SAFETY: all 64-bit CPUs have the instructions and SSE. The kernel uses neither, so nothing
    // changes for it. The selectors are those of the descriptor table, and the entry is code.
    unsafe {
        wrmsr(IA32_STAR, BEFORE_USER << 48 | KERNEL_CODE << 32);
        wrmsr(IA32_LSTAR, syscall_entry as *const () as u64);
        wrmsr(IA32_FMASK, CLEARED_FLAGS);
        wrmsr(IA32_EFER, rdmsr(IA32_EFER) | SYSCALL_ENABLE);
        cr0_write((cr0() | Cr0::CR0_MONITOR_COPROCESSOR) - Cr0::CR0_EMULATE_COPROCESSOR);
        cr4_write(cr4() | Cr4::CR4_ENABLE_SSE | Cr4::CR4_UNMASKED_SSE);
    }
}

/// Handles a page fault within bounded time. Returns whether it did.
extern "C" fn on_fault(context: &mut UserContext) -> bool {
    context.count_fault();
    let (addr, error_code) = (faulting_address(), context.registers.error_code());
    let access = access(error_code, addr, context.registers.pc());
    !is_reserved(error_code) && handle_user_page_fault(addr, access)
}

/// Handles any other trap. Returns whether the program goes on.
extern "C" fn on_trap(context: &mut UserContext) -> bool {
    let vector = context.registers.vector();
    match vector {
        FIRST_INTERRUPT.. => context.on_interrupt(vector),
        PAGE_FAULT => {
            let (addr, error_code) = (faulting_address(), context.registers.error_code());
            let access = access(error_code, addr, context.registers.pc());
            let addr = addr.into();
            context.leave(ReturnReason::PageFault(PageFault { addr, access }))
        }
        number => context.leave(ReturnReason::Exception(Exception {
            kind: kind(number),
            number,
        })),
    }
}

fn kind(vector: usize) -> ExceptionKind {
    match vector {
        0 | 16 | 19 => ExceptionKind::Arithmetic,
        1 | 3 => ExceptionKind::Breakpoint,
        // Also an instruction that only the kernel may use.
        6 => ExceptionKind::IllegalInstruction,
        GENERAL_PROTECTION => ExceptionKind::IllegalInstruction,
        12 => ExceptionKind::BadAddress,
        17 => ExceptionKind::Misaligned,
        _ => ExceptionKind::Other,
    }
}
