//! Address spaces of user programs, which borrow the kernel's page tables.

use std::marker::PhantomData;
use std::ops::Range;

use axalloc::{UsageKind, usage};
use axerrno::AxError;
use axmm::{AddrSpace, Machine, MappingFlags, VirtAddr};
use page_table_multiarch::PagingMetaData;

mod support;

use support::{MapPhysical, TestMachine, alone};

const KERNEL: usize = 0xffff_c000_0000_0000;
const KERNEL_SIZE: usize = 4 << 39;
const USER: usize = 0x1_0000;
const USER_SIZE: usize = 1 << 40;
const PAGE: usize = 4096;
const GIB: usize = 1 << 30;
const RW: MappingFlags = MappingFlags::READ.union(MappingFlags::WRITE);

fn at(addr: usize) -> VirtAddr {
    VirtAddr::from_usize(addr)
}

fn kernel() -> AddrSpace {
    AddrSpace::new_empty(at(KERNEL), KERNEL_SIZE).unwrap()
}

fn user() -> AddrSpace {
    AddrSpace::new_empty_user(at(USER), USER_SIZE).unwrap()
}

fn sharing(kernel: &mut AddrSpace) -> AddrSpace {
    let mut user = user();
    kernel.share().unwrap();
    user.copy_mappings_from(kernel).unwrap();
    user
}

fn frames_of(kind: UsageKind) -> usize {
    usage().of(kind)
}

/// Returns the physical address of the page at `addr`.
fn frame(space: &AddrSpace, addr: usize) -> Option<usize> {
    space.query(at(addr)).map(|page| page.paddr.as_usize())
}

#[test]
fn user_spaces_see_what_the_kernel_maps_and_unmaps_later() {
    let _alone = alone();
    let mut kernel = kernel();
    kernel.map_alloc(at(KERNEL), PAGE, RW, true).unwrap();
    let users = [sharing(&mut kernel), sharing(&mut kernel)];
    let (near, far) = (KERNEL + 8 * PAGE, KERNEL + KERNEL_SIZE - PAGE);
    for addr in [near, far] {
        kernel.map_alloc(at(addr), PAGE, RW, true).unwrap();
    }
    for addr in [KERNEL, near, far] {
        assert!(frame(&kernel, addr).is_some());
        for user in &users {
            assert_eq!(frame(user, addr), frame(&kernel, addr), "{addr:#x}");
        }
    }
    kernel.clear().unwrap();
    kernel.map_alloc(at(far), PAGE, RW, true).unwrap();
    for user in &users {
        assert_eq!(frame(user, near), None, "unmapped in all address spaces");
        assert_eq!(
            frame(user, far),
            frame(&kernel, far),
            "mapped again after everything was unmapped"
        );
    }
}

/// Page tables of three levels, as in Sv39. An entry of the root translates 1 GiB, which is
/// also the size of the largest page.
struct ThreeLevels;

/// A machine with such page tables, and one hart.
struct Small(PhantomData<*const ()>);

impl PagingMetaData for ThreeLevels {
    const LEVELS: usize = 3;
    const PA_MAX_BITS: usize = 52;
    const VA_MAX_BITS: usize = 39;

    type VirtAddr = VirtAddr;

    fn flush_tlb(_: Option<VirtAddr>) {}
}

// SAFETY: the machine is not `Sync`, and its only hart always has the number 0.
unsafe impl Machine for Small {
    type Meta = ThreeLevels;
    type Pte = page_table_entry::x86_64::X64PTE;

    fn largest_page() -> usize {
        GIB
    }

    fn publish_entries() {}

    fn page_mark(_: bool) -> u64 {
        0
    }

    fn flush(_: u64, _: Range<usize>) {}

    fn flush_local(_: Range<usize>) {}

    type IrqGuard = ();
    type PreemptGuard = ();

    fn disable_irqs() {}

    fn disable_preemption() {}

    fn harts() -> usize {
        1
    }

    fn hart() -> usize {
        0
    }

    fn relax(_: usize) {
        std::hint::spin_loop();
    }
}

#[test]
fn user_spaces_see_changes_of_a_page_in_the_root_table() {
    let _alone = alone();
    let start = 0xffff_ffe0_0000_0000;
    let kernel = AddrSpace::<Small>::new_empty(at(start), 4 * GIB).unwrap();
    kernel.map_physical(at(start), 0.into(), GIB, RW).unwrap();
    assert_eq!(kernel.query(at(start)).unwrap().size, GIB);
    let mut user = AddrSpace::<Small>::new_empty_user(at(USER), GIB).unwrap();
    kernel.share().unwrap();
    user.copy_mappings_from(&kernel).unwrap();
    let page = start + 5 * PAGE;
    assert_eq!(user.query(at(page)), kernel.query(at(page)));
    kernel.unmap(at(start), GIB).unwrap();
    assert_eq!(user.query(at(page)), None);
    kernel.map_alloc(at(page), PAGE, RW, true).unwrap();
    assert_eq!(user.query(at(page)), kernel.query(at(page)));
}

