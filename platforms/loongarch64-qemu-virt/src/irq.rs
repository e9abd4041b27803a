//! Interrupts of a single hart: its timer, and interrupts from other harts.
//!
//! Interrupt numbers are the bits of `ESTAT.IS` ("Exception Status"). Interrupts of devices
//! come through the extended I/O interrupt controller. They stay masked, since no driver uses
//! them yet.

use core::arch::asm;

use axplat::irq::{HandlerTable, IpiTarget, IrqHandler, IrqIf};

use crate::iocsr;

/// The timer's interrupt.
const TIMER: usize = 11;
/// The interrupt that other harts send.
const IPI: usize = 12;

static HANDLERS: HandlerTable<13> = HandlerTable::new();

/// Enables the timer's interrupt and those from other harts on this hart.
pub fn init_hart() {
    // This clears the interrupt that ended the hart's wait in the boot ROM.
    iocsr::clear_interrupts();
    iocsr::enable_interrupts();
    Irq::set_enable(TIMER, true);
    Irq::set_enable(IPI, true);
}

struct Irq;

#[axplat::impl_interface]
impl IrqIf for Irq {
    fn set_enable(irq: usize, enabled: bool) {
        let mask = match irq {
            TIMER | IPI => 1usize << irq,
            _ => return,
        };
        let bits = if enabled { mask } else { 0 };
        // SAFETY: `mask` has only bits of `ECFG.LIE` ("Exception Configuration"), of interrupts
        // that `handle` knows.
        unsafe {
            asm!("csrxchg {}, $t0, 0x4", inout(reg) bits => _, in("$t0") mask, options(nostack))
        };
    }

    fn register(irq: usize, handler: IrqHandler) -> bool {
        HANDLERS.register_handler(irq, handler)
    }

    fn unregister(irq: usize) -> Option<IrqHandler> {
        HANDLERS.unregister_handler(irq)
    }

    fn handle(irq: usize) {
        match irq {
            TIMER => {
                // SAFETY: the write only clears the timer's interrupt ("Timer Interrupt
                // Clearing").
                unsafe { asm!("csrwr {}, 0x44", inout(reg) 1 => _, options(nostack)) };
                #[cfg(feature = "smp")]
                crate::secondary::send_start();
            }
            // A sender sends a new interrupt for each later request.
            IPI => iocsr::clear_interrupts(),
            _ => {}
        }
        HANDLERS.handle(irq);
    }

    fn send_ipi(_irq: usize, target: IpiTarget) {
        axmachine::for_each_target(target, send);
    }
}

fn send(cpu_id: usize) {
    if let Some(&hart) = axmachine::inventory().harts().get(cpu_id) {
        iocsr::send_interrupt(hart);
    }
}
