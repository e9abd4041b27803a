//! The interrupt controller: a GICv3 or a GICv2. Without one in the device tree there are no
//! interrupts.
//!
//! This driver handles the interrupts of a single hart: those from other harts (numbers 0 to
//! 15, "SGI") and those of the hart's own devices (16 to 31, "PPI").

mod v2;
mod v3;

use core::ptr::NonNull;

use aarch64_cpu::asm::barrier;
use axmachine::phys_to_virt;
use spin::Once;

enum Gic {
    V2(v2::Driver),
    V3(v3::Driver),
}

static GIC: Once<Gic> = Once::new();

/// Finds the interrupt controller. Called once, by the first hart.
pub fn init() {
    let found = v3::Driver::find().map(Gic::V3);
    if let Some(gic) = found.or_else(|| v2::Driver::find().map(Gic::V2)) {
        GIC.call_once(|| gic);
    }
}

/// Returns the virtual address of register range number `index`, counted from 0, of the first
/// device that is compatible with `name`.
fn registers<T>(name: &str, index: usize) -> Option<NonNull<T>> {
    let (base, _) = crate::firmware::device_tree()?.device_reg(name, index)?;
    NonNull::new(phys_to_virt(base) as *mut T)
}

/// Prepares the controller's registers for the calling hart, `cpu_id`. The controller delivers
/// interrupts to it, but each single interrupt is masked.
pub fn init_hart(cpu_id: usize) {
    match GIC.get() {
        Some(Gic::V2(gic)) => gic.init_hart(cpu_id),
        Some(Gic::V3(gic)) => gic.init_hart(),
        None => {}
    }
}

/// Enables or masks interrupt `irq` of the calling hart. `irq` must be below 32.
pub fn set_enable(irq: usize, enabled: bool) {
    match GIC.get() {
        Some(Gic::V2(gic)) => gic.set_enable(irq, enabled),
        Some(Gic::V3(gic)) => gic.set_enable(irq, enabled),
        None => {}
    }
}

/// Acknowledges the pending interrupt with the highest priority, calls `handler` with its
/// number, and ends it. Does nothing if no interrupt is pending.
pub fn take(handler: impl FnOnce(usize)) {
    match GIC.get() {
        Some(Gic::V2(gic)) => gic.take(handler),
        Some(Gic::V3(_)) => v3::take(handler),
        None => {}
    }
}

/// Sends interrupt `irq` to hart `cpu_id`. `irq` must be below 16. The handler of that hart
/// sees all earlier writes of this hart.
pub fn send(cpu_id: usize, irq: usize) {
    // Earlier writes are visible to other harts before the interrupt is sent.
    barrier::dsb(barrier::ISHST);
    match GIC.get() {
        Some(Gic::V2(gic)) => gic.send(cpu_id, irq),
        Some(Gic::V3(_)) => v3::send(cpu_id, irq),
        None => {}
    }
}
