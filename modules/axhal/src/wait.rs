//! What a hart does while it waits for another hart.

/// Takes one turn of waiting for another hart, the `turn`th.
///
/// The first turns are a short spin. Later turns sleep, if interrupts are on. Where harts
/// are threads of an emulator on fewer processors, a hart that spins would keep the hart
/// that it waits for from running.
#[cfg(feature = "smp")]
pub fn relax(turn: usize) {
    const SPINS: usize = 512;
    if turn < SPINS || !crate::arch::irqs_enabled() {
        core::hint::spin_loop();
    } else {
        crate::time::nap();
    }
}

/// Takes one turn of waiting for another hart, which a machine of one hart never does.
#[cfg(not(feature = "smp"))]
pub fn relax(_turn: usize) {
    core::hint::spin_loop();
}

/// Carries out what other harts have requested of this one, if anything. For code that
/// waits with interrupts off.
pub fn acknowledge_others() {
    #[cfg(feature = "paging")]
    crate::tlb::acknowledge();
}
