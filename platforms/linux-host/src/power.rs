//! Starts harts and ends the process.

use axplat::power::PowerIf;

/// Ends the process with an exit status.
pub fn exit(status: u8) -> ! {
    // SAFETY: `_exit` has no requirement. libc's buffers are unused, so no output is lost.
    unsafe { libc::_exit(status.into()) }
}

struct Power;

#[axplat::impl_interface]
impl PowerIf for Power {
    #[cfg(feature = "smp")]
    fn cpu_boot(cpu_id: usize, _stack_top_paddr: usize) {
        secondary::start(cpu_id);
    }

    fn system_off() -> ! {
        exit(0)
    }

    fn cpu_num() -> usize {
        axmachine::inventory().harts().len()
    }
}

/// Starts the harts other than the first.
#[cfg(feature = "smp")]
mod secondary {
    use core::ffi::c_void;
    use core::mem::MaybeUninit;
    use core::ptr;

    use crate::harts;

    /// Starts the thread of hart `cpu_id`. If Linux refuses, the caller's wait for the hart
    /// times out.
    pub fn start(cpu_id: usize) {
        let mut thread = MaybeUninit::uninit();
        let argument = ptr::without_provenance_mut(cpu_id);
        // SAFETY: `thread` has space for the thread's id, and `begin` takes this argument.
        unsafe { libc::pthread_create(thread.as_mut_ptr(), ptr::null(), begin, argument) };
    }

    extern "C" fn begin(cpu_id: *mut c_void) -> *mut c_void {
        let cpu_id = cpu_id.addr();
        if !crate::ram::map_stack(cpu_id) || !harts::register_hart(cpu_id) {
            return ptr::null_mut();
        }
        let top = axconfig::hart_stack(cpu_id).end;
        // SAFETY: `map_stack` has mapped the stack of this hart, which no other thread uses.
        unsafe { harts::continue_on_stack(top, cpu_id, secondary) }
    }

    extern "C" fn secondary(cpu_id: usize) -> ! {
        axplat::call_secondary_main(cpu_id)
    }
}
