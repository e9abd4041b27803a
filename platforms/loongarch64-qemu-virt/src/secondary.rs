//! Every hart but the first: calling it, and its coming.
//!
//! A hart waits in QEMU's boot ROM for an interrupt, and then for an address in
//! its mailbox 0. But the first thing it does there is to empty that mailbox, and
//! on a busy host it may do so after it has been called. So the hart that is
//! being waited for is called again at every tick of a timer until it comes: who
//! waits for it naps meanwhile.

use axmachine::HartId;
use kspin::SpinNoIrq;

use crate::{iocsr, machine, mailbox};

/// The hart that has been called and has not come: its id, and the physical
/// address of the top of its stack.
static CALLED: SpinNoIrq<Option<(HartId, usize)>> = SpinNoIrq::new(None);

/// Calls hart `cpu_id`, and no other any more.
pub fn call(cpu_id: usize, stack_top_paddr: usize) {
    if let Some(&hart) = axmachine::inventory().harts().get(cpu_id) {
        *CALLED.lock() = Some((hart, stack_top_paddr));
        call_again();
    }
}

/// Calls the hart that has been called and has not come, if any.
pub fn call_again() {
    unsafe extern "C" {
        fn _start_secondary();
    }
    if let Some((hart, stack_top_paddr)) = *CALLED.lock() {
        let entry = _start_secondary as *const () as usize - axconfig::PHYS_VIRT_OFFSET;
        mailbox::send(hart, 1, stack_top_paddr);
        mailbox::send(hart, 0, entry);
        iocsr::send_interrupt(hart);
    }
}

/// The first thing that a hart does in Rust. Returns if it is not listed.
pub fn come() {
    let hart = machine::this_hart_id();
    CALLED.lock().take_if(|(called, _)| *called == hart);
    let harts = axmachine::inventory().harts();
    if let Some(cpu_id) = harts.iter().position(|&id| id == hart) {
        axplat::call_secondary_main(cpu_id)
    }
}
