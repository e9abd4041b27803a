//! The harts that an inter-processor interrupt is for.

use axplat::irq::IpiTarget;

/// Calls `send` with the kernel's number of each hart in `target`.
pub fn for_each_target(target: IpiTarget, send: impl Fn(usize)) {
    match target {
        IpiTarget::Current { cpu_id } | IpiTarget::Other { cpu_id } => send(cpu_id),
        IpiTarget::AllExceptCurrent { cpu_id, cpu_num } => {
            (0..cpu_num).filter(|&cpu| cpu != cpu_id).for_each(send);
        }
    }
}
