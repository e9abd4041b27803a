//! GICv2 (Arm Generic Interrupt Controller Architecture Specification,
//! IHI 0048): up to eight harts, each of which sees its own bank of registers
//! at the same addresses.
//!
//! Not `arm-gic`'s driver: that one is for one user at a time, so harts would
//! queue for a lock at every interrupt. The few registers used here are a hart's
//! own, or are written whole.

use core::sync::atomic::{AtomicU8, Ordering};

use axconfig::MAX_HARTS;

use super::registers;

/// Registers of the distributor, at these offsets.
mod gicd {
    pub const CTLR: usize = 0x000;
    pub const ISENABLER0: usize = 0x100;
    pub const ICENABLER0: usize = 0x180;
    pub const ITARGETSR0: usize = 0x800;
    pub const SGIR: usize = 0xf00;
}

/// Registers of the CPU interface.
mod gicc {
    pub const CTLR: usize = 0x000;
    pub const PMR: usize = 0x004;
    pub const IAR: usize = 0x00c;
    pub const EOIR: usize = 0x010;
}

/// The number in what `IAR` says; beside it stands which hart called.
const NUMBER: u32 = 0x3ff;
/// From this number on it says that no interrupt is pending.
const NONE: u32 = 1020;

pub struct Driver {
    distributor: Registers,
    interface: Registers,
    /// One bit for each hart, as the controller knows it.
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
        // SAFETY: the device tree says that the registers are there, both page
        // tables map them, and the offsets above lie in them.
        unsafe { ((self.0 + offset) as *const u32).read_volatile() }
    }

    fn write(&self, offset: usize, value: u32) {
        // SAFETY: as in `read`.
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
        // A hart's own interrupts have itself for a target.
        let me = self.distributor.read(gicd::ITARGETSR0) as u8;
        self.targets[cpu_id].store(me, Ordering::Release);
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
        if taken & NUMBER < NONE {
            handler((taken & NUMBER) as usize);
            self.interface.write(gicc::EOIR, taken);
        }
    }

    pub fn send(&self, cpu_id: usize, irq: usize) {
        let target = self.targets[cpu_id].load(Ordering::Acquire);
        let call = u32::from(target) << 16 | irq as u32;
        self.distributor.write(gicd::SGIR, call);
    }
}
