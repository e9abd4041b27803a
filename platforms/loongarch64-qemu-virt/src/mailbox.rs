//! Each hart's mailboxes, in which it finds where to start.

use axmachine::HartId;

use crate::iocsr::BLOCKING;

const SEND_MAIL: usize = 0x1048;

/// Puts `value` into one of `hart`'s mailboxes: the upper half first, for the
/// receiver looks at the lower.
pub fn send(hart: HartId, mailbox: u64, value: usize) {
    for half in [1, 0] {
        let data = (value as u64) >> (32 * half) << 32;
        let message = data | BLOCKING | (hart as u64) << 16 | (2 * mailbox + half) << 2;
        // SAFETY: a mailbox is read only by a hart that waits to be started.
        unsafe {
            core::arch::asm!("iocsrwr.d {}, {}", in(reg) message, in(reg) SEND_MAIL, options(nostack))
        };
    }
}
