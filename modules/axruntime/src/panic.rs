//! What a panic prints: what, where, which hart, and the registers.

#[cfg(not(feature = "alloc"))]
use core::convert::identity as reason;
use core::panic::PanicInfo;

#[cfg(feature = "alloc")]
use crate::memory::reason;

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    let registers = axhal::arch::capture();
    let reason = reason(info.message());
    match info.location() {
        Some(at) => axhal::trap::report(&registers, format_args!("{reason} at {at}")),
        None => axhal::trap::report(&registers, format_args!("{reason}")),
    }
    axhal::power::exit(axhal::trap::FAILED)
}
