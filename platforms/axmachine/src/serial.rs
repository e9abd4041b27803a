//! A 16550 UART as the console.

use core::num::NonZeroUsize;

use kspin::SpinNoIrq;
use uart_16550::Uart16550;
use uart_16550::backend::{Backend, MmioBackend};

/// The console on a 16550 UART. Output is dropped until a UART is connected.
pub struct Serial<B: Backend>(SpinNoIrq<Option<Uart16550<B>>>);

impl<B: Backend> Serial<B> {
    /// Returns a console without a UART.
    pub const fn unconnected() -> Self {
        Self(SpinNoIrq::new(None))
    }

    /// Uses `uart` from now on. Its line settings stay as they are.
    pub fn connect(&self, uart: Uart16550<B>) {
        *self.0.lock() = Some(uart);
    }

    /// Writes all of `bytes`, with a carriage return before each newline. Writes of other
    /// harts come before or after, not in between.
    pub fn write(&self, bytes: &[u8]) {
        if let Some(uart) = self.0.lock().as_mut() {
            for &byte in bytes {
                if byte == b'\n' {
                    uart.send_bytes_exact(b"\r");
                }
                uart.send_bytes_exact(&[byte]);
            }
        }
    }

    /// Reads the bytes that have been received, without waiting. Returns how many they are.
    pub fn read(&self, bytes: &mut [u8]) -> usize {
        match self.0.lock().as_mut() {
            Some(uart) => uart.receive_bytes(bytes),
            None => 0,
        }
    }
}

impl Serial<MmioBackend> {
    /// Uses the UART whose byte-wide registers are mapped at `vaddr`. Its line settings stay
    /// as firmware has set them.
    ///
    /// # Safety
    ///
    /// The registers of a 16550 UART must be mapped at `vaddr` for as long as the kernel
    /// runs, and only this console may access them.
    pub unsafe fn connect_at(&self, vaddr: usize) {
        let Some(base) = NonZeroUsize::new(vaddr) else {
            return;
        };
        // SAFETY: the caller promises that a 16550 with byte-wide registers stays mapped at
        // `base`, for the use of this console only.
        if let Ok(uart) = unsafe { Uart16550::new_mmio_from_address(base, 1) } {
            self.connect(uart);
        }
    }
}
