//! The interrupt controller: GICv3 or GICv2, whichever the device tree names.
//! Where it names neither, no interrupt ever comes.
//!
//! Only interrupts that each hart has of its own are dealt with: calls from
//! other harts (numbers 0 to 15, "SGI") and its own devices (16 to 31, "PPI").

mod v2;
mod v3;

use core::ptr::NonNull;

use aarch64_cpu::asm::barrier;
use spin::Once;

use axmachine::phys_to_virt;

enum Gic {
    V2(v2::Driver),
    V3(v3::Driver),
}

static GIC: Once<Gic> = Once::new();

/// Finds the interrupt controller. The first hart calls this, once.
pub fn init() {
    let found = v3::Driver::find().map(Gic::V3);
    if let Some(gic) = found.or_else(|| v2::Driver::find().map(Gic::V2)) {
        GIC.call_once(|| gic);
    }
}

/// The registers of the first device compatible with `name`, of its `index`th
/// range, as a virtual address.
fn registers<T>(name: &str, index: usize) -> Option<NonNull<T>> {
    let (base, _) = crate::machine::device_tree()?.device_reg(name, index)?;
    NonNull::new(phys_to_virt(base) as *mut T)
}

/// Prepares what is this hart's, `cpu_id`'s, of the controller: interrupts as a
/// whole are let through, and each is masked.
pub fn init_hart(cpu_id: usize) {
    match GIC.get() {
        Some(Gic::V2(gic)) => gic.init_hart(cpu_id),
        Some(Gic::V3(gic)) => gic.init_hart(),
        None => {}
    }
}

/// Masks interrupt `irq` of this hart, which is below 32, or lets it through.
pub fn set_enable(irq: usize, enabled: bool) {
    match GIC.get() {
        Some(Gic::V2(gic)) => gic.set_enable(irq, enabled),
        Some(Gic::V3(gic)) => gic.set_enable(irq, enabled),
        None => {}
    }
}

/// Takes the most urgent interrupt that is pending here, lets `handler` deal
/// with its number, and says that it is done. Does nothing if there is none.
pub fn take(handler: impl FnOnce(usize)) {
    match GIC.get() {
        Some(Gic::V2(gic)) => gic.take(handler),
        Some(Gic::V3(_)) => v3::take(handler),
        None => {}
    }
}

/// Interrupts hart `cpu_id` with number `irq`, which is below 16. Whatever this
/// hart wrote before is seen by that one when it handles the interrupt.
pub fn send(cpu_id: usize, irq: usize) {
    // What was written is on its way before the interrupt is.
    barrier::dsb(barrier::ISHST);
    match GIC.get() {
        Some(Gic::V2(gic)) => gic.send(cpu_id, irq),
        Some(Gic::V3(_)) => v3::send(cpu_id, irq),
        None => {}
    }
}
