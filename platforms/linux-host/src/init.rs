//! The initialization of devices: empty, since Linux has done it.

use axplat::init::InitIf;

struct Init;

#[axplat::impl_interface]
impl InitIf for Init {
    fn init_early(_cpu_id: usize, _arg: usize) {}

    fn init_later(_cpu_id: usize, _arg: usize) {}

    #[cfg(feature = "smp")]
    fn init_early_secondary(_cpu_id: usize) {}

    #[cfg(feature = "smp")]
    fn init_later_secondary(_cpu_id: usize) {}
}
