//! The trap entries and the registers they save.

use core::arch::global_asm;
use core::fmt;
use core::mem::offset_of;

use memory_addr::VirtAddr;
use x86::controlregs::cr2;

use super::RFLAGS_IF;
use crate::hart::is_below_stack;
use crate::probe::fix_up;
use crate::trap::{
    Access, PageFault, in_guard, on_exception, on_irq, on_page_fault, on_stack_overflow, resolve,
};

/// The registers of what was interrupted, as the entry code pushes them; from
/// `error_code` on, as the hart itself does.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct TrapFrame {
    general: [usize; NAMES.len()],
    vector: usize,
    error_code: usize,
    rip: usize,
    cs: usize,
    rflags: usize,
    rsp: usize,
    ss: usize,
}

/// First those that a call preserves.
const NAMES: [&str; 15] = [
    "rbx", "rbp", "r12", "r13", "r14", "r15", "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10",
    "r11",
];
const PRESERVED: usize = 6;

impl TrapFrame {
    /// The instruction that was interrupted.
    pub fn pc(&self) -> usize {
        self.rip
    }

    /// Whether interrupts were let in.
    pub fn irqs_were_on(&self) -> bool {
        self.rflags & RFLAGS_IF != 0
    }

    /// Goes on at `pc` instead.
    pub fn set_pc(&mut self, pc: usize) {
        self.rip = pc;
    }

    /// Where the function that was just called, and has not run yet, returns to.
    pub fn return_address(&self) -> usize {
        // SAFETY: the hart has just pushed this frame to the stack that was
        // interrupted, so that can be read.
        unsafe { (self.rsp as *const usize).read_unaligned() }
    }

    /// Forgets that return address: takes it off the stack.
    pub fn drop_return_address(&mut self) {
        self.rsp += size_of::<usize>();
    }
}

impl fmt::Display for TrapFrame {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(
            f,
            "   rip {:016x}   rsp {:016x}  rflg {:016x}  cs {:x}  ss {:x}",
            self.rip, self.rsp, self.rflags, self.cs, self.ss
        )?;
        for (names, values) in NAMES.chunks(4).zip(self.general.chunks(4)) {
            for (name, value) in names.iter().zip(values) {
                write!(f, "  {name:>4} {value:016x}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// How many vectors have an entry: the hart's own 32, and 16 of interrupts.
pub const VECTORS: usize = 48;
/// Bytes from one entry to the next.
const ENTRY_SIZE: usize = 16;

/// Vectors (SDM table 7-1).
pub const NMI: usize = 2;
pub const DOUBLE_FAULT: usize = 8;
const GENERAL_PROTECTION: usize = 13;
const PAGE_FAULT: usize = 14;
const FIRST_INTERRUPT: usize = 32;

/// One bit for each vector whose error code the hart pushes.
const WITH_ERROR_CODE: u64 = 0x6022_7d00;

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
    jmp     trap_common
    .endr

trap_common:
    .irp register, r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax
    push    \\register
    .endr
    cld
    // For a page fault it is enough to save what a call may change: the rest of
    // the frame is for whatever is left then.
    cmp     qword ptr [rsp + {vector} - {preserved_size}], {page_fault}
    jne     1f
    mov     rdi, [rsp + {error_code} - {preserved_size}]
    mov     rsi, [rsp + {rip} - {preserved_size}]
    call    {resolve}
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

    .global capture_registers
capture_registers:
    .set    at, 0
    .irp register, rbx, rbp, r12, r13, r14, r15, rax, rcx, rdx, rsi, rdi, r8, r9, r10, r11
    mov     [rdi + at], \\register
    .set    at, at + 8
    .endr
    mov     rax, [rsp]
    mov     [rdi + {rip}], rax
    mov     [rdi + {cs}], cs
    mov     [rdi + {ss}], ss
    pushfq
    pop     [rdi + {rflags}]
    lea     rax, [rsp + 8]
    mov     [rdi + {rsp}], rax
    ret
    ",
    entry_size = const ENTRY_SIZE,
    with_error_code = const WITH_ERROR_CODE,
    preserved_size = const PRESERVED * size_of::<usize>(),
    page_fault = const PAGE_FAULT,
    resolve = sym on_fault,
    handler = sym on_trap,
    vector = const offset_of!(TrapFrame, vector),
    error_code = const offset_of!(TrapFrame, error_code),
    rip = const offset_of!(TrapFrame, rip),
    cs = const offset_of!(TrapFrame, cs),
    ss = const offset_of!(TrapFrame, ss),
    rflags = const offset_of!(TrapFrame, rflags),
    rsp = const offset_of!(TrapFrame, rsp),
);

unsafe extern "C" {
    static trap_entries: u8;
    fn capture_registers(frame: *mut TrapFrame);
}

/// The address of the entry of `vector`.
pub fn vector_entry(vector: usize) -> usize {
    &raw const trap_entries as usize + vector * ENTRY_SIZE
}

/// Points this hart at the kernel's trap entries, and makes page tables' rights
/// bind it.
pub fn init_trap() {
    super::descriptors::load();
    #[cfg(feature = "paging")]
    super::paging::init();
}

/// The caller's own registers.
#[inline(always)]
pub fn capture() -> TrapFrame {
    let mut frame = TrapFrame::default();
    // SAFETY: it writes every register to the frame, and nothing else.
    unsafe { capture_registers(&mut frame) };
    frame
}

/// Whether what a page fault interrupted can go on.
extern "C" fn on_fault(error_code: usize, rip: usize) -> bool {
    /// A bit of an entry is set that is reserved: a physical address that this CPU
    /// does not have (SDM 4.7). Whatever rights there are, it stays.
    const RESERVED: usize = 1 << 3;
    let addr = faulting_address();
    error_code & RESERVED == 0 && resolve(addr, access(error_code, addr, rip))
}

extern "C" fn on_trap(frame: &mut TrapFrame) {
    let vector = frame.vector;
    match vector {
        _ if is_below_stack(frame.rsp) => on_stack_overflow(frame, frame.rsp),
        PAGE_FAULT => {
            let addr = faulting_address();
            on_page_fault(frame, addr, access(frame.error_code, addr, frame.rip));
        }
        // The hart could not push the frame of another trap; where it tried to
        // says why.
        DOUBLE_FAULT if in_guard(faulting_address()) => {
            on_stack_overflow(frame, faulting_address())
        }
        GENERAL_PROTECTION if is_probe(frame) => {}
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

/// What a page fault's access wanted to do, by the error code (SDM 5.7).
fn access(error_code: usize, addr: usize, rip: usize) -> Access {
    const WRITE: usize = 1 << 1;
    const FETCH: usize = 1 << 4;
    match error_code {
        code if code & WRITE != 0 => Access::WRITE,
        code if code & FETCH != 0 => Access::EXECUTE,
        // Without EFER.NXE the code does not tell a fetch from a read.
        _ if addr == rip => Access::EXECUTE,
        _ => Access::READ,
    }
}

/// Lets a probe go on whose address was not canonical, which is no page fault.
/// CPUs differ in whether a jump to such an address, or the fetch there, faults.
fn is_probe(frame: &mut TrapFrame) -> bool {
    let canonical = ((frame.rip << 16) as isize >> 16) as usize;
    let access = if frame.rip == canonical {
        Access::READ
    } else {
        Access::EXECUTE
    };
    let addr = VirtAddr::from_usize(frame.rip);
    fix_up(frame, &PageFault { addr, access })
}

fn faulting_address() -> usize {
    // SAFETY: reading the register changes nothing.
    unsafe { cr2() }
}

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
