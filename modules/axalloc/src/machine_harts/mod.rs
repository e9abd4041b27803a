//! The harts of the machine that this runs on: those of axhal, or the threads of a plain
//! process.

#[cfg(feature = "hal")]
mod kernel;
#[cfg(not(feature = "hal"))]
mod threads;

#[cfg(feature = "hal")]
pub(crate) use kernel::{MachineHarts, install_cache};
#[cfg(not(feature = "hal"))]
pub(crate) use threads::MachineHarts;
