//! The first hart's first thread is `main`.

use axlog::error;

/// Makes what runs this a thread. Without memory for that there is nobody to run `main`:
/// the machine ends.
pub fn init() {
    if let Err(error) = axtask::init_hart("main") {
        error!("there is no first thread: {error:?}");
        axhal::power::exit(axhal::power::FAILED);
    }
}
