//! Interrupts that a hart has of its own: the timer, and other harts.
//!
//! Interrupt numbers are the bits of `ESTAT.IS` ("Exception Status"). Those of
//! devices, which come through the extended I/O interrupt controller, have no
//! user yet: they stay masked.

use core::arch::asm;

use axplat::irq::{HandlerTable, IpiTarget, IrqHandler, IrqIf};

use crate::iocsr;

/// The timer has reached zero.
const TIMER: usize = 11;
/// Another hart asks for attention.
const IPI: usize = 12;

static HANDLERS: HandlerTable<13> = HandlerTable::new();

/// Lets this hart's own interrupts through.
pub fn init_hart() {
    // What the boot ROM was woken by has been answered.
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
        let lie = if enabled { mask } else { 0 };
        // SAFETY: only bits of `ECFG.LIE` ("Exception Configuration") are changed,
        // and only those of interrupts that `handle` knows.
        unsafe {
            asm!("csrxchg {}, $t0, 0x4", inout(reg) lie => _, in("$t0") mask, options(nostack))
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
                // SAFETY: it makes the timer's interrupt end ("Timer Interrupt
                // Clearing"), and nothing else.
                unsafe { asm!("csrwr {}, 0x44", inout(reg) 1 => _, options(nostack)) };
                #[cfg(feature = "smp")]
                crate::secondary::call_again();
            }
            // The sender sends again for whatever it asks after this.
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
