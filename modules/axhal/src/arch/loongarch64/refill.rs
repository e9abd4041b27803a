//! The TLB refill: a page-table walk in software.
//!
//! On a TLB miss the hardware enters the trap vector, without translation ("TLB Refill
//! Exception"). The vector jumps here with `t0` saved in `TLBRSAVE`. A walk takes four tables
//! of 512 entries. An entry is 0 (empty), the bare address of the next table, or a page. A
//! page above the lowest level has bit 6 set. A root of 0 is an empty table.
//!
//! The TLB holds pages in pairs, the even one first. A large page is loaded as a pair of
//! halves. For an empty entry the refill loads a pair of small pages that are not valid. The
//! access is then tried again, and is a page fault. Pairs of the kernel half are
//! global: they hold in every address space.
//!
//! Two shortcomings of QEMU 10.0 shape the code.
//!
//! - `lddir` and `ldpte`, configured by `PWCL` and `PWCH`, would be shorter. In QEMU they lose
//!   the bits of a large page's entry above the physical address, which forbid execution or
//!   reads.
//! - A fetch that the TLB refuses because of the bit `NX` hangs QEMU, which fetches the refused
//!   instruction again to put it into `BADI`. So for a fetch from a page with `NX` the refill
//!   does not fill the TLB. It makes the fetch continue at an address that no page can have and
//!   that encodes the original one ([`REFUSED_FETCH`]). It does the same if a user program fetches
//!   from a page of the kernel. A jump to a page that is in the TLB already, because of an access to
//!   its data or to its neighbour, still hangs QEMU.

use core::arch::global_asm;

/// The bit of an address that the refill inverts to refuse a fetch from it.
pub const REFUSED_FETCH: usize = 1 << 62;

global_asm!(
    "
    .equ    PGD, 0x1b
    .equ    SAVE1, 0x31
    .equ    TLBRBADV, 0x89
    .equ    TLBRERA, 0x8a
    .equ    TLBRSAVE, 0x8b
    .equ    TLBRELO0, 0x8c
    .equ    TLBRELO1, 0x8d
    .equ    TLBREHI, 0x8e
    .equ    TLBRPRMD, 0x8f

    // Moves t0 from a table to its entry for the bits high to low of the address.
    // Entries, or pairs of them, have 1 << log_size bytes.
    .macro  index high, low, log_size
    csrrd   $t1, TLBRBADV
    bstrpick.d $t1, $t1, \\high, \\low
    alsl.d  $t0, $t1, $t0, \\log_size
    .endm

    .section .text.trap, \"ax\"
    .global refill_tlb
refill_tlb:
    csrwr   $t1, SAVE1
    csrrd   $t0, PGD
    beqz    $t0, .Lnothing
    index   47, 39, 3
    ld.d    $t0, $t0, 0
    beqz    $t0, .Lnothing
    index   38, 30, 3
    ld.d    $t0, $t0, 0
    beqz    $t0, .Lnothing
    bstrpick.d $t1, $t0, 6, 6
    bnez    $t1, .Lgigabyte
    index   29, 21, 3
    ld.d    $t0, $t0, 0
    beqz    $t0, .Lnothing
    bstrpick.d $t1, $t0, 6, 6
    bnez    $t1, .Ltwo_megabytes
    index   20, 13, 4
    ld.d    $t1, $t0, 0
    csrwr   $t1, TLBRELO0
    ld.d    $t0, $t0, 8
    csrwr   $t0, TLBRELO1
    lu12i.w $t1, 0x1

.Lpair: // t1: bytes of each page
    // In the kernel half both pages of a pair are global, even if they are not valid.
    csrrd   $t0, TLBRBADV
    bge     $t0, $zero, .Llocal
    csrrd   $t0, TLBRELO0
    ori     $t0, $t0, 0x40
    csrwr   $t0, TLBRELO0
    csrrd   $t0, TLBRELO1
    ori     $t0, $t0, 0x40
    csrwr   $t0, TLBRELO1
.Llocal:
    ctz.d   $t1, $t1
    csrrd   $t0, TLBREHI
    bstrins.d $t0, $t1, 5, 0
    csrwr   $t0, TLBREHI
    // The access is a fetch if its address is where execution continues.
    csrrd   $t0, TLBRERA
    csrrd   $t1, TLBRBADV
    xor     $t0, $t0, $t1
    srli.d  $t0, $t0, 2
    beqz    $t0, .Lfetch
.Lfill:
    tlbfill
.Lreturn:
    csrrd   $t1, SAVE1
    csrrd   $t0, TLBRSAVE
    ertn

.Lgigabyte:
    lu12i.w $t1, 0x20000
    b       .Lhalves
.Ltwo_megabytes:
    lu12i.w $t1, 0x100
    b       .Lhalves
.Lnothing:
    lu12i.w $t1, 0x1
.Lhalves: // t0: the entry, t1: bytes of half of it. In the TLB, bit 6 means global.
    bstrins.d $t0, $zero, 6, 6
    csrwr   $t0, TLBRELO0
    csrrd   $t0, TLBRELO0
    add.d   $t0, $t0, $t1
    csrwr   $t0, TLBRELO1
    b       .Lpair

.Lfetch: // t1: its address. Is it in the odd page?
    csrrd   $t0, TLBREHI
    srl.d   $t1, $t1, $t0
    andi    $t1, $t1, 1
    csrrd   $t0, TLBRELO0
    beqz    $t1, .Leven
    csrrd   $t0, TLBRELO1
.Leven: // t0: the page's entry. Bit 62 is NX.
    bstrpick.d $t1, $t0, 62, 62
    .if {has_user_mode}
    bnez    $t1, .Lrefuse
    // A program may not fetch from a page of level 0.
    csrrd   $t1, TLBRPRMD
    andi    $t1, $t1, 3
    beqz    $t1, .Lfill
    bstrpick.d $t0, $t0, 3, 2
    bnez    $t0, .Lfill
.Lrefuse:
    .else
    beqz    $t1, .Lfill
    .endif
    csrrd   $t0, TLBRERA
    li.d    $t1, {refused_fetch}
    xor     $t0, $t0, $t1
    csrwr   $t0, TLBRERA
    b       .Lreturn
    ",
    refused_fetch = const REFUSED_FETCH,
    has_user_mode = const cfg!(feature = "uspace") as usize,
);