#[test]
fn a_dropped_user_space_frees_its_own_frames_only() {
    let _alone = alone();
    let before = (
        frames_of(UsageKind::VirtMem),
        frames_of(UsageKind::PageTable),
    );
    let mut kernel = kernel();
    kernel.map_alloc(at(KERNEL), 4 * PAGE, RW, true).unwrap();
    kernel.share().unwrap();
    let with_kernel = (
        frames_of(UsageKind::VirtMem),
        frames_of(UsageKind::PageTable),
    );
    let user = sharing(&mut kernel);
    user.map_alloc(at(USER), 4 * PAGE, RW | MappingFlags::USER, true)
        .unwrap();
    assert_eq!(frames_of(UsageKind::VirtMem), with_kernel.0 + 4);
    drop(user);
    let after = (
        frames_of(UsageKind::VirtMem),
        frames_of(UsageKind::PageTable),
    );
    assert_eq!(after, with_kernel);
    assert!(frame(&kernel, KERNEL).is_some());
    drop(kernel);
    // Tables that were lent are never freed: the four below the root.
    let after = (
        frames_of(UsageKind::VirtMem),
        frames_of(UsageKind::PageTable) - 4,
    );
    assert_eq!(after, before);
}

#[test]
fn sharing_without_memory_changes_nothing() {
    let _alone = alone();
    let kernel = kernel();
    kernel.map_alloc(at(KERNEL), PAGE, RW, true).unwrap();
    let tables = frames_of(UsageKind::PageTable);
    for n in 1..100 {
        let armed = axalloc::fault::fail_nth(n);
        let result = kernel.share();
        if !armed.has_fired() {
            assert_eq!(
                (result, n),
                (Ok(()), 4),
                "one entry of the root has a table already"
            );
            return;
        }
        assert_eq!(result, Err(AxError::NoMemory));
        assert_eq!(frames_of(UsageKind::PageTable), tables, "at allocation {n}");
        assert!(frame(&kernel, KERNEL).is_some());
    }
    panic!("sharing never succeeds");
}

#[test]
fn only_user_mappings_may_have_user_rights_or_write_and_execute() {
    let _alone = alone();
    let write_and_execute = RW | MappingFlags::EXECUTE;
    for flags in [RW | MappingFlags::USER, write_and_execute] {
        let refused = kernel().map_alloc(at(KERNEL), PAGE, flags, false);
        assert_eq!(refused, Err(AxError::InvalidInput));
        assert_eq!(user().map_alloc(at(USER), PAGE, flags, false), Ok(()));
    }
}

#[test]
fn spaces_that_share_an_entry_of_the_root_cannot_borrow() {
    let _alone = alone();
    let kernel = kernel();
    kernel.share().unwrap();
    let mut overlapping = AddrSpace::new_empty(at(KERNEL + KERNEL_SIZE), PAGE).unwrap();
    assert_eq!(overlapping.copy_mappings_from(&kernel), Ok(()));
    let mut overlapping = AddrSpace::new_empty(at(KERNEL + PAGE), PAGE).unwrap();
    let refused = overlapping.copy_mappings_from(&kernel);
    assert_eq!(refused, Err(AxError::InvalidInput));
}

#[test]
fn mappings_that_user_spaces_would_not_see_are_refused() {
    let _alone = alone();
    let mut kernel = AddrSpace::new_empty(at(KERNEL), 16 << 39).unwrap();
    kernel.map_alloc(at(KERNEL), PAGE, RW, true).unwrap();
    kernel.fix_below(at(KERNEL + (8 << 39)));
    let user = sharing(&mut kernel);
    let refused = kernel.map_physical(at(KERNEL + (3 << 39)), 0.into(), PAGE, RW);
    assert_eq!(refused, Err(AxError::InvalidInput));
    drop(user);
}

