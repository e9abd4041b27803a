//! Address spaces of user programs by real accesses: the same pointer is dereferenced
//! in several, in none, and where nothing is.

mod support;

use std::env;
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axalloc::{UsageKind, usage};
use axhal::paging::{claim_user, leave_user};
use axhal::probe::{can_execute, can_read};
use axmm::{KERNEL_MAP_BASE, MappingFlags, SharedAspace, USER_BASE, VirtAddr};
use axmm::{kernel_page_table_root, new_user_aspace};

use support::{load, on_hart, store, writable};

const PAGE: usize = 4096;
const PAGES: usize = 4;
const READ: MappingFlags = MappingFlags::READ;
const RW: MappingFlags = READ.union(MappingFlags::WRITE);
const RX: MappingFlags = READ.union(MappingFlags::EXECUTE);
const BASE: usize = USER_BASE + (2 << 20);

fn at(addr: usize) -> VirtAddr {
    VirtAddr::from_usize(addr)
}

/// One with pages at `BASE`.
fn space(flags: MappingFlags, populate: bool) -> SharedAspace {
    let space = new_user_aspace(at(USER_BASE), 1 << 30).unwrap();
    space
        .map_alloc(at(BASE), PAGES * PAGE, flags, populate)
        .unwrap();
    SharedAspace::new(space)
}

#[test]
fn one_pointer_is_two_words_in_two_spaces() {
    on_hart(|| {
        for populate in [false, true] {
            let (one, other) = (space(RW, populate), space(RW, populate));
            one.run(|| store(BASE, 1)).unwrap();
            other.run(|| assert_eq!(load(BASE), 0)).unwrap();
            other.run(|| store(BASE, 2)).unwrap();
            assert_eq!(one.run(|| load(BASE)), Ok(1));
            assert_eq!(other.run(|| load(BASE)), Ok(2));
        }
    });
}

#[test]
fn a_space_within_another_is_left_for_that() {
    on_hart(|| {
        let (outer, inner) = (space(RW, false), space(RW, false));
        let run = outer.run(|| {
            store(BASE, 1);
            inner.run(|| store(BASE, 2)).unwrap();
            assert_eq!(load(BASE), 1);
            outer.run(|| store(BASE, 3)).unwrap();
            assert_eq!(load(BASE), 3);
            inner.run(|| load(BASE)).unwrap()
        });
        assert_eq!(run, Ok(2));
        assert!(!can_read(BASE));
    });
}

/// Lets another hart read the word at `BASE` in a space. The other answer is when it is
/// about to enter.
fn read_on_another_hart(space: &SharedAspace) -> (JoinHandle<u64>, Receiver<()>) {
    let root = space.page_table_root();
    let (sender, about_to) = mpsc::channel();
    let reader = move || {
        assert!(linux_host::harts::sit_down(1));
        sender.send(()).unwrap();
        // SAFETY: the test keeps the address space until the reader has ended.
        unsafe { claim_user(root) };
        let word = load(BASE);
        // SAFETY: the root is the kernel's.
        unsafe { leave_user(kernel_page_table_root()) };
        word
    };
    (thread::spawn(reader), about_to)
}

#[test]
fn two_harts_in_two_spaces_see_each_its_own() {
    on_hart(|| {
        let (one, other) = (space(RW, true), space(RW, true));
        other.run(|| store(BASE, 2)).unwrap();
        let run = || {
            store(BASE, 1);
            let (reader, about_to) = read_on_another_hart(&other);
            about_to.recv().unwrap();
            // Time for it to do what it must not: enter.
            thread::sleep(Duration::from_millis(10));
            (reader, load(BASE))
        };
        let (reader, seen) = one.run(run).unwrap();
        assert_eq!((seen, reader.join().unwrap()), (1, 2));
        assert!(!can_read(BASE));
    });
}

#[test]
fn two_harts_in_one_space_do_not_wait() {
    on_hart(|| {
        let space = space(RW, true);
        let run = || {
            store(BASE, 1);
            read_on_another_hart(&space).0.join().unwrap()
        };
        assert_eq!(space.run(run), Ok(1));
        assert!(!can_read(BASE));
    });
}

