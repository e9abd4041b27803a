//! The GICv2 (Arm Generic Interrupt Controller Architecture Specification, IHI 0048). It has up
//! to eight harts, and each sees its own bank of registers at the same addresses.
//!
//! The driver of the crate `arm-gic` needs exclusive access, so harts would wait for a lock at
//! each interrupt. The registers used here need no lock: a hart has its own bank of them, or
//! one write sets the whole register.

use core::sync::atomic::{AtomicU8, Ordering};

use axconfig::MAX_HARTS;

use super::registers;

/// Byte offsets of the distributor's registers.
mod gicd {
    pub const CTLR: usize = 0x000;
    pub const ISENABLER0: usize = 0x100;
    pub const ICENABLER0: usize = 0x180;
    pub const ITARGETSR0: usize = 0x800;
    pub const SGIR: usize = 0xf00;
}

/// Byte offsets of the CPU interface's registers.
mod gicc {
    pub const CTLR: usize = 0x000;
    pub const PMR: usize = 0x004;
    pub const IAR: usize = 0x00c;
    pub const EOIR: usize = 0x010;
}

/// The bits of `IAR` with the interrupt's number. Other bits are the number of the sender.
const NUMBER: u32 = 0x3ff;
/// The lowest number in `IAR` that means that no interrupt is pending.
const NO_INTERRUPT: u32 = 1020;

pub struct Driver {
    distributor: Registers,
    interface: Registers,
    /// The controller's bit for each hart. The index is the kernel's number of the hart.
    targets: [AtomicU8; MAX_HARTS],
}

/// The virtual address of a range of 32-bit registers.
struct Registers(usize);

impl Registers {
    fn find(index: usize) -> Option<Self> {
        let first = registers::<u32>("arm,cortex-a15-gic", index)?;
        Some(Self(first.as_ptr() as usize))
    }

    fn read(&self, offset: usize) -> u32 {
        // SAFETY: the device tree says that the registers are at this address, and both page
        // tables map them. The offsets above are inside the range.
        unsafe { ((self.0 + offset) as *const u32).read_volatile() }
    }

    fn write(&self, offset: usize, value: u32) {
        // SAFETY: the device tree says that the registers are at this address, and both page
        // tables map them. The offsets above are inside the range.
        unsafe { ((self.0 + offset) as *mut u32).write_volatile(value) };
    }
}

impl Driver {
    pub fn find() -> Option<Self> {
        Some(Self {
            distributor: Registers::find(0)?,
            interface: Registers::find(1)?,
            targets: [const { AtomicU8::new(0) }; MAX_HARTS],
        })
    }

    pub fn init_hart(&self, cpu_id: usize) {
        self.distributor.write(gicd::CTLR, 1);
        // The target of a hart's own interrupts reads as the bit of the calling hart.
        let own_bit = self.distributor.read(gicd::ITARGETSR0) as u8;
        // Release: pairs with the acquire in `send` on another hart.
        self.targets[cpu_id].store(own_bit, Ordering::Release);
        self.distributor.write(gicd::ICENABLER0, u32::MAX);
        self.interface.write(gicc::PMR, 0xff);
        self.interface.write(gicc::CTLR, 1);
    }

    pub fn set_enable(&self, irq: usize, enabled: bool) {
        let register = match enabled {
            true => gicd::ISENABLER0,
            false => gicd::ICENABLER0,
        };
        self.distributor.write(register, 1 << irq);
    }

    pub fn take(&self, handler: impl FnOnce(usize)) {
        let taken = self.interface.read(gicc::IAR);
        if taken & NUMBER < NO_INTERRUPT {
            handler((taken & NUMBER) as usize);
            self.interface.write(gicc::EOIR, taken);
        }
    }

    pub fn send(&self, cpu_id: usize, irq: usize) {
        // Acquire: pairs with the release in `init_hart` of the target.
        let target = self.targets[cpu_id].load(Ordering::Acquire);
        let request = u32::from(target) << 16 | irq as u32;
        self.distributor.write(gicd::SGIR, request);
    }
}
