//! Interrupts of a single hart: its timer, and interrupts from other harts.
//!
//! Interrupt numbers are those of `scause` (RISC-V Privileged Architecture, "Supervisor
//! Cause Register"). External interrupts come through the PLIC. They stay masked, since no
//! driver uses them yet.

use axplat::irq::{HandlerTable, IpiTarget, IrqHandler, IrqIf};
use riscv::register::{sie, sip};

/// The supervisor software interrupt, which other harts send.
const SOFTWARE: usize = 1;
/// The supervisor timer interrupt.
const TIMER: usize = 5;

static HANDLERS: HandlerTable<16> = HandlerTable::new();

/// Unmasks the timer and software interrupts of this hart.
pub fn init_hart() {
    // The timer stays off until `set_oneshot_timer`.
    sbi_rt::set_timer(u64::MAX);
    // SAFETY: the trap vector is set before `init_later`, and `handle` knows both
    // interrupts. `sstatus.SIE` is still off.
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
        // SAFETY: `mask` has only bits of interrupts that `handle` knows.
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
            // SAFETY: this clears only the pending bit of this hart. A sender sets it again
            // for each later request.
            SOFTWARE => unsafe { sip::clear_ssoft() },
            // The deadline is past. Until it is changed the interrupt stays pending.
            TIMER => drop(sbi_rt::set_timer(u64::MAX)),
            _ => {}
        }
        HANDLERS.handle(irq);
    }

    fn send_ipi(_irq: usize, target: IpiTarget) {
        axmachine::for_each_target(target, send);
    }
}

/// Sends a software interrupt to hart `cpu_id`. The mask has a single hart, so that any
/// hardware id fits.
fn send(cpu_id: usize) {
    if let Some(&hart) = axmachine::inventory().harts().get(cpu_id) {
        sbi_rt::send_ipi(sbi_rt::HartMask::from_mask_base(1, hart));
    }
}
