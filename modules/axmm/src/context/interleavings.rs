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
        let mut generation = 0;
        // SAFETY: no hart of this test has a TLB.
        unsafe {
            space.1.enter(&space.0, 1, &mut generation);
            space.1.leave(1);
        }
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
