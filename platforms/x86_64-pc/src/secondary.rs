//! Every hart but the first: from reset to `axplat`'s entry.
//!
//! A hart is started by interrupts (SDM 9.4.4, "MP Initialization Example"): it
//! begins in 16-bit mode at a page below 1 MiB, where a copy of the code at
//! `trampoline` lies. That switches straight to 64-bit mode and goes on in the
//! image, in the boot page table, where the hart looks itself up in [`STARTED`].
//!
//! Nothing a hart reads on its way is ever changed for the sake of another, so
//! that one that comes late, when others are being started, does no harm.

use core::arch::global_asm;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::{Relaxed, Release};

use axconfig::{MAX_HARTS, PAGE_SIZE, PHYS_VIRT_OFFSET};
use axmachine::Inventory;

use crate::boot::{segments_and_apic_id, to_long_mode};
use crate::lapic;
use axmachine::phys_to_virt;

/// Interrupt command register (SDM 11.6.1): reset, and start at a page.
const INIT: u32 = 0b101 << 8 | lapic::ASSERT;
const STARTUP: u32 = 0b110 << 8 | lapic::ASSERT;

/// Between the start-ups, in nanoseconds. The manual's 200 us, and the 10 ms it
/// has before them, are for processors whose APIC was a chip of its own; it has
/// been part of every x86-64 CPU.
const PAUSE_NS: u64 = 10_000;

/// The physical address of the trampoline's page; 0 for none.
static PAGE: AtomicUsize = AtomicUsize::new(0);

/// A hart that has been started: its hardware id plus one, or 0 for none yet,
/// and the top of its stack, as a virtual address.
#[repr(C)]
struct Started {
    id: AtomicUsize,
    stack: AtomicUsize,
}

/// By the kernel's own number of the hart.
static STARTED: [Started; MAX_HARTS] = [const {
    Started {
        id: AtomicUsize::new(0),
        stack: AtomicUsize::new(0),
    }
}; MAX_HARTS];

global_asm!(
    "
    .section .text.boot, \"ax\"
    .code16
    .global trampoline, trampoline_end
trampoline:
    cli
    movw    %cs, %ax
    movw    %ax, %ds
    lgdtl   trampoline_gdt_pointer - trampoline
    movl    $1, %eax                            // CR0: PE
    movl    %eax, %cr0",
    to_long_mode!(),
    "
    ljmpl   $8, $(1f - {offset})
trampoline_gdt_pointer:
    .word   3 * 8 - 1
    .long   boot_gdt - {offset}
trampoline_end:

    .code64
1:",
    segments_and_apic_id!(),
    "
    incq    %rax
    leaq    {started}(%rip), %rsi
    xorl    %edi, %edi
0:  cmpq    %rax, (%rsi)
    je      1f
    addq    $16, %rsi
    incl    %edi
    cmpl    ${max_harts}, %edi
    jb      0b
    // Nobody has asked for this hart.
2:  hlt
    jmp     2b
1:  movq    8(%rsi), %rsp
    xorl    %ebp, %ebp
    pushq   $0
    movabsq ${secondary}, %rax
    jmp     *%rax
    ",
    offset = const PHYS_VIRT_OFFSET,
    started = sym STARTED,
    max_harts = const MAX_HARTS,
    secondary = sym secondary,
    options(att_syntax),
);

extern "C" fn secondary(cpu_id: usize) -> ! {
    axplat::call_secondary_main(cpu_id)
}

/// Takes the lowest free page below 1 MiB but the first for the trampoline.
/// Without one no other hart can be started.
pub fn choose_page(found: &mut Inventory) {
    let page = found.room(PAGE_SIZE, PAGE_SIZE);
    if let Some(page) = page.filter(|page| *page < 1 << 20) {
        found.keep(page, PAGE_SIZE);
        PAGE.store(page, Relaxed);
    }
}

/// Starts hart `cpu_id` on the stack that ends at `stack_top`.
pub fn start(cpu_id: usize, stack_top: usize) {
    unsafe extern "C" {
        static trampoline: u8;
        static trampoline_end: u8;
    }
    let page = PAGE.load(Relaxed);
    let Some(&hart) = axmachine::inventory().harts().get(cpu_id) else {
        return;
    };
    if page == 0 {
        return;
    }
    STARTED[cpu_id].stack.store(stack_top, Relaxed);
    STARTED[cpu_id].id.store(hart + 1, Release);
    let code = &raw const trampoline;
    // SAFETY: the page is RAM that both page tables map, kept for this; code
    // that is there already is the same.
    unsafe {
        let size = (&raw const trampoline_end).offset_from_unsigned(code);
        code.copy_to_nonoverlapping(phys_to_virt(page) as *mut u8, size);
    }
    let startup = STARTUP | (page / PAGE_SIZE) as u32;
    lapic::send(hart, INIT);
    lapic::send(hart, startup);
    // Once more, as the manual has it, in case the first was lost. It does nothing
    // to a hart that has begun.
    crate::timer::sleep(PAUSE_NS);
    lapic::send(hart, startup);
}
