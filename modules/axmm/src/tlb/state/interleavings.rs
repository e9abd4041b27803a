//! A hart that enters an address space while another changes it, in every interleaving, and
//! with every order that memory may have.

use loom::sync::Arc;
use loom::thread;

use super::*;

/// Hart 1 has been inside before: it has translations from then.
#[test]
fn a_hart_that_enters_is_asked_or_finds_its_mark() {
    loom::model(|| {
        let space = Arc::new((Ids::new(8), Context::user()));
        // In a thread of its own, so that it orders nothing of the change below.
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
            let (ids, context) = &*there;
            // SAFETY: no hart of this test has a TLB.
            unsafe { context.enter(ids, 1, &mut generation).1 }
        });
        let mut asked = 0;
        space.1.change(|harts| asked = harts);
        let stale = hart.join().unwrap();
        assert!(asked >> 1 & 1 != 0 || stale == Stale::Own);
    });
}
