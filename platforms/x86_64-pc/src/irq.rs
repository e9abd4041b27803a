//! Interrupts that a hart has of its own: the timer, and other harts.
//!
//! Interrupt numbers are vectors. Those of devices, which come through the
//! I/O APIC, have no user yet: they stay masked, as the firmware leaves them.

use axplat::irq::{HandlerTable, IpiTarget, IrqHandler, IrqIf};
use x86::io::outb;

use crate::lapic;

/// The local APIC's timer.
const TIMER: usize = 0x20;
/// An interrupt that went away before it was taken: never acknowledged
/// (SDM 11.9).
const SPURIOUS: usize = 0x2f;

/// The interrupt masks of the PC's two old controllers.
const PIC_MASKS: [u16; 2] = [0x21, 0xa1];

static HANDLERS: HandlerTable<{ SPURIOUS + 1 }> = HandlerTable::new();

/// Lets the first hart's own interrupts through, and keeps the old controllers'
/// out, whose vectors are those of exceptions.
pub fn init_primary() {
    for port in PIC_MASKS {
        // SAFETY: on a PC the port is a controller's mask, or nobody's.
        unsafe { outb(port, 0xff) };
    }
    lapic::choose_mode();
    init_hart();
}

/// Lets this hart's own interrupts through.
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
            // The next of its kind may come in, and waits until this has returned.
            lapic::write(lapic::EOI, 0);
        }
        HANDLERS.handle(irq);
    }

    fn send_ipi(irq: usize, target: IpiTarget) {
        axmachine::for_each_target(target, |cpu| send(irq, cpu));
    }
}

fn send(irq: usize, cpu_id: usize) {
    if let Some(&hart) = axmachine::inventory().harts().get(cpu_id) {
        lapic::send(hart, lapic::ASSERT | irq as u32);
    }
}
