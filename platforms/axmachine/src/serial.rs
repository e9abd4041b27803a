//! A 16550 UART as the console.

use core::num::NonZeroUsize;

use kspin::SpinNoIrq;
use uart_16550::Uart16550;
use uart_16550::backend::{Backend, MmioBackend};

/// A serial line, which may turn out not to be there: what is written then is
/// dropped.
pub struct Serial<B: Backend>(SpinNoIrq<Option<Uart16550<B>>>);

impl<B: Backend> Serial<B> {
    /// A line that has not been found yet.
    pub const fn unconnected() -> Self {
        Self(SpinNoIrq::new(None))
    }

    /// Uses `uart` from now on, as it is set up.
    pub fn connect(&self, uart: Uart16550<B>) {
        *self.0.lock() = Some(uart);
    }

    /// Writes all of `bytes` in one piece, each line's end with a carriage
    /// return before it.
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

    /// Reads what has come, without waiting; how many bytes.
    pub fn read(&self, bytes: &mut [u8]) -> usize {
        match self.0.lock().as_mut() {
            Some(uart) => uart.receive_bytes(bytes),
            None => 0,
        }
    }
}

impl Serial<MmioBackend> {
    /// Uses the UART whose registers, a byte each, are mapped from `vaddr` on, as
    /// the firmware has set it up.
    ///
    /// # Safety
    ///
    /// It is there and stays mapped, and nobody else uses it.
    pub unsafe fn connect_at(&self, vaddr: usize) {
        let Some(base) = NonZeroUsize::new(vaddr) else {
            return;
        };
        // SAFETY: the caller's promise is this function's requirement.
        if let Ok(uart) = unsafe { Uart16550::new_mmio_from_address(base, 1) } {
            self.connect(uart);
        }
    }
}
