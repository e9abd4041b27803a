//! How harts come up: the first one, and then each other one at its call.
//!
//! ```text
//!   first hart                                hart N
//!   ──────────                                ──────
//!   init_primary: memory for all harts
//!   start(N): OFF ─► STARTING
//!             cpu_boot ─────────────────────► entry code, boot page table
//!             waits                           init_secondary(N)
//!                                             page table, interrupts, memory
//!             online(N)? ◄─────────────────── arrive(N): STARTING ─► ARRIVED
//!     too late: STARTING ─► LEFT_OUT             too late: halts
//! ```

use crate::hart;
#[cfg(feature = "smp")]
use crate::mem;
use crate::trap_entry;

unsafe extern "C" {
    /// The initial values of per-hart data, which are copied for each hart. Without memory for
    /// the copies the first hart runs alone, and its data is this original.
    static _percpu_start: u8;
}

/// Gives the first hart its per-hart data and its trap vector, and sets memory aside for the
/// other harts. It is the first thing that the kernel does.
///
/// # Safety
///
/// It is called once, on the first hart. No other hart runs, and nothing has used per-hart
/// data yet.
pub unsafe fn init_primary() {
    let in_place = &raw const _percpu_start as usize;
    #[cfg(feature = "smp")]
    let data = set_memory_aside().unwrap_or(in_place);
    #[cfg(not(feature = "smp"))]
    let data = in_place;
    hart::set_per_hart_data(data);
    // SAFETY: the data has been initialized just now or by the image, and by the caller's
    // promise this hart has not used it.
    unsafe { hart::assume_number(0) };
    trap_entry::init();
    hart::set_first_online();
}

/// Takes, from free RAM, a stack for every hart but the first, and data for every hart.
/// Returns where the data begins. Without enough RAM it returns `None`, and the kernel
/// counts one hart.
#[cfg(feature = "smp")]
fn set_memory_aside() -> Option<usize> {
    let harts = axplat::power::cpu_num().clamp(1, axconfig::MAX_HARTS);
    let data = mem::take_hart_memory(harts)?;
    hart::set_count(harts);
    for number in 0..harts {
        let own = data + number * hart::per_hart_data_size();
        // SAFETY: the memory at `own` has just been taken for this hart's data, and is at
        // least as long as the initial values.
        unsafe {
            (&raw const _percpu_start)
                .copy_to_nonoverlapping(own as *mut u8, percpu::percpu_area_size());
        }
    }
    Some(data)
}

#[cfg(feature = "smp")]
pub use secondary::{Arrival, arrive, init_secondary, start};

/// Every hart but the first.
#[cfg(feature = "smp")]
mod secondary {
    use core::sync::atomic::{AtomicU8, Ordering};

    use axconfig::{HART_START_TIMEOUT_NS, MAX_HARTS, hart_stack};

    use crate::time::{monotonic_time_nanos, nap};
    use crate::{hart, trap_entry};

    /// The states of a hart in [`PROGRESS`].
    const OFF: u8 = 0;
    const STARTING: u8 = 1;
    const ARRIVED: u8 = 2;
    const LEFT_OUT: u8 = 3;

    /// How far each hart has come. The hart that starts another and the started hart both
    /// leave `STARTING` by compare-and-swap, so exactly one of them succeeds: the hart
    /// either arrived in time, or it is left out.
    static PROGRESS: [AtomicU8; MAX_HARTS] = [const { AtomicU8::new(OFF) }; MAX_HARTS];

    /// The outcome of starting a hart.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Arrival {
        /// The hart is up.
        Up,
        /// The hart did not arrive in time, and is left out for good.
        LeftOut,
    }

    /// Starts hart `number`, and waits until it is up or `HART_START_TIMEOUT_NS` is over.
    ///
    /// # Safety
    ///
    /// It is called once for each hart but the first. A second start would end what the hart
    /// runs, and would use its stack from the top again.
    pub unsafe fn start(number: usize) -> Arrival {
        let progress = &PROGRESS[number];
        // Release: pairs with the started hart's compare-and-swap in `leave_starting`.
        progress.store(STARTING, Ordering::Release);
        // `cpu_boot` takes a physical address, to which platforms add the linear mapping's
        // offset. But stacks are not in the linear mapping. This is the virtual address minus
        // that offset, so that the platform gets the virtual address.
        let top = axplat::mem::virt_to_phys(hart_stack(number).end.into());
        axplat::power::cpu_boot(number, top.as_usize());
        let deadline = monotonic_time_nanos().saturating_add(HART_START_TIMEOUT_NS);
        while !hart::is_online(number) {
            if monotonic_time_nanos() > deadline && leave_starting(progress, LEFT_OUT) {
                return Arrival::LeftOut;
            }
            nap();
        }
        Arrival::Up
    }

    /// Gives the calling hart, whose number is `number`, its per-hart data and its trap
    /// vector.
    ///
    /// # Safety
    ///
    /// It is called once on each hart that [`start`] has started, with that hart's number,
    /// before anything there uses per-hart data.
    pub unsafe fn init_secondary(number: usize) {
        // SAFETY: `init_primary` has initialized this hart's data before it started the
        // hart, and by the caller's promise this hart has not used it.
        unsafe { hart::assume_number(number) };
        trap_entry::init();
    }

    /// Announces that the calling hart, `number`, is up and may be given work.
    ///
    /// Returns [`Arrival::LeftOut`] if the first hart no longer waits for it. The calling
    /// hart must halt then.
    pub fn arrive(number: usize) -> Arrival {
        if !leave_starting(&PROGRESS[number], ARRIVED) {
            return Arrival::LeftOut;
        }
        hart::set_online(number);
        flush_all();
        Arrival::Up
    }

    /// Flushes the TLB and the instruction cache of a hart that has just come up. No flush
    /// was requested of it before that.
    fn flush_all() {
        #[cfg(feature = "paging")]
        {
            crate::arch::flush_tlb_all();
            crate::arch::refetch_instructions();
        }
    }

    /// Changes `progress` from `STARTING` to `to`. Returns `false` if the other hart has done
    /// so first.
    fn leave_starting(progress: &AtomicU8, to: u8) -> bool {
        // AcqRel: of the two harts that compete, the second sees what the first wrote.
        progress
            .compare_exchange(STARTING, to, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}
