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
    fn cpu_boot(cpu_id: usize, stack_top_paddr: usize) {
        secondary::start(cpu_id, stack_top_paddr + axconfig::PHYS_VIRT_OFFSET);
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
    use core::sync::atomic::AtomicUsize;
    use core::sync::atomic::Ordering::Relaxed;

    use axconfig::MAX_HARTS;

    /// The end of each hart's stack.
    static STACKS: [AtomicUsize; MAX_HARTS] = [const { AtomicUsize::new(0) }; MAX_HARTS];

    /// Starts a thread. One that Linux does not start is a hart that does not
    /// answer.
    pub fn start(cpu_id: usize, stack_top: usize) {
        STACKS[cpu_id].store(stack_top, Relaxed);
        let mut thread = MaybeUninit::uninit();
        let argument = ptr::without_provenance_mut(cpu_id);
        // SAFETY: there is room for the thread's name, which nobody needs.
        unsafe { libc::pthread_create(thread.as_mut_ptr(), ptr::null(), begin, argument) };
    }

    extern "C" fn begin(cpu_id: *mut c_void) -> *mut c_void {
        let cpu_id = cpu_id.addr();
        if !crate::harts::sit_down(cpu_id) {
            return ptr::null_mut();
        }
        // SAFETY: the kernel has set the stack aside for this hart.
        unsafe { crate::boot::go_on(STACKS[cpu_id].load(Relaxed), cpu_id, secondary) }
    }

    extern "C" fn secondary(cpu_id: usize) -> ! {
        axplat::call_secondary_main(cpu_id)
    }
}
