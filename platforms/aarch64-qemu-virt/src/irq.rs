//! Interrupts of a single hart: its timer, and interrupts from other harts.
//!
//! Interrupt numbers are those of the interrupt controller. Shared peripheral interrupts stay
//! masked, since no driver uses them yet.

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{CNTV_CTL_EL0, CNTV_CVAL_EL0, Writeable};
use axplat::irq::{HandlerTable, IpiTarget, IrqHandler, IrqIf};

use crate::gic;

/// The software-generated interrupt that other harts send.
const SOFTWARE: usize = 0;
/// The private peripheral interrupt of the virtual timer. Arm's Base System Architecture
/// assigns the number.
const TIMER: usize = 27;

static HANDLERS: HandlerTable<32> = HandlerTable::new();

/// Enables the timer's interrupt and those from other harts on the calling hart, `cpu_id`.
pub fn init_hart(cpu_id: usize) {
    // The timer stays off until `set_deadline`.
    stop_timer();
    gic::init_hart(cpu_id);
    gic::set_enable(SOFTWARE, true);
    gic::set_enable(TIMER, true);
}

/// Sets this hart's timer to interrupt when the counter reaches `ticks`.
pub fn set_deadline(ticks: u64) {
    CNTV_CVAL_EL0.set(ticks);
    CNTV_CTL_EL0.write(CNTV_CTL_EL0::ENABLE::SET);
}

fn stop_timer() {
    CNTV_CTL_EL0.set(0);
    // After this barrier the interrupt is no longer pending.
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

    /// Handles the pending interrupt. Its number comes from the interrupt controller, not from
    /// `_irq`.
    fn handle(_irq: usize) {
        gic::take(|irq| {
            if irq == TIMER {
                // The deadline is past. Until the timer is stopped the interrupt stays pending.
                stop_timer();
            }
            HANDLERS.handle(irq);
        });
    }

    fn send_ipi(_irq: usize, target: IpiTarget) {
        axmachine::for_each_target(target, |cpu| gic::send(cpu, SOFTWARE));
    }
}
