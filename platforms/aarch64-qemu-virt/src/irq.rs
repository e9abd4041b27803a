//! Interrupts that a hart has of its own: the timer, and other harts.
//!
//! Interrupt numbers are the interrupt controller's. Shared peripheral
//! interrupts have no user yet: they stay masked.

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{CNTV_CTL_EL0, CNTV_CVAL_EL0, Writeable};
use axplat::irq::{HandlerTable, IpiTarget, IrqHandler, IrqIf};

use crate::gic;

/// The software-generated interrupt by which another hart asks for attention.
const SOFTWARE: usize = 0;
/// The virtual timer's private peripheral interrupt, the same on every machine
/// that follows Arm's Base System Architecture.
const TIMER: usize = 27;

static HANDLERS: HandlerTable<32> = HandlerTable::new();

/// Lets the own interrupts of hart `cpu_id`, which runs this, through.
pub fn init_hart(cpu_id: usize) {
    // No deadline is set until someone asks for one.
    stop_timer();
    gic::init_hart(cpu_id);
    gic::set_enable(SOFTWARE, true);
    gic::set_enable(TIMER, true);
}

/// Interrupts this hart when the counter has come to `ticks`.
pub fn set_deadline(ticks: u64) {
    CNTV_CVAL_EL0.set(ticks);
    CNTV_CTL_EL0.write(CNTV_CTL_EL0::ENABLE::SET);
}

fn stop_timer() {
    CNTV_CTL_EL0.set(0);
    // The interrupt is gone before anything looks whether it is.
    barrier::isb(barrier::SY);
}

struct Irq;

#[axplat::impl_interface]
impl IrqIf for Irq {
    fn set_enable(irq: usize, enabled: bool) {
        if matches!(irq, SOFTWARE | TIMER) {
            gic::set_enable(irq, enabled);
        }
    }

    fn register(irq: usize, handler: IrqHandler) -> bool {
        HANDLERS.register_handler(irq, handler)
    }

    fn unregister(irq: usize) -> Option<IrqHandler> {
        HANDLERS.unregister_handler(irq)
    }

    /// The number is not in `_irq`: the interrupt controller tells it.
    fn handle(_irq: usize) {
        gic::take(|irq| {
            if irq == TIMER {
                // The deadline is past: without this the interrupt would stay.
                stop_timer();
            }
            HANDLERS.handle(irq);
        });
    }

    fn send_ipi(_irq: usize, target: IpiTarget) {
        axmachine::for_each_target(target, |cpu| gic::send(cpu, SOFTWARE));
    }
}
