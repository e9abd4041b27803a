//! What harts do to each other where an address space is not careful: a page that is
//! gone is still read, a frame is given away before all have forgotten it, a call does
//! not arrive, two faults on one page bring two frames. Each is tried in the kernel's
//! address space and in a user's that all harts are in.

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

use crate::mapped::{giving_all_back, say, word};
use crate::report::{Outcome, Report, check, on_all};

const PAGE: usize = 4096;
const LARGE: usize = 2 << 20;
const RW: MappingFlags = MappingFlags::READ.union(MappingFlags::WRITE);

/// Where the tests map, in the kernel's half and in a user's, and how much.
const IN_KERNEL: usize = KERNEL_MAP_BASE + SIZE;
const IN_USER: usize = USER_BASE + SIZE;
const SIZE: usize = 1 << 30;

/// The first byte of a page that is mapped, and of a frame that is somebody else's.
const MAPPED: u8 = 0x11;
const ANOTHERS: u8 = 0xee;

/// Frames that are taken at a time to get one that has just been given back: more than
/// a hart keeps for itself.
const MANY: usize = 128;

/// How long a hart leaves the processor to the others.
const NAP: Duration = Duration::from_micros(20);

/// Runs the tests of this file.
pub fn run(report: &mut Report) {
    report.test("races: a freed frame", || everywhere(freed_frame));
    report.test("races: freed, taken, mapped", || everywhere(taken_again));
    report.test("races: taken under a reader", || {
        everywhere(taken_under_a_reader)
    });
    report.test("races: calls to the first", || {
        everywhere(calls_to_the_first)
    });
    report.test("races: nobody inside", || giving_all_back(nobody_inside));
    report.test("races: faults at once", || everywhere(faults_at_once));
    report.test("races: work within work", work_within_work);
}

/// Runs a test in the kernel's address space, and in a user's with all harts inside.
/// What one that fails leaves mapped goes, so that the next begins with nothing.
fn everywhere(test: impl Fn(&SharedAspace, usize) -> Outcome) -> Outcome {
    giving_all_back(|| {
        let kernel = test(kernel_aspace(), IN_KERNEL);
        unmap(kernel_aspace(), IN_KERNEL, SIZE)?;
        kernel?;
        let user = new_user_aspace(IN_USER.into(), SIZE).map_err(say)?;
        test(&SharedAspace::new(user), IN_USER)
    })
}

/// Runs `work` on every hart at the same time, where the addresses are the space's.
fn on_all_inside(
    space: &SharedAspace,
    work: impl Fn(usize) -> Result<(), String> + Sync,
) -> Result<(), String> {
    on_all(|hart| match ptr::eq(space, kernel_aspace()) {
        true => work(hart),
        false => space.run(|| work(hart)).map_err(say)?,
    })
}

/// Every hart but the first.
fn others() -> impl Iterator<Item = usize> {
    (1..harts::count()).filter(|hart| harts::is_online(*hart))
}

/// Waits with interrupts in: a short while awake, to be there at once, then asleep, for
/// there may be more harts than this computer has processors.
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
    mapped.map_err(say)
}

fn unmap(space: &SharedAspace, start: usize, size: usize) -> Result<(), String> {
    space.unmap(start.into(), size).map_err(say)
}

/// Marks a page that this hart has mapped.
fn mark(addr: usize, value: u8) {
    // SAFETY: the page is mapped, and no other hart writes to it.
    unsafe { word(addr).cast::<u8>().write_volatile(value) };
}

/// What is read at `addr` must be one of these.
fn expect(addr: usize, wanted: &[Option<u8>]) -> Result<(), String> {
    let found = read(addr);
    check(wanted.contains(&found), || {
        let whose = match found {
            Some(ANOTHERS) => "a frame that has gone to another",
            Some(_) => "what is not there any more",
            None => "nothing",
        };
        format!("{addr:#x} reads {whose}: {found:x?}, not {wanted:x?}")
    })
}

/// Takes frames, and marks them as another's. The frames that have just been given back
/// are among them: those of this hart come back to it first.
fn take_many() -> Vec<Frames> {
    let taken = (0..MANY).map_while(|_| alloc_frame(UsageKind::Global).ok());
    taken
        .map(|mut frame| {
            frame.as_bytes_mut()[0] = ANOTHERS;
            frame
        })
        .collect()
}

