//! The order in which devices are initialized.

use axplat::init::InitIf;

struct Init;

#[axplat::impl_interface]
impl InitIf for Init {
    fn init_early(_cpu_id: usize, _start_info: usize) {
        crate::power::init();
        crate::console::init();
        crate::time::init();
    }

    fn init_later(_cpu_id: usize, _start_info: usize) {
        #[cfg(feature = "irq")]
        crate::irq::init_primary();
    }

    #[cfg(feature = "smp")]
    fn init_early_secondary(_cpu_id: usize) {}

    #[cfg(feature = "smp")]
    fn init_later_secondary(_cpu_id: usize) {
        crate::irq::init_hart();
    }
}
