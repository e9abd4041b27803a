//! Harts: their numbers, their per-hart data, and the limits of their stacks.
//!
//! The kernel numbers harts 0, 1, …; 0 is the one that booted. The platform maps these
//! numbers to the hardware's ids ([`hardware_id`]). [`startup`](crate::startup) starts
//! harts.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use axconfig::{HART_STACK_SLOT, HART_STACKS, hart_stack};

pub use axmachine::hardware_id;

/// The kernel's number of this hart.
#[percpu::def_percpu]
static NUMBER: usize = 0;

/// The lowest stack pointer at which this hart can still take a trap on its current stack:
/// `TRAP_SIZE` above the stack's lowest address. The trap entries read it, as
/// `__PERCPU_STACK_LIMIT`.
#[percpu::def_percpu]
#[unsafe(no_mangle)]
static STACK_LIMIT: usize = 0;

/// The end of the stack on which this hart reports that another stack has overflowed. The
/// trap entries read it, as `__PERCPU_EMERGENCY_STACK`.
///
/// It is the lowest part of the stack on which the hart booted. Each hart has one, because
/// several may overflow at a time. The report may overwrite frames there, because the machine
/// ends after it.
#[percpu::def_percpu]
#[unsafe(no_mangle)]
static EMERGENCY_STACK: usize = 0;

/// Bytes of an emergency stack.
pub(crate) const EMERGENCY_SIZE: usize = 8 * 1024;

/// Bytes that must be left on a stack for a trap: the frame, and the first calls. Calls that
/// need more run into the guard zone, which is a trap at a stack pointer below the limit. On
/// x86_64 it is a double fault, because the hart cannot push the frame. Both are reported as an
/// overflow.
const TRAP_SIZE: usize = 1024;

/// One bit for each hart that has come up.
static ONLINE: AtomicU64 = AtomicU64::new(0);

/// The number of harts that the kernel uses, up or not.
static COUNT: AtomicUsize = AtomicUsize::new(1);

/// Where the first hart's per-hart data begins. That of the other harts follows it.
static PER_HART_DATA: AtomicUsize = AtomicUsize::new(0);

/// Returns the number of the calling hart.
pub fn this_hart() -> usize {
    NUMBER.read_current()
}

/// Returns the number of harts that the kernel uses, up or not.
pub fn count() -> usize {
    // Relaxed: `set_count` runs before any other hart is started.
    COUNT.load(Ordering::Relaxed)
}

/// Sets the number of harts. Called by the first hart, before it starts another.
#[cfg(feature = "smp")]
pub(crate) fn set_count(harts: usize) {
    COUNT.store(harts, Ordering::Relaxed);
}

/// Returns the set of harts that are up, one bit for each.
pub fn online() -> u64 {
    // Acquire: pairs with the store in `set_first_online` and `set_online`, so that what a
    // hart wrote before it came up is visible.
    ONLINE.load(Ordering::Acquire)
}

/// Returns whether hart `number` is up.
pub fn is_online(number: usize) -> bool {
    number < 64 && online() & 1 << number != 0
}

/// Makes the first hart the only one that is up.
pub(crate) fn set_first_online() {
    ONLINE.store(1, Ordering::Release);
}

/// Adds hart `number` to the set of harts that are up.
#[cfg(feature = "smp")]
pub(crate) fn set_online(number: usize) {
    // SeqCst: pairs with the fence before `tlb` reads `online`. Either the sender of a flush
    // sees this hart, or this hart's flush after the call sees the sender's page table.
    ONLINE.fetch_or(1 << number, Ordering::SeqCst);
}

/// Returns the address of the calling hart's per-hart data.
pub fn per_hart_data() -> usize {
    per_hart_data_of(this_hart())
}

fn per_hart_data_of(number: usize) -> usize {
    // Relaxed: `set_per_hart_data` runs before any other hart is started.
    PER_HART_DATA.load(Ordering::Relaxed) + number * per_hart_data_size()
}

/// Returns the bytes of one hart's data, in whole cache lines.
pub(crate) fn per_hart_data_size() -> usize {
    percpu::percpu_area_size().next_multiple_of(64)
}

/// Sets where the first hart's data begins; that of the other harts follows it. Called by
/// the first hart, before it uses its data and before it starts another.
pub(crate) fn set_per_hart_data(start: usize) {
    PER_HART_DATA.store(start, Ordering::Relaxed);
}

/// Gives the calling hart the number `number` and the data that belongs to it.
///
/// # Safety
///
/// No other hart has this number. The data of hart `number`, by
/// [`set_per_hart_data`], is mapped and initialized, and this hart has not used it.
pub(crate) unsafe fn assume_number(number: usize) {
    // SAFETY: the caller says that the data is initialized and this hart's alone.
    unsafe { percpu::write_percpu_reg(per_hart_data_of(number)) };
    NUMBER.write_current(number);
    let bottom = hart_stack(number).start;
    STACK_LIMIT.write_current(bottom + TRAP_SIZE);
    EMERGENCY_STACK.write_current(bottom + EMERGENCY_SIZE);
}

/// Returns the end of this hart's emergency stack.
#[cfg(all(target_arch = "x86_64", target_os = "none"))]
pub(crate) fn emergency_stack() -> usize {
    EMERGENCY_STACK.read_current()
}

/// Returns whether this hart's current stack has too few bytes left for a trap at stack
/// pointer `sp`.
#[cfg(all(target_arch = "x86_64", target_os = "none"))]
pub(crate) fn is_below_stack(sp: usize) -> bool {
    sp < STACK_LIMIT.read_current()
}

/// Lets this hart take traps at any stack pointer from now on. It is for a hart that makes its
/// last report on an emergency stack, whose addresses may be below the limit.
pub(crate) fn lift_stack_limit() {
    STACK_LIMIT.write_current(0);
}

/// Returns the lowest address of the stack that this hart runs on. Not for a hart that has
/// lifted its stack limit.
#[cfg(feature = "multitask")]
pub fn stack() -> usize {
    STACK_LIMIT.read_current() - TRAP_SIZE
}

/// Announces that this hart is about to switch to the stack whose lowest address is
/// `bottom`. Called with interrupts off. From then on a trap that finds too little space on
/// that stack is reported as an overflow.
///
/// # Safety
///
/// The stack is mapped from `bottom` on: a trap writes there without a check.
#[cfg(feature = "multitask")]
pub unsafe fn set_stack(bottom: usize) {
    STACK_LIMIT.write_current(bottom + TRAP_SIZE);
}

/// Returns the hart in whose stack's guard zone `addr` lies, or `None` if it is in no
/// hart's guard zone.
pub fn guard_of(addr: usize) -> Option<usize> {
    let number = addr.checked_sub(HART_STACKS)? / HART_STACK_SLOT;
    (number < count() && addr < hart_stack(number).start).then_some(number)
}
