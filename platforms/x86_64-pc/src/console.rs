//! The console: the PC's first serial port, a 16550 UART.

use axplat::console::ConsoleIf;
use kspin::SpinNoIrq;
use uart_16550::backend::PioBackend;
use uart_16550::{Config, Uart16550};

/// The I/O port of COM1.
const COM1: u16 = 0x3f8;

static UART: SpinNoIrq<Option<Uart16550<PioBackend>>> = SpinNoIrq::new(None);

/// Sets the line up. Until then, and where there is no UART, output is dropped.
pub fn init() {
    // SAFETY: on a PC these ports are the UART's, or nobody's; only this lock's
    // holder uses them.
    let mut uart = unsafe { Uart16550::new_port(COM1) }.ok();
    if uart
        .as_mut()
        .is_some_and(|uart| uart.init(Config::default()).is_ok())
    {
        *UART.lock() = uart;
    }
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
