//! The console: a 16550 UART.

use axmachine::{MmioBackend, Serial, phys_to_virt};
use axplat::console::ConsoleIf;

static UART: Serial<MmioBackend> = Serial::unconnected();

/// Finds the UART, which on QEMU needs no setting up. Until then, and where there
/// is none, output is dropped.
pub fn init() {
    let tree = crate::machine::device_tree();
    if let Some(paddr) = tree.and_then(|tree| tree.console("ns16550a")) {
        // SAFETY: the device tree says that a 16550 with byte-wide registers is
        // there, both page tables map it, and only `UART` uses it.
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
