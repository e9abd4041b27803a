//! x86_64.

use core::arch::{asm, naked_asm};

/// An address in the kernel's code.
pub const KERNEL: usize = 0xffff_8000_0020_0000;

/// Instructions that end the program, each with its name.
pub const EXCEPTIONS: &[(&str, fn())] = &[
    ("cli", privileged),
    ("hlt", exceptions::hlt),
    ("mov cr3", exceptions::mov_cr3),
    ("wrmsr", exceptions::wrmsr),
    ("rdmsr", exceptions::rdmsr),
    ("in", exceptions::port_in),
    ("out", exceptions::port_out),
    ("lgdt", exceptions::lgdt),
    ("invlpg", exceptions::invlpg),
    ("swapgs", exceptions::swapgs),
    ("sysret", exceptions::sysret),
    ("int 0x80", exceptions::int_0x80),
    ("int3", exceptions::int3),
    ("int of a page fault", exceptions::int_14),
    ("int of a double fault", exceptions::int_8),
    ("int of a timer", exceptions::int_32),
    ("division by zero", exceptions::divide),
    ("trap flag", exceptions::trap_flag),
    (
        "stack at an address that is not canonical",
        exceptions::stack_segment,
    ),
    ("a kernel's segment", exceptions::segment),
    ("return to ring 0", exceptions::return_to_ring_0),
    ("a call gate of its own", call_gate),
    ("ud2", illegal),
];

/// Executes an instruction that does not exist.
pub fn illegal() {
    // SAFETY: the kernel ends the program.
    unsafe { asm!("ud2") }
}

/// Disables interrupts.
pub fn privileged() {
    // SAFETY: the kernel ends the program.
    unsafe { asm!("cli") }
}

/// Writes a call gate to ring 0 to where a local descriptor table would be that begins at address 0,
/// and calls through it. Where the kernel has left such a table, the program is in ring 0 then.
fn call_gate() {
    const PAGE: usize = 0x1000;
    /// The selector of the descriptor at that address, in the local table, with ring 3.
    const SELECTOR: u16 = PAGE as u16 | 7;
    /// A present call gate of 64 bits for ring 3, and the selector of the kernel's code.
    const GATE: u64 = 0xec << 40 | 8 << 16;
    extern "C" fn arrived() {
        crate::syscall::exit(0)
    }
    if crate::syscall::mmap(PAGE, 4096, 3) != 0 {
        return;
    }
    let target = arrived as *const () as u64;
    let low = GATE | target & 0xffff | (target >> 16 & 0xffff) << 48;
    let far_pointer = (SELECTOR as u64) << 32;
    // SAFETY: the page was free. The kernel ends the program at the call.
    unsafe {
        (PAGE as *mut [u64; 2]).write_volatile([low, target >> 32]);
        asm!("call fword ptr [{}]", in(reg) &raw const far_pointer);
    }
}

macro_rules! exception {
    ($($name:ident: $($line:literal),+;)+) => {
        /// The other instructions of [`EXCEPTIONS`].
        mod exceptions {
            $(pub fn $name() {
                // SAFETY: the kernel ends the program.
                unsafe { core::arch::asm!($($line),+, out("rax") _, out("rcx") _, out("rdx") _) }
            })+
        }
    };
}

exception! {
    hlt: "hlt";
    mov_cr3: "mov rax, cr3", "mov cr3, rax";
    wrmsr: "mov ecx, 0xc0000082", "xor eax, eax", "xor edx, edx", "wrmsr";
    rdmsr: "mov ecx, 0xc0000082", "rdmsr";
    port_in: "in al, 0x60";
    port_out: "mov al, 0xfe", "out 0x64, al";
    lgdt: "lgdt [rsp]";
    invlpg: "invlpg [rsp]";
    swapgs: "swapgs";
    sysret: "mov rcx, 0x10000", "sysretq";
    int_0x80: "int 0x80";
    int3: "int3";
    int_14: "int 14";
    int_8: "int 8";
    int_32: "int 32";
    divide: "xor ecx, ecx", "xor edx, edx", "mov eax, 1", "div ecx";
    trap_flag: "pushfq", "or qword ptr [rsp], 0x100", "popfq", "nop";
    stack_segment: "mov rax, rsp", "mov rcx, 1", "shl rcx, 52", "mov rsp, rcx", "push rax", "mov rsp, rax";
    segment: "mov eax, 0x10", "mov ss, ax";
    return_to_ring_0: "lea rax, [rip + 2f]", "push 8", "push rax", "retfq", "2:";
}

/// Makes the call `getpid` with another stack pointer. Returns its result.
#[unsafe(naked)]
pub extern "C" fn getpid_with_stack_at(stack: usize) -> isize {
    naked_asm!(
        "mov r8, rsp",
        "mov rsp, rdi",
        "mov eax, 172",
        "syscall",
        "mov rsp, r8",
        "ret"
    )
}

/// Writes to the stack, with another stack pointer.
#[unsafe(naked)]
pub extern "C" fn fault_with_stack_at(stack: usize) {
    naked_asm!(
        "mov r8, rsp",
        "mov rsp, rdi",
        "push rax",
        "mov rsp, r8",
        "ret"
    )
}

/// Waits for `rounds` rounds and makes the call `getpid`, with `value` in all other registers, no
/// data segments, and the direction flag set. Returns its result, or −1 if a register that the
/// call preserves has changed.
#[unsafe(naked)]
pub extern "C" fn getpid_with_registers(value: usize, rounds: usize) -> isize {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov rcx, rsi",
        "xor eax, eax",
        "mov ds, ax",
        "mov es, ax",
        "mov fs, ax",
        "mov gs, ax",
        ".irp r,rax,rbx,rdx,rsi,rbp,r8,r9,r10,r11,r12,r13,r14,r15",
        "mov \\r, rdi",
        ".endr",
        "std",
        "2: dec rcx",
        "jnz 2b",
        "mov eax, 172",
        "syscall",
        "cld",
        ".irp r,rdx,rsi,rdi,rbp,r8,r9,r10,r12,r13,r14,r15",
        "cmp \\r, rbx",
        "jne 3f",
        ".endr",
        "jmp 4f",
        "3: mov rax, -1",
        "4: pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
    )
}