#[test]
fn nothing_is_there_outside() {
    on_hart(|| {
        assert!(!can_read(BASE));
        let space = space(RW, true);
        assert!(!can_read(BASE));
        assert_eq!(space.run(|| can_read(BASE)), Ok(true));
        assert!(!can_read(BASE) && !writable(BASE));
    });
}

#[test]
fn a_lazy_page_comes_when_a_pointer_is_followed() {
    on_hart(|| {
        let space = space(RW, false);
        let taken = || usage().of(UsageKind::VirtMem);
        let before = taken();
        space.run(|| store(BASE + 3 * PAGE, 7)).unwrap();
        assert_eq!(taken(), before + 1);
        assert_eq!(space.run(|| load(BASE + 3 * PAGE)), Ok(7));
        drop(space);
        assert_eq!(taken(), before);
    });
}

#[test]
fn what_changes_outside_has_changed_inside() {
    on_hart(|| {
        let space = space(RW, true);
        space.run(|| store(BASE, 1)).unwrap();
        space.lock().protect(at(BASE), PAGE, READ).unwrap();
        space.lock().unmap(at(BASE + PAGE), PAGE).unwrap();
        let can = || (load(BASE), writable(BASE), can_read(BASE + PAGE));
        assert_eq!(space.run(can), Ok((1, false, false)));
    });
}

#[test]
fn what_changes_inside_has_changed_at_once() {
    /// `ret`.
    const RETURN: u64 = 0xc3;
    on_hart(|| {
        let space = space(RW, false);
        let run = || {
            store(BASE, RETURN);
            // SAFETY: it is a function that only returns.
            assert!(!unsafe { can_execute(BASE) });
            space.lock().protect(at(BASE), PAGE, RX).unwrap();
            // SAFETY: as above.
            assert!(unsafe { can_execute(BASE) } && !writable(BASE));
            space.lock().unmap(at(BASE), PAGE).unwrap();
            assert!(!can_read(BASE));
        };
        space.run(run).unwrap();
    });
}

#[test]
fn the_kernel_s_pages_are_there_in_each() {
    on_hart(|| {
        let space = space(RW, false);
        let kernel = axmm::kernel_aspace();
        let map = || {
            kernel
                .lock()
                .map_alloc(at(KERNEL_MAP_BASE), PAGE, RW, false)
        };
        space.run(map).unwrap().unwrap();
        space.run(|| store(KERNEL_MAP_BASE, 5)).unwrap();
        assert_eq!(load(KERNEL_MAP_BASE), 5);
        kernel.lock().unmap(at(KERNEL_MAP_BASE), PAGE).unwrap();
        assert_eq!(space.run(|| can_read(KERNEL_MAP_BASE)), Ok(false));
    });
}

#[test]
fn what_the_process_needs_is_no_user_s() {
    let refused = |base| new_user_aspace(at(base), 1 << 30).is_err();
    on_hart(move || {
        assert!(refused(0) && refused(USER_BASE - PAGE) && !refused(USER_BASE));
    });
}

/// What a process of its own is told to read, which ends it.
const WILD: &str = "WILD";

/// Where a pointer that nobody has set right may point to.
const WILD_POINTERS: [(&str, usize); 4] = [
    ("null", 0x10),
    ("process", PROCESS_S_OWN),
    ("outside", BASE),
    ("inside", BASE + PAGES * PAGE),
];

/// Nothing is there, nor could a page table say that there is.
const PROCESS_S_OWN: usize = USER_BASE - PAGE;

#[test]
fn a_wild_pointer_is_the_end() {
    if let Ok(pointer) = env::var(WILD) {
        return on_hart(move || follow(&pointer));
    }
    for (name, addr) in WILD_POINTERS {
        let this = env::current_exe().unwrap();
        let run = Command::new(this)
            .args(["--exact", "a_wild_pointer_is_the_end", "--nocapture"])
            .env(WILD, name)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stdout).into_owned();
        let wanted = format!("unhandled page fault: read of {addr:#x}\n");
        assert!(said.contains(&wanted), "{name}: {said}");
        assert_eq!(run.status.code(), Some(101), "{name}: {said}");
    }
}

fn follow(pointer: &str) {
    let (_, addr) = WILD_POINTERS
        .into_iter()
        .find(|(name, _)| *name == pointer)
        .unwrap();
    let space = space(RW, true);
    match pointer {
        "inside" => space.run(|| load(addr)).unwrap(),
        _ => load(addr),
    };
}