/// Each hart in turn unmaps a page that all have read, and gives its frame away: nobody
/// can read it.
fn freed_frame(space: &SharedAspace, base: usize) -> Outcome {
    const ROUNDS: usize = 4;
    let mut again = 0;
    for changer in (0..ROUNDS).flat_map(|_| Some(0).into_iter().chain(others())) {
        map(space, base, PAGE)?;
        let frame = space.query(base.into()).map(|page| page.paddr);
        let (seen, gone, found) = (
            AtomicUsize::new(0),
            AtomicBool::new(false),
            AtomicBool::new(false),
        );
        on_all_inside(space, |hart| {
            let before = expect(base, &[Some(0)]);
            seen.fetch_add(1, Ordering::AcqRel);
            if hart == changer {
                wait_until(|| seen.load(Ordering::Acquire) == harts::online());
                let unmapped = unmap(space, base, PAGE);
                let taken = take_many();
                let is_it = |taken: &Frames| Some(taken.start()) == frame;
                found.store(taken.iter().any(is_it), Ordering::Relaxed);
                gone.store(true, Ordering::Release);
                unmapped?;
                before.and(expect(base, &[None]))
            } else {
                wait_until(|| gone.load(Ordering::Acquire));
                before.and(expect(base, &[None]))
            }
        })?;
        again += usize::from(found.into_inner());
    }
    check(again > 0, || {
        String::from("no frame that was given back was taken again")
    })?;
    Ok(format!(
        "{again} frames taken again, {} harts",
        harts::online()
    ))
}

