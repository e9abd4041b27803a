//! The memory that the boot sets aside for harts: stacks and per-hart data.
//!
//! ```text
//!   ┌─────────────────┬─────────────────┬───┬─────────────┬─────────────┬───┐
//!   │ stack of hart 1 │ stack of hart 2 │ … │ hart 0 data │ hart 1 data │ … │
//!   └─────────────────┴─────────────────┴───┴─────────────┴─────────────┴───┘
//! ```
//!
//! Behind each stack is the table that maps it in the boot page table. The first hart's
//! stack is a part of the kernel image.

use core::sync::atomic::{AtomicUsize, Ordering};

use axconfig::{PAGE_SIZE, STACK_SIZE};
use axmachine::StackMemory;

use super::free::take_boot_memory;
use crate::hart::per_hart_data_size;

/// Bytes of a stack's memory, with the table that maps it in the boot page table.
const STACK_MEMORY: usize = STACK_SIZE + PAGE_SIZE;

/// The physical address of the stack of hart 1.
static STACKS: AtomicUsize = AtomicUsize::new(0);

/// Takes memory for the stacks of `harts - 1` harts and for the data of `harts` harts, and
/// maps the stacks in the boot page table.
///
/// Returns the address, in the linear mapping, of the first hart's data. Returns `None` if
/// there is too little memory.
pub(crate) fn take_hart_memory(harts: usize) -> Option<usize> {
    let stacks = stacks_size(harts);
    let start = take_boot_memory(stacks + harts * per_hart_data_size())?;
    // Relaxed: other harts start after this, by the platform's call.
    STACKS.store(start.as_usize(), Ordering::Relaxed);
    for number in 1..harts {
        let stack = stack_memory(number);
        // SAFETY: the memory has just been taken for this stack, and the hart has not been
        // started.
        axmachine::map_stack(unsafe { StackMemory::new(number, stack, stack + STACK_SIZE) });
    }
    Some(axplat::mem::phys_to_virt(start).as_usize() + stacks)
}

/// Returns the bytes of the stacks of all harts but the first, of `harts` harts.
pub fn stacks_size(harts: usize) -> usize {
    (harts - 1) * STACK_MEMORY
}

/// Returns the physical address of the stack of hart `number`, which is not the first.
pub fn stack_memory(number: usize) -> usize {
    STACKS.load(Ordering::Relaxed) + (number - 1) * STACK_MEMORY
}
