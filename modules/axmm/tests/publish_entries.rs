//! Operations publish the page-table entries that they have written before they return. The
//! host needs no barrier for that, so a machine records what the page table holds at each
//! call of `publish_entries`.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::ops::Range;

use axmm::{AddrSpace, Grain, Machine};

mod support;

use support::raw::Raw;
use support::{GIB, KIB4, MIB2, RO, RW, TestMachine, alone, virt};

thread_local! {
    /// The root table of the address space that is tested.
    static ROOT: Cell<Option<usize>> = const { Cell::new(None) };
    /// The page table when entries were published last.
    static PUBLISHED: RefCell<Option<Raw>> = const { RefCell::new(None) };
}

/// A machine with one hart, or with two of which only the first runs.
struct Publishing<R, const HARTS: usize>(PhantomData<(R, *const ())>);

// SAFETY: the machine is not `Sync`, and its first hart, which alone runs, has the number 0.
unsafe impl<R: TestMachine, const HARTS: usize> Machine for Publishing<R, HARTS> {
    axmm::page_tables_of!(R);

    type IrqGuard = ();
    type PreemptGuard = ();

    fn publish_entries() {
        if let Some(root) = ROOT.get() {
            PUBLISHED.set(Some(R::walk_from(root).unwrap()));
        }
    }

    fn flush(_: u64, _: Range<usize>) {}

    fn flush_local(_: Range<usize>) {}

    fn disable_irqs() {}

    fn disable_preemption() {}

    fn harts() -> usize {
        HARTS
    }

    fn hart() -> usize {
        0
    }

    fn relax(_: usize) {
        panic!("no other hart runs, so there is none to wait for");
    }
}

fn every_entry_is_published<R: TestMachine>() {
    check_operations::<R, 1>();
    check_operations::<R, 2>();
}

/// Checks that each operation leaves no entry unpublished.
fn check_operations<R: TestMachine, const HARTS: usize>() {
    type Space<R, const HARTS: usize> = AddrSpace<Publishing<R, HARTS>>;
    let _alone = alone();
    let space = Space::<R, HARTS>::new_empty(virt(R::base()), GIB).unwrap();
    let root = space.page_table_root().as_usize();
    let [lazy, large, all] = [0, 2, 4].map(|block| virt(R::base() + block * MIB2));
    type Step<'a> = (&'a str, &'a dyn Fn());
    let fault = |page| assert!(space.handle_page_fault(page, RW));
    let steps: [Step; 7] = [
        ("a fault that makes tables", &|| fault(lazy)),
        ("a fault of one page", &|| fault(lazy + KIB4)),
        ("a fault of a large page", &|| fault(large)),
        ("a populated mapping", &|| {
            space.map_alloc(all, 3 * KIB4, RW, true).unwrap();
        }),
        ("a right that is taken", &|| {
            space.protect(all, 2 * KIB4, RO).unwrap();
        }),
        ("a right that is given", &|| {
            space.protect(all, KIB4, RW).unwrap();
        }),
        ("a large page that is split", &|| {
            space.protect(large, KIB4, RO).unwrap();
        }),
    ];
    space.map_alloc(lazy, MIB2, RW, false).unwrap();
    space
        .map_alloc_with(large, MIB2, RW, false, Grain::Large)
        .unwrap();
    for (name, step) in steps {
        PUBLISHED.take();
        ROOT.set(Some(root));
        step();
        ROOT.set(None);
        let now = R::walk_from(root).unwrap();
        assert_eq!(PUBLISHED.take(), Some(now), "{name}, {HARTS} harts");
    }
}

on_every_machine!(every_entry_is_published);
