//! The console: a 16550 UART.

use axmachine::{MmioBackend, Serial, phys_to_virt};
use axplat::console::ConsoleIf;

static UART: Serial<MmioBackend> = Serial::unconnected();

/// Finds the UART, whose line the firmware has set up. Output is dropped before that, and on
/// a machine without a UART.
pub fn init() {
    let tree = crate::firmware::device_tree();
    if let Some(paddr) = tree.and_then(|tree| tree.console("ns16550a")) {
        // SAFETY: the device tree says that a 16550 with byte-wide registers is at this
        // address. Both page tables map it, and only `UART` accesses it.
        unsafe { UART.connect_at(phys_to_virt(paddr)) };
    }
}

struct Console;

#[axplat::impl_interface]
impl ConsoleIf for Console {
    fn write_bytes(bytes: &[u8]) {
        UART.write(bytes);
    }

    fn read_bytes(bytes: &mut [u8]) -> usize {
        UART.read(bytes)
    }
}
