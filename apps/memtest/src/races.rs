//! Races between harts that use one address space:
//!
//! - A hart reads an unmapped page through a stale TLB entry.
//! - A frame is freed and allocated again before all harts have flushed its page.
//! - A call between harts is lost.
//! - Two page faults on one page allocate two frames.
//!
//! Most tests run in the kernel's address space, and again in a user's that all harts have
//! entered.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::array::from_fn;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axstd::harts;
use axstd::memory::probe::{can_read, read};
use axstd::memory::{
    AxError, Frames, Grain, KERNEL_MAP_BASE, MappingFlags, SharedAspace, USER_BASE, UsageKind,
    alloc_frame, alloc_frames, kernel_aspace, new_user_aspace, tlb_counters, usage,
};
use axstd::thread;
use axstd::time::Duration;
use kernel_guard::IrqSave;

use crate::mapped_memory::{without_leak, word_at};
use crate::report::{Outcome, Report, check, error_text, on_all};

const PAGE: usize = 4096;
const LARGE: usize = 2 << 20;
const RW: MappingFlags = MappingFlags::READ.union(MappingFlags::WRITE);

/// The addresses that the tests map, in the kernel's address space and in a user's, and their
/// number in bytes.
const IN_KERNEL: usize = KERNEL_MAP_BASE + SIZE;
const IN_USER: usize = USER_BASE + SIZE;
const SIZE: usize = 1 << 30;

/// The first byte of a mapped page, and of a frame that was freed and allocated again.
const MAPPED: u8 = 0x11;
const REALLOCATED: u8 = 0xee;

/// The number of frames that a hart allocates to get one that it has just freed: more than its
/// magazines hold.
const MANY: usize = 128;

/// How long a waiting hart sleeps, so that others can use its processor.
const NAP: Duration = Duration::from_micros(20);

/// Runs the tests of this file.
pub fn run(report: &mut Report) {
    report.test("races: read of freed frame", || {
        in_both_spaces(read_of_freed_frame)
    });
    report.test("races: remap at same address", || {
        in_both_spaces(remap_at_same_address)
    });
    report.test("races: frame reuse vs reader", || {
        in_both_spaces(frame_reuse_vs_reader)
    });
    report.test("shootdown: hart 0 asleep", || {
        in_both_spaces(shootdown_of_sleeping_hart)
    });
    report.test("shootdown: no hart inside", || {
        without_leak(shootdown_with_no_hart_inside)
    });
    report.test("races: concurrent faults", || {
        in_both_spaces(concurrent_faults)
    });
    report.test("races: nested work refused", nested_work_is_refused);
}

/// Runs a test in the kernel's address space, then in a user's. A failed test may leave pages
/// mapped in the kernel's, which are unmapped so that the next test finds the range free.
fn in_both_spaces(test: impl Fn(&SharedAspace, usize) -> Outcome) -> Outcome {
    without_leak(|| {
        let kernel = test(kernel_aspace(), IN_KERNEL);
        unmap(kernel_aspace(), IN_KERNEL, SIZE)?;
        kernel?;
        let user = new_user_aspace(IN_USER.into(), SIZE).map_err(error_text)?;
        test(&SharedAspace::new(user), IN_USER)
    })
}

/// Runs `work` on every hart at the same time, inside `space`.
fn on_all_inside(
    space: &SharedAspace,
    work: impl Fn(usize) -> Result<(), String> + Sync,
) -> Result<(), String> {
    on_all(|hart| match ptr::eq(space, kernel_aspace()) {
        true => work(hart),
        false => space.run(|| work(hart)).map_err(error_text)?,
    })
}

/// Returns the harts other than hart 0, on which `main` runs.
fn others() -> impl Iterator<Item = usize> {
    (1..harts::count()).filter(|hart| harts::is_online(*hart))
}

/// Waits with interrupts on. It spins first, so that it returns at once. Then it sleeps, since
/// the machine may have more harts than the computer has processors.
fn wait_until(condition: impl Fn() -> bool) {
    const SPINS: usize = 1000;
    for turn in 0_usize.. {
        match turn {
            _ if condition() => return,
            0..SPINS => core::hint::spin_loop(),
            _ => thread::sleep(NAP),
        }
    }
}

fn map(space: &SharedAspace, start: usize, size: usize) -> Result<(), String> {
    let mapped = space.map_alloc(start.into(), size, RW, true);
    mapped.map_err(error_text)
}

fn unmap(space: &SharedAspace, start: usize, size: usize) -> Result<(), String> {
    space.unmap(start.into(), size).map_err(error_text)
}

