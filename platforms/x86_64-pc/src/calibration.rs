//! Measures the rate of one counter against another.

/// Returns the time-stamp counter.
pub fn ticks() -> u64 {
    // SAFETY: the kernel never sets CR4.TSD, which would forbid it to read the counter.
    unsafe { x86::time::rdtsc() }
}

/// Runs until `is_enough` returns true for the ticks of the time-stamp counter that have
/// passed, and the counts that `counter`, which counts up, has made in the same time. Returns
/// both.
pub fn measure(counter: impl Fn() -> u32, is_enough: impl Fn(u64, u32) -> bool) -> (u64, u32) {
    let (start, first) = read_both(&counter);
    loop {
        let (now, count) = read_both(&counter);
        let passed = (now.saturating_sub(start), count.wrapping_sub(first));
        if is_enough(passed.0, passed.1) {
            return passed;
        }
    }
}

/// Reads the time-stamp counter and `counter` at the same moment. The best of four attempts is
/// the shortest, since an emulator may pause for long between two instructions.
fn read_both(counter: impl Fn() -> u32) -> (u64, u32) {
    let (mut shortest, mut best) = (u64::MAX, (0, 0));
    for _ in 0..4 {
        let before = ticks();
        let count = counter();
        let took = ticks().saturating_sub(before);
        if took < shortest {
            (shortest, best) = (took, (before + took / 2, count));
        }
    }
    best
}
