//! GICv3 (Arm Generic Interrupt Controller Architecture Specification,
//! IHI 0069): each hart has a redistributor, found by its affinity, and takes
//! its interrupts through system registers.

use core::ptr::NonNull;

use aarch64_cpu::asm::barrier;
use arm_gic::gicv3::registers::GicrSgi;
use arm_gic::gicv3::{GicCpuInterface, GicDistributor, GicRedistributor, GicRedistributorIterator};
use arm_gic::gicv3::{SgiTarget, SgiTargetGroup};
use arm_gic::{IntId, InterruptGroup, UniqueMmioPointer};
use kspin::SpinNoIrq;

use super::registers;
use crate::machine::this_hart;

const NAME: &str = "arm,gic-v3";

pub struct Driver {
    /// Held while a redistributor is used.
    regions: SpinNoIrq<Regions>,
}

/// The regions of redistributors.
struct Regions {
    count: usize,
    /// The first one's virtual address, kept since most machines have one region, and to
    /// find it in the device tree takes longer than all else here.
    first: Option<NonNull<GicrSgi>>,
}

// SAFETY: the registers are the same ones from whichever hart.
unsafe impl Send for Regions {}

impl Regions {
    fn each(&self) -> impl Iterator<Item = NonNull<GicrSgi>> {
        let others = (2..=self.count).map_while(|index| registers(NAME, index));
        self.first.into_iter().chain(others)
    }
}

impl Driver {
    /// Finds the controller and lets its distributor work.
    pub fn find() -> Option<Self> {
        let distributor = registers(NAME, 0)?;
        let tree = crate::machine::device_tree()?;
        let regions = tree.device_u32(NAME, "#redistributor-regions");
        // SAFETY: the device tree says that the distributor is there, both page
        // tables map it, and nobody else uses it, now or later.
        let distributor = unsafe { UniqueMmioPointer::new(distributor) };
        GicDistributor::new(distributor).configure_default_settings();
        Some(Self {
            regions: SpinNoIrq::new(Regions {
                count: regions.unwrap_or(1) as usize,
                first: registers(NAME, 1),
            }),
        })
    }

    pub fn init_hart(&self) {
        self.with_redistributor(&mut |mine| {
            // It may be awake already.
            let _ = mine.mark_core_awake();
            mine.configure_default_settings();
        });
        GicCpuInterface::enable_system_register_el1();
        barrier::isb(barrier::SY);
        GicCpuInterface::set_priority_mask(u8::MAX);
        GicCpuInterface::enable_group1(true);
    }

    pub fn set_enable(&self, irq: usize, enabled: bool) {
        self.with_redistributor(&mut |mine| {
            // Only an interrupt that is no hart's own is refused.
            let _ = IntId::try_from(irq as u32).map(|id| mine.enable_interrupt(id, enabled));
        });
    }

    /// Does something with the redistributor of the hart that runs this. Each region
    /// ends with one that says it is the last there.
    fn with_redistributor(&self, f: &mut dyn FnMut(&mut GicRedistributor)) {
        let regions = self.regions.lock();
        let is_mine = |one: &GicRedistributor| one.typer().core_mpidr() == this_hart() as u64;
        for first in regions.each() {
            // SAFETY: the device tree says that redistributors are there, up to the one
            // that says it is the last, and both page tables map them. The lock is held,
            // so no other hart uses them.
            let all = unsafe { GicRedistributorIterator::new(first) };
            if let Some(mut mine) = all.into_iter().flatten().find(is_mine) {
                return f(&mut mine);
            }
        }
    }
}

pub fn take(handler: impl FnOnce(usize)) {
    let group = InterruptGroup::Group1;
    GicCpuInterface::handle_interrupt(group, |id| handler(id.raw_value() as usize));
}

pub fn send(cpu_id: usize, irq: usize) {
    let Some(&hart) = axmachine::inventory().harts().get(cpu_id) else {
        return;
    };
    let target = SgiTarget::List {
        affinity3: (hart >> 32) as u8,
        affinity2: (hart >> 16) as u8,
        affinity1: (hart >> 8) as u8,
        // A cluster has at most 16 harts: they are the bits of this.
        target_list: 1 << (hart & 0xf),
    };
    let id = IntId::sgi(irq as u32);
    // Refused is only what is no call between harts.
    let _ = GicCpuInterface::send_sgi(id, target, SgiTargetGroup::CurrentGroup1);
    barrier::isb(barrier::SY);
}
