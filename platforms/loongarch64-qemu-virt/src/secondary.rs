//! Starts the harts other than the first.
//!
//! A hart waits in QEMU's boot ROM for an interrupt, and then for an address in its mailbox 0.
//! But the boot ROM first clears that mailbox. On a busy host it may do so after the kernel
//! has written the address. So the address and the interrupt are sent again at each timer
//! interrupt until the hart arrives. The hart that waits for it sleeps by the timer.

use axmachine::HartId;
use kspin::SpinNoIrq;

use crate::{firmware, iocsr, mailbox};

/// The hart that has been started but has not arrived: its id, and the top of its stack, as
/// `cpu_boot` takes it.
static STARTING: SpinNoIrq<Option<(HartId, usize)>> = SpinNoIrq::new(None);

/// Starts hart `cpu_id`. A hart that was started earlier and has not arrived is given up.
pub fn start(cpu_id: usize, stack_top_paddr: usize) {
    if let Some(&hart) = axmachine::inventory().harts().get(cpu_id) {
        *STARTING.lock() = Some((hart, stack_top_paddr));
        send_start();
    }
}

/// Sends the address and the interrupt to the hart that has not arrived, if there is one.
pub fn send_start() {
    unsafe extern "C" {
        fn _start_secondary();
    }
    if let Some((hart, stack_top_paddr)) = *STARTING.lock() {
        let entry = _start_secondary as *const () as usize - axconfig::PHYS_VIRT_OFFSET;
        mailbox::send(hart, 1, stack_top_paddr);
        mailbox::send(hart, 0, entry);
        iocsr::send_interrupt(hart);
    }
}

/// Enters the kernel on a started hart. Returns only if the hart is not in the inventory.
pub fn enter() {
    let hart = firmware::this_hart_id();
    STARTING.lock().take_if(|(starting, _)| *starting == hart);
    if let Some(cpu_id) = axmachine::cpu_of(hart) {
        axplat::call_secondary_main(cpu_id)
    }
}
