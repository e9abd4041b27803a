//! The reason of the last page fault that failed on this hart. The trap entry only learns that the
//! fault failed. If the access ends the machine, the report of it gives this reason.

use memory_addr::VirtAddr;

use crate::aspace::Fault;
use crate::machine::{Machine, ThisMachine};

/// The address of the access.
#[percpu::def_percpu]
static ADDR: usize = 0;

/// The index of the reason in [`FAULTS`], plus one; 0 if no page fault of this hart has failed.
#[percpu::def_percpu]
static FAULT: usize = 0;

const FAULTS: [Fault; 4] = [
    Fault::Unmapped,
    Fault::Denied,
    Fault::NoMemory,
    Fault::Nested,
];

/// Records why an access of this hart cannot be made.
#[cold]
pub fn note(addr: VirtAddr, fault: Fault) {
    // No other thread of this hart records its own reason between the two writes.
    let _irqs_off = ThisMachine::disable_irqs();
    let index = FAULTS.iter().position(|known| *known == fault);
    FAULT.write_current(index.map_or(0, |index| index + 1));
    ADDR.write_current(addr.as_usize());
}

/// Returns why the access at `addr` cannot be made, if it was the last failure of this hart.
pub fn last(addr: VirtAddr) -> Option<Fault> {
    let index = FAULT.read_current().checked_sub(1)?;
    let fault = FAULTS.get(index).copied();
    fault.filter(|_| ADDR.read_current() == addr.as_usize())
}
