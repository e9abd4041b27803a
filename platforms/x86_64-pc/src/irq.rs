//! Interrupts of a single hart: its timer, and interrupts from other harts.
//!
//! Interrupt numbers are vectors. Interrupts of devices come through the I/O APIC. They stay
//! masked, as firmware leaves them, since no driver uses them yet.

use axplat::irq::{HandlerTable, IpiTarget, IrqHandler, IrqIf};
use x86::io::outb;

use crate::lapic;

/// The local APIC's timer.
const TIMER: usize = 0x20;
/// The vector of an interrupt that ended before the hart took it. It must not be acknowledged
/// (SDM 11.9).
const SPURIOUS: usize = 0x2f;

/// The I/O ports of the interrupt masks of the PC's two 8259 controllers.
const PIC_MASKS: [u16; 2] = [0x21, 0xa1];

static HANDLERS: HandlerTable<{ SPURIOUS + 1 }> = HandlerTable::new();

/// Enables the first hart's interrupts, and masks those of the 8259 controllers, whose vectors
/// are those of exceptions.
pub fn init_primary() {
    for port in PIC_MASKS {
        // SAFETY: on a PC the port is a controller's mask register or unused.
        unsafe { outb(port, 0xff) };
    }
    lapic::choose_mode();
    init_hart();
}

/// Enables this hart's interrupts.
pub fn init_hart() {
    lapic::init_hart(SPURIOUS as u32);
    crate::timer::init_hart(TIMER as u32);
}

struct Irq;

#[axplat::impl_interface]
impl IrqIf for Irq {
    fn set_enable(irq: usize, enabled: bool) {
        if irq == TIMER {
            let entry = lapic::read(lapic::LVT_TIMER) & !lapic::MASKED;
            let mask = if enabled { 0 } else { lapic::MASKED };
            lapic::write(lapic::LVT_TIMER, entry | mask);
        }
    }

    fn register(irq: usize, handler: IrqHandler) -> bool {
        HANDLERS.register_handler(irq, handler)
    }

    fn unregister(irq: usize) -> Option<IrqHandler> {
        HANDLERS.unregister_handler(irq)
    }

    fn handle(irq: usize) {
        if irq != SPURIOUS {
            // The APIC may deliver the next one. The hart takes it after this handler, because
            // interrupts are off until then.
            lapic::write(lapic::EOI, 0);
        }
        HANDLERS.handle(irq);
    }

    fn send_ipi(irq: usize, target: IpiTarget) {
        axmachine::for_each_target(target, |cpu| send(irq, cpu));
    }
}

/// Sends vector `irq` to hart `cpu_id`.
fn send(irq: usize, cpu_id: usize) {
    if let Some(&hart) = axmachine::inventory().harts().get(cpu_id) {
        lapic::send(hart, lapic::ASSERT | irq as u32);
    }
}