/// Writes `value` to the first byte of a page that this hart has mapped.
fn mark(addr: usize, value: u8) {
    // SAFETY: the callers have mapped the page writable, and no other hart writes to it.
    unsafe { word_at(addr).cast::<u8>().write_volatile(value) };
}

/// Reads the byte at `addr`, and checks that the result is in `wanted`. `None` is a fault.
fn expect(addr: usize, wanted: &[Option<u8>]) -> Result<(), String> {
    let found = read(addr);
    check(wanted.contains(&found), || {
        let meaning = match found {
            Some(REALLOCATED) => "a reallocated frame",
            Some(_) => "a byte",
            None => "a fault",
        };
        format!("{addr:#x} reads {meaning}: {found:x?}, not {wanted:x?}")
    })
}

/// Allocates frames, and marks each as reallocated. The frames that this hart has just freed are
/// among them, since its magazine returns them first.
fn reallocate_many() -> Vec<Frames> {
    let taken = (0..MANY).map_while(|_| alloc_frame(UsageKind::Global).ok());
    taken
        .map(|mut frame| {
            frame.as_bytes_mut()[0] = REALLOCATED;
            frame
        })
        .collect()
}

/// Each hart in turn unmaps a page that all harts have read, and reallocates its frame. Every
/// hart's next read must fault.
fn read_of_freed_frame(space: &SharedAspace, base: usize) -> Outcome {
    const ROUNDS: usize = 4;
    let mut reallocated = 0;
    for changer in (0..ROUNDS).flat_map(|_| Some(0).into_iter().chain(others())) {
        map(space, base, PAGE)?;
        let frame = space.query(base.into()).map(|page| page.paddr);
        let (readers, is_unmapped, found) = (
            AtomicUsize::new(0),
            AtomicBool::new(false),
            AtomicBool::new(false),
        );
        on_all_inside(space, |hart| {
            let before = expect(base, &[Some(0)]);
            readers.fetch_add(1, Ordering::AcqRel);
            if hart == changer {
                wait_until(|| readers.load(Ordering::Acquire) == harts::online());
                let unmapped = unmap(space, base, PAGE);
                let taken = reallocate_many();
                let is_freed_frame = |taken: &Frames| Some(taken.start()) == frame;
                // Relaxed: it is read after all harts have finished.
                found.store(taken.iter().any(is_freed_frame), Ordering::Relaxed);
                is_unmapped.store(true, Ordering::Release);
                unmapped?;
                before.and(expect(base, &[None]))
            } else {
                wait_until(|| is_unmapped.load(Ordering::Acquire));
                before.and(expect(base, &[None]))
            }
        })?;
        reallocated += usize::from(found.into_inner());
    }
    check(reallocated > 0, || {
        String::from("no freed frame was allocated again")
    })?;
    Ok(format!(
        "{reallocated} frames reallocated, {} harts",
        harts::online()
    ))
}

/// Each hart maps a page, unmaps it, and maps it again at the same address, while it holds the
/// first frame. The second mapping must have another frame.
fn remap_at_same_address(space: &SharedAspace, base: usize) -> Outcome {
    const ROUNDS: usize = 16;
    on_all_inside(space, |hart| {
        let addr = base + 2 * hart * PAGE;
        for _ in 0..ROUNDS {
            map(space, addr, PAGE)?;
            expect(addr, &[Some(0)])?;
            mark(addr, MAPPED);
            unmap(space, addr, PAGE)?;
            let others = reallocate_many();
            map(space, addr, PAGE)?;
            expect(addr, &[Some(0)])?;
            mark(addr, MAPPED);
            // A copy finds the frame through the page table, the write above through the TLB.
            let mut copy = [0];
            let copied = space.read(addr.into(), &mut copy);
            copied.map_err(error_text)?;
            check(copy == [MAPPED], || {
                format!("the byte written at {addr:#x} is not in its frame")
            })?;
            let is_kept = |frame: &Frames| frame.as_bytes()[0] == REALLOCATED;
            check(others.iter().all(is_kept), || {
                format!("the byte written at {addr:#x} is in a reallocated frame")
            })?;
            unmap(space, addr, PAGE)?;
        }
        Ok(())
    })?;
    Ok(format!(
        "{ROUNDS} rounds on each of {} harts",
        harts::online()
    ))
}

