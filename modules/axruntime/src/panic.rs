//! What a panic prints: the message, the place in the source, the hart, and the registers.

// Without an allocator the reason of a panic is always its message.
#[cfg(not(feature = "alloc"))]
use core::convert::identity as reason;
use core::panic::PanicInfo;

#[cfg(feature = "alloc")]
use crate::memory::reason;

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    let registers = axhal::arch::capture();
    let reason = reason(info.message());
    let details = format_args!("{registers}");
    match info.location() {
        Some(at) => axhal::power::fail(format_args!("{reason} at {at}"), details),
        None => axhal::power::fail(format_args!("{reason}"), details),
    }
}
