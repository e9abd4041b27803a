//! The console: a PL011 UART.

use core::ptr::NonNull;

use arm_pl011_uart::{DataBits, LineConfig, PL011Registers, Parity, StopBits};
use arm_pl011_uart::{Uart, UniqueMmioPointer};
use axmachine::phys_to_virt;
use axplat::console::ConsoleIf;
use kspin::SpinNoIrq;

static UART: SpinNoIrq<Option<Uart<'static>>> = SpinNoIrq::new(None);

const BITS_PER_SECOND: u32 = 115_200;
const LINE: LineConfig = LineConfig {
    data_bits: DataBits::Bits8,
    parity: Parity::None,
    stop_bits: StopBits::One,
};
/// The rate of the UART's clock in QEMU, for a device tree without the rate.
const DEFAULT_HZ: u32 = 24_000_000;

/// Finds the UART and sets up its line, since QEMU has no firmware that does it. Output is
/// dropped before that, and on a machine without a UART.
pub fn init() {
    let Some(tree) = crate::firmware::device_tree() else {
        return;
    };
    let base = tree.console("arm,pl011").map(phys_to_virt);
    let Some(base) = base.and_then(|base| NonNull::new(base as *mut PL011Registers)) else {
        return;
    };
    // SAFETY: the device tree says that a PL011 is at this address, and both page tables map
    // it. Only the holder of `UART`'s lock accesses it.
    let mut uart = Uart::new(unsafe { UniqueMmioPointer::new(base) });
    let clock = tree
        .u32("/apb-pclk", "clock-frequency")
        .unwrap_or(DEFAULT_HZ);
    // If the clock does not allow the rate, the line keeps its settings.
    let _ = uart.enable(LINE, BITS_PER_SECOND, clock);
    *UART.lock() = Some(uart);
}

struct Console;

#[axplat::impl_interface]
impl ConsoleIf for Console {
    fn write_bytes(bytes: &[u8]) {
        if let Some(uart) = UART.lock().as_mut() {
            for &byte in bytes {
                if byte == b'\n' {
                    send(uart, b'\r');
                }
                send(uart, byte);
            }
        }
    }

    fn read_bytes(bytes: &mut [u8]) -> usize {
        let mut uart = UART.lock();
        // A damaged byte is lost and ends the read.
        let mut received = || uart.as_mut()?.read_word().ok()?;
        let mut count = 0;
        while let Some(slot) = bytes.get_mut(count)
            && let Some(byte) = received()
        {
            *slot = byte;
            count += 1;
        }
        count
    }
}

fn send(uart: &mut Uart, byte: u8) {
    while uart.is_tx_fifo_full() {
        core::hint::spin_loop();
    }
    uart.write_word(byte);
}