/// Hart 0 maps and unmaps pages, which a second hart reads all the time, mostly with interrupts
/// off. The other harts allocate every free frame. Few frames are free besides those of the pages,
/// so that a frame that is freed before the reader has flushed its page is soon reallocated.
fn frame_reuse_vs_reader(space: &SharedAspace, base: usize) -> Outcome {
    const ROUNDS: usize = 40;
    if others().count() < 2 {
        return Ok(format!("needs 3 harts, has {}", harts::online()));
    }
    let _taken = take_all_but_few();
    let over = AtomicBool::new(false);
    on_all_inside(space, |hart| {
        match others().position(|other| other == hart) {
            None => {
                let changed = (0..ROUNDS).try_for_each(|_| map_and_unmap(space, base));
                over.store(true, Ordering::Release);
                changed
            }
            Some(0) => read_until(&over, base),
            Some(_) => {
                reallocate_until(&over);
                Ok(())
            }
        }
    })?;
    Ok(format!("{ROUNDS} rounds of {READ} pages"))
}

/// The number of pages that the reader reads, and of frames that stay free: for these pages, for
/// page tables, and for the heap.
const READ: usize = 32;
const LEFT: usize = 4 * READ;

/// Allocates all frames but [`LEFT`].
fn take_all_but_few() -> Vec<Frames> {
    let mut taken = Vec::with_capacity(4 * MANY);
    let _left = alloc_frames(LEFT, PAGE, UsageKind::Global);
    for order in (0..=18).rev() {
        while taken.len() < taken.capacity() {
            match alloc_frames(1 << order, PAGE, UsageKind::Global) {
                Ok(run) => taken.push(run),
                Err(_) => break,
            }
        }
    }
    taken
}

/// Maps the pages as soon as enough frames are free, and unmaps them.
fn map_and_unmap(space: &SharedAspace, base: usize) -> Result<(), String> {
    loop {
        match space.map_alloc(base.into(), READ * PAGE, RW, true) {
            Ok(()) => break,
            Err(AxError::NoMemory) => thread::sleep(NAP),
            Err(error) => return Err(error_text(error)),
        }
    }
    (0..READ).for_each(|page| mark(base + page * PAGE, MAPPED));
    thread::sleep(NAP);
    unmap(space, base, READ * PAGE)
}

/// Reads the pages again and again until `over`. A read must fault, or find a byte of a mapped
/// page.
fn read_until(over: &AtomicBool, base: usize) -> Result<(), String> {
    const TIMES: usize = 1000;
    while !over.load(Ordering::Acquire) {
        let no_interrupts = IrqSave::new();
        for addr in (0..TIMES * READ).map(|turn| base + turn % READ * PAGE) {
            expect(addr, &[None, Some(0), Some(MAPPED)])?;
            if !can_read(addr) {
                break;
            }
        }
        drop(no_interrupts);
        thread::sleep(NAP);
    }
    Ok(())
}

/// Allocates the free frames, marks them as reallocated, and frees them, again and again until
/// `over`. It holds them in an array, since the heap can get no memory at this time.
fn reallocate_until(over: &AtomicBool) {
    while !over.load(Ordering::Acquire) {
        let taken: [_; LEFT] = from_fn(|_| {
            let mut frame = alloc_frame(UsageKind::Global).ok()?;
            frame.as_bytes_mut()[0] = REALLOCATED;
            Some(frame)
        });
        drop(taken);
        thread::sleep(NAP);
    }
}

/// Each other hart unmaps a page while hart 0 sleeps: hart 0 must be interrupted to flush it. If
/// the call to hart 0 is lost, this test does not end.
fn shootdown_of_sleeping_hart(space: &SharedAspace, base: usize) -> Outcome {
    for caller in others() {
        map(space, base, PAGE)?;
        on_all_inside(space, |_| expect(base, &[Some(0)]))?;
        let done = AtomicUsize::new(0);
        on_all(|hart| {
            if hart != caller {
                done.fetch_add(1, Ordering::AcqRel);
                return Ok(());
            }
            wait_until(|| done.load(Ordering::Acquire) == harts::online() - 1);
            // Hart 0 falls asleep meanwhile. If it is still awake, the call must reach it too.
            thread::sleep(NAP);
            unmap(space, base, PAGE)
        })?;
        on_all_inside(space, |_| expect(base, &[None]))?;
    }
    Ok(format!("unmap by {} other harts", others().count()))
}

