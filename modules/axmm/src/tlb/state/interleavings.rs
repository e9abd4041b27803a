//! A hart that enters an address space while another changes its page table, in every
//! interleaving, and with every order that memory may have.

use loom::sync::Arc;
use loom::thread;

use super::*;

/// Hart 1 has been inside before, and holds translations from then.
#[test]
fn an_entering_hart_gets_a_request_or_finds_its_stale_bit() {
    loom::model(|| {
        let space = Arc::new((AsidAllocator::new(8), TlbState::user()));
        // A thread of its own: its last SeqCst write would otherwise put a fence into the change
        // below (`crate::atomic`), which could hide a store there that is too weak.
        let before = space.clone();
        let entered = thread::spawn(move || {
            let mut generation = 0;
            // SAFETY: no hart of this test has a TLB.
            unsafe {
                before.1.enter(&before.0, 1, &mut generation);
                before.1.leave(1);
            }
            generation
        });
        let mut generation = entered.join().unwrap();
        let there = space.clone();
        let hart = thread::spawn(move || {
            let (asids, state) = &*there;
            // SAFETY: no hart of this test has a TLB.
            unsafe { state.enter(asids, 1, &mut generation).1 }
        });
        let mut requested = 0;
        space.1.shoot_down(|harts| requested = harts);
        let flush = hart.join().unwrap();
        assert!(requested >> 1 & 1 != 0 || flush == FlushOnEntry::Asid);
    });
}
