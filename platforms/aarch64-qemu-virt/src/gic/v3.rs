//! The GICv3 (Arm Generic Interrupt Controller Architecture Specification, IHI 0069). Each hart
//! has a redistributor, which is found by the hart's affinity. A hart takes interrupts through
//! system registers.

use core::ptr::NonNull;

use aarch64_cpu::asm::barrier;
use arm_gic::gicv3::registers::GicrSgi;
use arm_gic::gicv3::{GicCpuInterface, GicDistributor, GicRedistributor, GicRedistributorIterator};
use arm_gic::gicv3::{SgiTarget, SgiTargetGroup};
use arm_gic::{IntId, InterruptGroup, UniqueMmioPointer};
use kspin::SpinNoIrq;

use super::registers;
use crate::firmware::this_hart_id;

const NAME: &str = "arm,gic-v3";

pub struct Driver {
    /// The lock is held while a redistributor is accessed.
    regions: SpinNoIrq<Regions>,
}

/// The regions of redistributors.
struct Regions {
    count: usize,
    /// The virtual address of the first region. Most machines have only this region, and the
    /// search in the device tree would take longer than all other work here.
    first: Option<NonNull<GicrSgi>>,
}

// SAFETY: the registers have the same addresses on each hart.
unsafe impl Send for Regions {}

impl Regions {
    /// Returns the virtual address of each region.
    fn iter(&self) -> impl Iterator<Item = NonNull<GicrSgi>> {
        let others = (2..=self.count).map_while(|index| registers(NAME, index));
        self.first.into_iter().chain(others)
    }
}

impl Driver {
    /// Finds the controller and enables its distributor.
    pub fn find() -> Option<Self> {
        let distributor = registers(NAME, 0)?;
        let tree = crate::firmware::device_tree()?;
        let regions = tree.device_u32(NAME, "#redistributor-regions");
        // SAFETY: the device tree says that the distributor is at this address, and both page
        // tables map it. Only this function accesses it, and it is called once.
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
            // This fails if the redistributor is awake already.
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
            // This fails only for the number of an interrupt that harts share.
            let _ = IntId::try_from(irq as u32).map(|id| mine.enable_interrupt(id, enabled));
        });
    }

    /// Calls `f` with the redistributor of the calling hart. The last redistributor of each
    /// region is marked as the last.
    fn with_redistributor(&self, f: &mut dyn FnMut(&mut GicRedistributor)) {
        let regions = self.regions.lock();
        let is_mine = |redistributor: &GicRedistributor| {
            redistributor.typer().core_mpidr() == this_hart_id() as u64
        };
        for first in regions.iter() {
            // SAFETY: the device tree says that redistributors begin at this address. The
            // iterator stops at the one that is marked as the last, and both page tables map
            // them. The lock is held, so no other hart accesses them.
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
        // A cluster has at most 16 harts. Each has a bit of the list.
        target_list: 1 << (hart & 0xf),
    };
    let id = IntId::sgi(irq as u32);
    // This fails only for a number that is no software-generated interrupt.
    let _ = GicCpuInterface::send_sgi(id, target, SgiTargetGroup::CurrentGroup1);
    barrier::isb(barrier::SY);
}
