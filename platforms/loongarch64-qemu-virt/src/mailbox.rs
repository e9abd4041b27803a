//! Writes to the hardware mailboxes of harts, which hold their start address and stack.

use axmachine::HartId;

use crate::iocsr::BLOCKING;

const SEND_MAIL: usize = 0x1048;

/// Writes `value` to a mailbox of `hart`. The upper half is written first, because the
/// receiver waits for the lower half.
pub fn send(hart: HartId, mailbox: u64, value: usize) {
    for half in [1, 0] {
        let data = (value as u64) >> (32 * half) << 32;
        let message = data | BLOCKING | (hart as u64) << 16 | (2 * mailbox + half) << 2;
        // SAFETY: only a hart that waits to be started reads its mailboxes.
        unsafe {
            core::arch::asm!("iocsrwr.d {}, {}", in(reg) message, in(reg) SEND_MAIL, options(nostack))
        };
    }
}
