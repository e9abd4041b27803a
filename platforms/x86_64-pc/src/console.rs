//! The console: the PC's first serial port, a 16550 UART.

use axmachine::{PioBackend, Serial};
use axplat::console::ConsoleIf;
use uart_16550::{Config, Uart16550};

/// The I/O port of COM1.
const COM1: u16 = 0x3f8;

static UART: Serial<PioBackend> = Serial::unconnected();

/// Sets up the UART. Output is dropped before that, and on a machine without a UART.
pub fn init() {
    // SAFETY: on a PC these ports belong to the UART or are unused. Only `UART` accesses them.
    let uart = unsafe { Uart16550::new_port(COM1) };
    if let Ok(mut uart) = uart
        && uart.init(Config::default()).is_ok()
    {
        UART.connect(uart);
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
