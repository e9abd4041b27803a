//! Making the code that will run `main` the first hart's first thread.

use axlog::error;

/// Makes the running code the first hart's first thread. If there is no memory for that,
/// `main` cannot run, and the machine ends.
pub(crate) fn init() {
    if let Err(error) = axtask::init_hart("main") {
        error!("there is no first thread: {error:?}");
        axhal::power::exit(axhal::power::FAILED);
    }
}
