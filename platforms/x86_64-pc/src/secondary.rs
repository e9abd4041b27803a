//! Starts the harts other than the first: from reset to `axplat`'s entry.
//!
//! Interrupts start a hart (SDM 9.4.4, "MP Initialization Example"). It begins in 16-bit mode
//! at a page below 1 MiB, which has a copy of the code at `trampoline`. That code switches
//! directly to 64-bit mode and continues in the image, in the boot page table. There the hart
//! finds its own entry in [`STARTED`].
//!
//! Each hart has its own entry, and the trampoline is the same for all. So a hart that arrives
//! late, while others are being started, does no harm.

use core::arch::global_asm;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::{Relaxed, Release};

use axconfig::{MAX_HARTS, PAGE_SIZE, PHYS_VIRT_OFFSET};
use axmachine::{Inventory, phys_to_virt};

use crate::boot::{segments_and_apic_id, to_long_mode};
use crate::lapic;

/// Commands of the interrupt command register (SDM 11.6.1): reset, and start at a page.
const INIT: u32 = 0b101 << 8 | lapic::ASSERT;
const STARTUP: u32 = 0b110 << 8 | lapic::ASSERT;

/// The pause between the two start commands, in nanoseconds. The manual waits 10 ms before the
/// first command and 200 us between the two. So long a wait was for processors with the APIC in
/// a separate chip. Each x86-64 CPU contains its APIC.
const PAUSE_NS: u64 = 10_000;

/// The physical address of the trampoline's page; 0 if no page was free.
///
/// Relaxed in all accesses: only the first hart stores and reads it.
static TRAMPOLINE_PAGE: AtomicUsize = AtomicUsize::new(0);

/// What a started hart needs to know.
#[repr(C)]
struct Started {
    /// The hardware id plus one; 0 before the hart is started.
    id_plus_one: AtomicUsize,
    /// The virtual address of the top of the stack.
    stack: AtomicUsize,
}

/// The started harts. The index is the kernel's number of the hart. The code at `trampoline`
/// reads it.
static STARTED: [Started; MAX_HARTS] = [const {
    Started {
        id_plus_one: AtomicUsize::new(0),
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
    // The kernel did not start this hart.
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

/// Reserves the lowest free page between 4 KiB and 1 MiB for the trampoline. Without a free
/// page no other hart can be started.
pub fn reserve_trampoline_page(found: &mut Inventory) {
    let page = found.find_free(PAGE_SIZE, PAGE_SIZE);
    if let Some(page) = page.filter(|page| *page < 1 << 20) {
        found.reserve_mapped(page, PAGE_SIZE);
        TRAMPOLINE_PAGE.store(page, Relaxed);
    }
}

/// Starts hart `cpu_id` on the stack that ends at the virtual address `stack_top`.
pub fn start(cpu_id: usize, stack_top: usize) {
    unsafe extern "C" {
        static trampoline: u8;
        static trampoline_end: u8;
    }
    let page = TRAMPOLINE_PAGE.load(Relaxed);
    let Some(&hart) = axmachine::inventory().harts().get(cpu_id) else {
        return;
    };
    if page == 0 {
        return;
    }
    STARTED[cpu_id].stack.store(stack_top, Relaxed);
    // Release: pairs with the hart's own read of the id. It reads the stack after the id.
    STARTED[cpu_id].id_plus_one.store(hart + 1, Release);
    let code = &raw const trampoline;
    // SAFETY: the page is RAM that is reserved for the trampoline and that both page tables
    // map. If it holds the trampoline already, the copy does not change it.
    unsafe {
        let size = (&raw const trampoline_end).offset_from_unsigned(code);
        code.copy_to_nonoverlapping(phys_to_virt(page) as *mut u8, size);
    }
    let startup = STARTUP | (page / PAGE_SIZE) as u32;
    lapic::send(hart, INIT);
    lapic::send(hart, startup);
    // The command is repeated, as in the manual, in case the first was lost. A hart that runs
    // already ignores it.
    crate::timer::sleep(PAUSE_NS);
    lapic::send(hart, startup);
}