/// All harts have entered and left a user's address space. A change must then send no flush
/// request. A change while all harts are inside must send one.
fn shootdown_with_no_hart_inside() -> Outcome {
    if others().next().is_none() {
        return Ok(String::from("1 hart"));
    }
    let user = new_user_aspace(IN_USER.into(), SIZE).map_err(error_text)?;
    let space = SharedAspace::new(user);
    map(&space, IN_USER, 3 * PAGE)?;
    on_all_inside(&space, |_| expect(IN_USER, &[Some(0)]))?;
    let before = tlb_counters();
    let protected = space.protect(IN_USER.into(), PAGE, MappingFlags::READ);
    protected.map_err(error_text)?;
    unmap(&space, IN_USER, PAGE)?;
    let after = tlb_counters();
    check(after == before, || {
        format!("with no hart inside {before:?} became {after:?}")
    })?;
    let (inside, is_unmapped) = (AtomicUsize::new(0), AtomicBool::new(false));
    on_all_inside(&space, |hart| {
        inside.fetch_add(1, Ordering::AcqRel);
        if hart != 0 {
            wait_until(|| is_unmapped.load(Ordering::Acquire));
            return Ok(());
        }
        wait_until(|| inside.load(Ordering::Acquire) == harts::online());
        let unmapped = unmap(&space, IN_USER + PAGE, PAGE);
        is_unmapped.store(true, Ordering::Release);
        unmapped
    })?;
    let requests = tlb_counters().requests - after.requests;
    check(requests > 0, || {
        String::from("no request with all harts inside")
    })?;
    Ok(format!("0 requests, {requests} with all harts inside"))
}

/// All harts write to each page of a lazy mapping at the same moment. Every page must get one
/// frame, with the words of all harts.
fn concurrent_faults(space: &SharedAspace, base: usize) -> Outcome {
    const ROUNDS: usize = 8;
    const PAGES: usize = 32;
    for _ in 0..ROUNDS {
        fault_at_once(space, base, PAGES, PAGE, Grain::Page)?;
        fault_at_once(space, base, PAGES, PAGE, Grain::Around(4))?;
    }
    fault_at_once(space, base, 4, LARGE, Grain::Large)?;
    Ok(format!(
        "{ROUNDS} rounds of {PAGES} pages, {} harts",
        harts::online()
    ))
}

/// Maps `count` pages of `size` bytes lazily, has all harts write to each page at the same moment,
/// and checks the words and the number of frames.
fn fault_at_once(
    space: &SharedAspace,
    base: usize,
    count: usize,
    size: usize,
    grain: Grain,
) -> Result<(), String> {
    let taken = usage().of(UsageKind::VirtMem);
    let mapped = space
        .lock()
        .map_alloc_with(base.into(), count * size, RW, false, grain);
    mapped.map_err(error_text)?;
    let pages = || (base..base + count * size).step_by(size);
    let arrived = AtomicUsize::new(0);
    on_all_inside(space, |hart| {
        for (number, addr) in pages().enumerate() {
            arrived.fetch_add(1, Ordering::AcqRel);
            wait_until(|| arrived.load(Ordering::Acquire) >= (number + 1) * harts::online());
            // SAFETY: the page is mapped writable, and no other hart uses the word.
            unsafe { word_at(addr + hart * 8).write_volatile(addr as u64 ^ hart as u64) };
        }
        Ok(())
    })?;
    on_all_inside(space, |_| {
        pages().try_for_each(|addr| check_words(addr, others().chain([0])))
    })?;
    let taken = usage().of(UsageKind::VirtMem) - taken;
    check(taken == count * size / PAGE, || {
        format!("{taken} frames for {} pages", count * size / PAGE)
    })?;
    unmap(space, base, count * size)
}

/// Checks that the page at `addr` holds the words of all these harts.
fn check_words(addr: usize, mut harts: impl Iterator<Item = usize>) -> Result<(), String> {
    harts.try_for_each(|hart| {
        // SAFETY: the page is mapped, and all harts have finished their writes.
        let found = unsafe { word_at(addr + hart * 8).read_volatile() };
        let wanted = addr as u64 ^ hart as u64;
        check(found == wanted, || {
            format!("hart {hart}'s word at {addr:#x} is {found:#x}, not {wanted:#x}")
        })
    })
}

/// Work of `run_on_all` that calls `run_on_all` itself gets an error at once, on every hart.
fn nested_work_is_refused() -> Outcome {
    on_all(|_| {
        let inner = harts::run_on_all(|_| {});
        check(inner == Err(AxError::BadState), || {
            format!("nested run_on_all: {inner:?}")
        })
    })?;
    Ok(format!("refused on {} harts", harts::online()))
}