#[test]
fn a_user_space_borrows_from_one_other_space_only() {
    let _alone = alone();
    let before = frames_of(UsageKind::PageTable);
    let [mut one, mut two] =
        [0, 8 << 39].map(|offset| AddrSpace::new_empty(at(KERNEL + offset), 2 << 39).unwrap());
    for kernel in [&mut one, &mut two] {
        kernel.map_alloc(kernel.base(), PAGE, RW, true).unwrap();
        kernel.share().unwrap();
    }
    let mut user = user();
    let tables = frames_of(UsageKind::PageTable);
    assert_eq!(user.copy_mappings_from(&one), Ok(()));
    assert_eq!(user.copy_mappings_from(&two), Err(AxError::InvalidInput));
    drop(user);
    assert_eq!(
        frames_of(UsageKind::PageTable),
        tables - 1,
        "only the root of the user space is freed"
    );
    drop(two);
    drop(one);
    assert_eq!(
        frames_of(UsageKind::PageTable),
        before + 2,
        "tables that were lent stay"
    );
}

#[test]
fn lent_tables_outlive_their_owner() {
    let _alone = alone();
    let mut kernel = kernel();
    kernel.map_alloc(at(KERNEL), PAGE, RW, true).unwrap();
    let user = sharing(&mut kernel);
    drop(kernel);
    assert_eq!(frame(&user, KERNEL), None);
    // If the tables were free, they would be allocated and overwritten now.
    let taken: Vec<_> =
        std::iter::from_fn(|| axalloc::alloc_frame(UsageKind::Object).ok()).collect();
    assert_eq!(frame(&user, KERNEL + (1 << 39)), None);
    drop(user);
    drop(taken);
}

/// A change of rights skips the untouched pages of a TiB: visiting each would take seconds.
#[test]
fn a_lazy_tebibyte_loses_all_rights_and_gets_them_back() {
    let _alone = alone();
    let user = user();
    let (start, size) = (at(USER), USER_SIZE - (1 << 30));
    user.map_alloc(start, size, RW, false).unwrap();
    let last = at(USER + size - PAGE);
    user.write(last, &[7]).unwrap();
    for _ in 0..8 {
        user.protect(start, size, MappingFlags::empty()).unwrap();
        assert_eq!(user.read(last, &mut [0]), Err(AxError::BadAddress));
        user.protect(start, size, RW).unwrap();
    }
    let mut byte = [0];
    user.read(last, &mut byte).unwrap();
    assert_eq!(byte, [7]);
}

/// Harts inside the borrowing space would not flush what the owner unmaps.
fn tables_of_a_user_space_cannot_be_lent<M: TestMachine>() {
    let _alone = alone();
    let refused = Err(AxError::InvalidInput);
    let owner = AddrSpace::<M>::new_empty_user(at(M::base()), 4 * GIB).unwrap();
    owner.map_alloc(at(M::base()), PAGE, RW, true).unwrap();
    assert_eq!(owner.share(), refused);
    let mut user = AddrSpace::<M>::new_empty_user(at(USER), GIB).unwrap();
    assert_eq!(user.copy_mappings_from(&owner), refused);
    assert_eq!(user.query(at(M::base())), None);
    let with = AddrSpace::<M>::new_user_with(at(USER), GIB, &owner);
    assert_eq!(with.err(), Some(AxError::InvalidInput));
    // The refused calls have changed nothing, so the kernel's tables can be borrowed.
    let kernel = AddrSpace::<M>::new_empty(at(M::base()), 4 * GIB).unwrap();
    kernel.map_alloc(at(M::base()), PAGE, RW, true).unwrap();
    kernel.share().unwrap();
    assert_eq!(user.copy_mappings_from(&kernel), Ok(()));
    assert_eq!(user.query(at(M::base())), kernel.query(at(M::base())));
}

/// In a user space without some of the kernel's mappings, a hart would find no handler for a
/// fault.
fn a_user_space_sees_all_of_a_kernel_that_was_shared_first<M: TestMachine>() {
    let _alone = alone();
    let kernel = || AddrSpace::<M>::new_empty(at(M::base()), 4 * GIB).unwrap();
    let (kernel, other) = (kernel(), kernel());
    let user = || AddrSpace::<M>::new_empty_user(at(USER), GIB).unwrap();
    let (mut early, mut late) = (user(), user());
    let sees_all = |user: &AddrSpace<M>| user.sees_all_of(kernel.page_table_root());
    early.copy_mappings_from(&kernel).unwrap();
    kernel.share().unwrap();
    assert!(!sees_all(&early) && !sees_all(&late));
    late.copy_mappings_from(&kernel).unwrap();
    assert!(sees_all(&late) && !late.sees_all_of(other.page_table_root()));
}

on_every_machine!(
    tables_of_a_user_space_cannot_be_lent,
    a_user_space_sees_all_of_a_kernel_that_was_shared_first,
);
