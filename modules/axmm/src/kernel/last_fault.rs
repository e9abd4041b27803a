//! The reason of the last page fault that failed on this hart. The trap entry only learns that the
//! fault failed. If the access ends the machine, the report of it gives this reason.

use memory_addr::VirtAddr;

use crate::aspace::Fault;
use crate::machine::{Machine, ThisMachine};

/// The address of the last access of this hart that could not be made, and why. `None` if no page
/// fault of this hart has failed.
#[percpu::def_percpu]
static LAST: Option<(VirtAddr, Fault)> = None;

/// Records why an access of this hart cannot be made.
#[cold]
pub fn note(addr: VirtAddr, fault: Fault) {
    // Without interrupts, no other code of this hart reads or writes the record meanwhile.
    let _irqs_off = ThisMachine::disable_irqs();
    LAST.with_current(|last| *last = Some((addr, fault)));
}

/// Returns why the access at `addr` cannot be made, if it was the last failure of this hart.
pub fn last(addr: VirtAddr) -> Option<Fault> {
    // Without interrupts, no other code of this hart reads or writes the record meanwhile.
    let _irqs_off = ThisMachine::disable_irqs();
    let (last, fault) = LAST.with_current(|last| *last)?;
    (last == addr).then_some(fault)
}
