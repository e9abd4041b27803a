//! Why the last page fault of this hart that failed has failed: for the report of an
//! access that ends the machine. The trap entry only learns that it has failed.

use memory_addr::VirtAddr;

use crate::aspace::Fault;

/// The address of the access.
#[percpu::def_percpu]
static ADDR: usize = 0;

/// What came of it; 0 if no page fault of this hart has failed.
#[percpu::def_percpu]
static FAULT: usize = 0;

const FAULTS: [Fault; 4] = [
    Fault::Unmapped,
    Fault::Denied,
    Fault::NoMemory,
    Fault::Nested,
];

/// Notes that an access of this hart cannot be made. Interrupts are off.
#[cold]
pub fn note(addr: VirtAddr, fault: Fault) {
    let index = FAULTS.iter().position(|known| *known == fault);
    FAULT.write_current(index.map_or(0, |index| index + 1));
    ADDR.write_current(addr.as_usize());
}

/// Why the access at `addr` cannot be made, if it is the last of this hart that could not.
pub fn last(addr: VirtAddr) -> Option<Fault> {
    let index = FAULT.read_current().checked_sub(1)?;
    let fault = FAULTS.get(index).copied();
    fault.filter(|_| ADDR.read_current() == addr.as_usize())
}
