//! Inter-processor interrupts (IPIs).

use axplat::irq::IpiTarget;

use crate::arch::IPI_IRQ;

/// Interrupts hart `cpu_id`, which wakes if it sleeps.
pub fn kick(cpu_id: usize) {
    axplat::irq::send_ipi(IPI_IRQ, IpiTarget::Other { cpu_id });
}
