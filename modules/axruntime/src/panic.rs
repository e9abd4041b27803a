//! What a panic prints: what, where, which hart, and the registers.

use core::panic::PanicInfo;

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    let registers = axhal::arch::capture();
    match info.location() {
        Some(at) => axhal::trap::report(&registers, format_args!("{} at {at}", info.message())),
        None => axhal::trap::report(&registers, format_args!("{}", info.message())),
    }
    axhal::power::exit(axhal::trap::FAILED)
}
