//! The console: a 16550 UART.

use core::num::NonZeroUsize;

use axplat::console::ConsoleIf;
use kspin::SpinNoIrq;
use uart_16550::Uart16550;
use uart_16550::backend::MmioBackend;

use crate::mem::phys_to_virt;

static UART: SpinNoIrq<Option<Uart16550<MmioBackend>>> = SpinNoIrq::new(None);

/// Finds the UART. Until then, and where there is none, output is dropped.
///
/// QEMU's needs no setting up.
pub fn init() {
    let found = crate::machine::device_tree().and_then(|tree| tree.console("ns16550a"));
    let Some(base) = found.and_then(|paddr| NonZeroUsize::new(phys_to_virt(paddr))) else {
        return;
    };
    // SAFETY: the device tree says that a 16550 with byte-wide registers is
    // there, both page tables map it, and only this lock's holder uses it.
    *UART.lock() = unsafe { Uart16550::new_mmio_from_address(base, 1) }.ok();
}

struct Console;

#[axplat::impl_interface]
impl ConsoleIf for Console {
    fn write_bytes(bytes: &[u8]) {
        if let Some(uart) = UART.lock().as_mut() {
            for &byte in bytes {
                if byte == b'\n' {
                    uart.send_bytes_exact(b"\r");
                }
                uart.send_bytes_exact(&[byte]);
            }
        }
    }

    fn read_bytes(bytes: &mut [u8]) -> usize {
        match UART.lock().as_mut() {
            Some(uart) => uart.receive_bytes(bytes),
            None => 0,
        }
    }
}
