//! Starting harts, and the end.

use axplat::power::PowerIf;

/// Ends the process.
pub fn exit(status: u8) -> ! {
    // SAFETY: it has no requirement; nothing of libc's is left to be written.
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

/// Every hart but the first.
#[cfg(feature = "smp")]
mod secondary {
    use core::ffi::c_void;
    use core::mem::MaybeUninit;
    use core::ptr;

    /// Starts a thread. One that Linux does not start is a hart that does not
    /// answer.
    pub fn start(cpu_id: usize) {
        let mut thread = MaybeUninit::uninit();
        let argument = ptr::without_provenance_mut(cpu_id);
        // SAFETY: there is room for the thread's name, which nobody needs.
        unsafe { libc::pthread_create(thread.as_mut_ptr(), ptr::null(), begin, argument) };
    }

    extern "C" fn begin(cpu_id: *mut c_void) -> *mut c_void {
        let cpu_id = cpu_id.addr();
        if !crate::ram::map_stack(cpu_id) || !crate::harts::sit_down(cpu_id) {
            return ptr::null_mut();
        }
        // SAFETY: the stack is mapped, and only this hart's.
        unsafe { crate::boot::go_on(axconfig::hart_stack(cpu_id).end, cpu_id, secondary) }
    }

    extern "C" fn secondary(cpu_id: usize) -> ! {
        axplat::call_secondary_main(cpu_id)
    }
}