/// Each hart by itself maps, unmaps, and maps at the same address, while the frame it had
/// first is another's.
fn taken_again(space: &SharedAspace, base: usize) -> Outcome {
    const ROUNDS: usize = 16;
    on_all_inside(space, |hart| {
        let addr = base + 2 * hart * PAGE;
        for _ in 0..ROUNDS {
            map(space, addr, PAGE)?;
            expect(addr, &[Some(0)])?;
            mark(addr, MAPPED);
            unmap(space, addr, PAGE)?;
            let others = take_many();
            map(space, addr, PAGE)?;
            expect(addr, &[Some(0)])?;
            mark(addr, MAPPED);
            let mut through_the_table = [0];
            let copied = space.read(addr.into(), &mut through_the_table);
            copied.map_err(say)?;
            check(through_the_table == [MAPPED], || {
                format!("what is written at {addr:#x} is not in its frame")
            })?;
            let all_kept = others.iter().all(|frame| frame.as_bytes()[0] == ANOTHERS);
            check(all_kept, || {
                format!("what is written at {addr:#x} is in another's frame")
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

/// The first hart maps and unmaps pages which the next reads all the time, most of it with
/// interrupts out; the others take every frame that comes free, of which there are hardly
/// more than those. Nobody has them before the reader has forgotten the pages.
fn taken_under_a_reader(space: &SharedAspace, base: usize) -> Outcome {
    const ROUNDS: usize = 40;
    if others().count() < 2 {
        return Ok(format!("{} harts", harts::online()));
    }
    let _all = all_but_a_few();
    let over = AtomicBool::new(false);
    on_all_inside(space, |hart| {
        match others().position(|other| other == hart) {
            None => {
                let changed = (0..ROUNDS).try_for_each(|_| come_and_go(space, base));
                over.store(true, Ordering::Release);
                changed
            }
            Some(0) => read_until(&over, base),
            Some(_) => {
                take_until(&over);
                Ok(())
            }
        }
    })?;
    Ok(format!("{ROUNDS} times {READ} pages"))
}

/// Pages that are read, and frames that are left when nearly all are taken: for them, for
/// page tables, and for the heap.
const READ: usize = 32;
const LEFT: usize = 4 * READ;

/// Takes all frames but [`LEFT`].
fn all_but_a_few() -> Vec<Frames> {
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

/// Maps the pages as soon as there are frames for them, and unmaps them.
fn come_and_go(space: &SharedAspace, base: usize) -> Result<(), String> {
    loop {
        match space.map_alloc(base.into(), READ * PAGE, RW, true) {
            Ok(()) => break,
            Err(AxError::NoMemory) => thread::sleep(NAP),
            Err(error) => return Err(say(error)),
        }
    }
    (0..READ).for_each(|page| mark(base + page * PAGE, MAPPED));
    thread::sleep(NAP);
    unmap(space, base, READ * PAGE)
}

/// Reads the pages, again and again, as long as they are there: nothing else may be.
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

/// Takes what frames there are, marks them, and gives them back. The heap, which has no
/// memory now, is left alone.
fn take_until(over: &AtomicBool) {
    while !over.load(Ordering::Acquire) {
        let taken: [_; LEFT] = from_fn(|_| {
            let mut frame = alloc_frame(UsageKind::Global).ok()?;
            frame.as_bytes_mut()[0] = ANOTHERS;
            Some(frame)
        });
        drop(taken);
        thread::sleep(NAP);
    }
}

/// Each other hart takes a page away while the first sleeps, which must hear of it, and
/// then wakes it. If a call to the first is lost this does not end.
fn calls_to_the_first(space: &SharedAspace, base: usize) -> Outcome {
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
            // The first falls asleep now; if not, the calls must come all the same.
            thread::sleep(NAP);
            unmap(space, base, PAGE)
        })?;
        on_all_inside(space, |_| expect(base, &[None]))?;
    }
    Ok(format!("{} harts", others().count()))
}

/// A user's address space that all harts have been in changes: while none is in it no
/// hart is asked for anything, and while all are, the others are.
fn nobody_inside() -> Outcome {
    if others().next().is_none() {
        return Ok(String::from("1 hart"));
    }
    let user = new_user_aspace(IN_USER.into(), SIZE).map_err(say)?;
    let space = SharedAspace::new(user);
    map(&space, IN_USER, 3 * PAGE)?;
    on_all_inside(&space, |_| expect(IN_USER, &[Some(0)]))?;
    let before = tlb_counters();
    let protected = space.protect(IN_USER.into(), PAGE, MappingFlags::READ);
    protected.map_err(say)?;
    unmap(&space, IN_USER, PAGE)?;
    let after = tlb_counters();
    check(after == before, || {
        format!("{before:?} has become {after:?}, and nobody is inside")
    })?;
    let (seen, gone) = (AtomicUsize::new(0), AtomicBool::new(false));
    on_all_inside(&space, |hart| {
        seen.fetch_add(1, Ordering::AcqRel);
        if hart != 0 {
            wait_until(|| gone.load(Ordering::Acquire));
            return Ok(());
        }
        wait_until(|| seen.load(Ordering::Acquire) == harts::online());
        let unmapped = unmap(&space, IN_USER + PAGE, PAGE);
        gone.store(true, Ordering::Release);
        unmapped
    })?;
    let asked = tlb_counters().requests - after.requests;
    check(asked > 0, || String::from("nobody asked those inside"))?;
    Ok(format!("0 requests; {asked} with all inside"))
}

/// All harts touch each page of a lazy mapping at the same moment: every page gets one
/// frame, and no hart's word is lost.
fn faults_at_once(space: &SharedAspace, base: usize) -> Outcome {
    const ROUNDS: usize = 8;
    const PAGES: usize = 32;
    for _ in 0..ROUNDS {
        touched_at_once(space, base, PAGES, PAGE, Grain::Page)?;
        touched_at_once(space, base, PAGES, PAGE, Grain::Around(4))?;
    }
    touched_at_once(space, base, 4, LARGE, Grain::Large)?;
    Ok(format!(
        "{ROUNDS} times {PAGES} pages, {} harts",
        harts::online()
    ))
}

/// The same for so many pages of a size.
fn touched_at_once(
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
    mapped.map_err(say)?;
    let pages = || (base..base + count * size).step_by(size);
    let arrived = AtomicUsize::new(0);
    on_all_inside(space, |hart| {
        for (number, addr) in pages().enumerate() {
            arrived.fetch_add(1, Ordering::AcqRel);
            wait_until(|| arrived.load(Ordering::Acquire) >= (number + 1) * harts::online());
            // SAFETY: the page is mapped, and the word is this hart's.
            unsafe { word(addr + hart * 8).write_volatile(addr as u64 ^ hart as u64) };
        }
        Ok(())
    })?;
    on_all_inside(space, |_| {
        pages().try_for_each(|addr| all_words(addr, others().chain([0])))
    })?;
    let taken = usage().of(UsageKind::VirtMem) - taken;
    check(taken == count * size / PAGE, || {
        format!("{taken} frames for {} pages", count * size / PAGE)
    })?;
    unmap(space, base, count * size)
}

/// Whether these harts' words are in the page.
fn all_words(addr: usize, mut harts: impl Iterator<Item = usize>) -> Result<(), String> {
    harts.try_for_each(|hart| {
        // SAFETY: the page is mapped, and nobody writes to it any more.
        let found = unsafe { word(addr + hart * 8).read_volatile() };
        let wanted = addr as u64 ^ hart as u64;
        check(found == wanted, || {
            format!("hart {hart}'s word at {addr:#x} is {found:#x}, not {wanted:#x}")
        })
    })
}

/// A part of the work of all harts that hands out more gets an error, on every hart, and
/// nothing waits for it.
fn work_within_work() -> Outcome {
    on_all(|_| {
        let inner = harts::run_on_all(|_| {});
        check(inner == Err(AxError::BadState), || format!("{inner:?}"))
    })?;
    Ok(format!("refused on {} harts", harts::online()))
}
