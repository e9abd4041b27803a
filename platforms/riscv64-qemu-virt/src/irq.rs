//! Interrupts that a hart has of its own: the timer, and other harts.
//!
//! Interrupt numbers are those of `scause` (RISC-V Privileged Architecture,
//! "Supervisor Cause Register"). External interrupts, which come through the
//! PLIC, have no user yet: they stay masked.

use axplat::irq::{HandlerTable, IpiTarget, IrqHandler, IrqIf};
use riscv::register::{sie, sip};

/// Supervisor software interrupt: another hart asks for attention.
const SOFTWARE: usize = 1;
/// Supervisor timer interrupt.
const TIMER: usize = 5;

static HANDLERS: HandlerTable<16> = HandlerTable::new();

/// Lets this hart's own interrupts through.
pub fn init_hart() {
    // No deadline is set until someone asks for one.
    sbi_rt::set_timer(u64::MAX);
    // SAFETY: the trap vector is set before `init_later`, and the handlers of
    // both are found in `HANDLERS`; interrupts as a whole are still off.
    unsafe {
        sie::set_ssoft();
        sie::set_stimer();
    }
}

struct Irq;

#[axplat::impl_interface]
impl IrqIf for Irq {
    fn set_enable(irq: usize, enabled: bool) {
        let mask = match irq {
            SOFTWARE | TIMER => 1usize << irq,
            _ => return,
        };
        // SAFETY: only bits of interrupts that `handle` knows are changed.
        unsafe {
            match enabled {
                true => core::arch::asm!("csrs sie, {}", in(reg) mask, options(nomem, nostack)),
                false => core::arch::asm!("csrc sie, {}", in(reg) mask, options(nomem, nostack)),
            }
        }
    }

    fn register(irq: usize, handler: IrqHandler) -> bool {
        HANDLERS.register_handler(irq, handler)
    }

    fn unregister(irq: usize) -> Option<IrqHandler> {
        HANDLERS.unregister_handler(irq)
    }

    fn handle(irq: usize) {
        match irq {
            // SAFETY: clearing one's own pending bit; the sender sets it again
            // for whatever it asks after this.
            SOFTWARE => unsafe { sip::clear_ssoft() },
            // The deadline is past: without a new one the interrupt would stay.
            TIMER => drop(sbi_rt::set_timer(u64::MAX)),
            _ => {}
        }
        HANDLERS.handle(irq);
    }

    fn send_ipi(_irq: usize, target: IpiTarget) {
        axmachine::for_each_target(target, send);
    }
}

/// Each hart is named by a mask of its own, so that any hardware id works.
fn send(cpu_id: usize) {
    if let Some(&hart) = axmachine::inventory().harts().get(cpu_id) {
        sbi_rt::send_ipi(sbi_rt::HartMask::from_mask_base(1, hart));
    }
}
