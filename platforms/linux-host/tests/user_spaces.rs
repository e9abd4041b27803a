//! Tests of user address spaces by real accesses. The same pointer is dereferenced in several
//! address spaces, outside of all, and at unmapped addresses.

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

/// Returns an address space with `PAGES` pages at `BASE`.
fn space(flags: MappingFlags, populate: bool) -> SharedAspace {
    let space = new_user_aspace(at(USER_BASE), 1 << 30).unwrap();
    space
        .map_alloc(at(BASE), PAGES * PAGE, flags, populate)
        .unwrap();
    SharedAspace::new(space)
}

#[test]
fn a_pointer_reads_different_words_in_two_spaces() {
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
fn a_nested_space_returns_to_the_outer_one() {
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

/// Starts another hart that reads the word at `BASE` in a space. Returns its thread, and a
/// channel that gets a message just before the hart enters the space.
fn read_on_another_hart(space: &SharedAspace) -> (JoinHandle<u64>, Receiver<()>) {
    let root = space.page_table_root();
    let (sender, about_to) = mpsc::channel();
    let reader = move || {
        assert!(linux_host::harts::register_hart(1));
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
fn two_harts_in_two_spaces_read_different_words() {
    on_hart(|| {
        let (one, other) = (space(RW, true), space(RW, true));
        other.run(|| store(BASE, 2)).unwrap();
        let run = || {
            store(BASE, 1);
            let (reader, about_to) = read_on_another_hart(&other);
            about_to.recv().unwrap();
            // A reader that wrongly enters the space has time to do so.
            thread::sleep(Duration::from_millis(10));
            (reader, load(BASE))
        };
        let (reader, seen) = one.run(run).unwrap();
        assert_eq!((seen, reader.join().unwrap()), (1, 2));
        assert!(!can_read(BASE));
    });
}

#[test]
fn two_harts_in_one_space_do_not_wait_for_each_other() {
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
fn pages_are_inaccessible_outside_their_space() {
    on_hart(|| {
        assert!(!can_read(BASE));
        let space = space(RW, true);
        assert!(!can_read(BASE));
        assert_eq!(space.run(|| can_read(BASE)), Ok(true));
        assert!(!can_read(BASE) && !writable(BASE));
    });
}

#[test]
fn the_first_access_faults_in_a_lazy_page() {
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
fn a_change_made_outside_a_space_is_seen_inside() {
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
fn a_change_made_inside_a_space_is_seen_at_once() {
    /// `ret`.
    const RETURN: u64 = 0xc3;
    on_hart(|| {
        let space = space(RW, false);
        let run = || {
            store(BASE, RETURN);
            // SAFETY: the address has a function that only returns.
            assert!(!unsafe { can_execute(BASE) });
            space.lock().protect(at(BASE), PAGE, RX).unwrap();
            // SAFETY: the address has a function that only returns.
            assert!(unsafe { can_execute(BASE) } && !writable(BASE));
            space.lock().unmap(at(BASE), PAGE).unwrap();
            assert!(!can_read(BASE));
        };
        space.run(run).unwrap();
    });
}

#[test]
fn the_kernel_s_pages_are_mapped_in_each_space() {
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
fn addresses_of_the_process_are_refused_for_user_spaces() {
    let refused = |base| new_user_aspace(at(base), 1 << 30).is_err();
    on_hart(move || {
        assert!(refused(0) && refused(USER_BASE - PAGE) && !refused(USER_BASE));
    });
}

/// The environment variable that makes the test's child process follow a wild pointer.
const WILD: &str = "WILD";

/// Wild pointers by name.
const WILD_POINTERS: [(&str, usize); 4] = [
    ("null", 0x10),
    ("process", PROCESS_S_OWN),
    ("outside", BASE),
    ("inside", BASE + PAGES * PAGE),
];

/// An address that is unmapped in the process and that page tables do not translate.
const PROCESS_S_OWN: usize = USER_BASE - PAGE;

#[test]
fn a_wild_pointer_ends_the_process_with_a_report() {
    if let Ok(pointer) = env::var(WILD) {
        return on_hart(move || follow(&pointer));
    }
    for (name, addr) in WILD_POINTERS {
        let this = env::current_exe().unwrap();
        let run = Command::new(this)
            .args([
                "--exact",
                "a_wild_pointer_ends_the_process_with_a_report",
                "--nocapture",
            ])
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
