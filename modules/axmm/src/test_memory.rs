//! Memory for the unit tests, which run side by side.

use std::alloc::System;
use std::sync::Once;

use axalloc::fault::FailingHeap;

#[global_allocator]
static HEAP: FailingHeap<System> = FailingHeap(System);

/// Gives 16 MiB to the allocator, unless it has them.
pub fn give() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let memory = axalloc::host::physical_memory(1 << 30, 16 << 20).unwrap();
        // SAFETY: mapped for this alone, and for good.
        unsafe { axalloc::add_memory(&[memory]) }.unwrap();
    });
}
