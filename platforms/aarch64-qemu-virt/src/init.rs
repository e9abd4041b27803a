//! The order in which devices are initialized.

use axplat::init::InitIf;

struct Init;

#[axplat::impl_interface]
impl InitIf for Init {
    fn init_early(_cpu_id: usize, _device_tree: usize) {
        crate::power::init();
        crate::console::init();
    }

    fn init_later(_cpu_id: usize, _device_tree: usize) {
        #[cfg(feature = "irq")]
        {
            crate::gic::init();
            crate::irq::init_hart(_cpu_id);
        }
    }

    #[cfg(feature = "smp")]
    fn init_early_secondary(_cpu_id: usize) {}

    #[cfg(feature = "smp")]
    fn init_later_secondary(cpu_id: usize) {
        crate::irq::init_hart(cpu_id);
    }
}
