//! Forked address spaces of user programs: harts write on all sides of a fork. Each side must see
//! its own writes only.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::mem;
use core::sync::atomic::{AtomicBool, Ordering};

use axstd::memory::probe::{can_read, can_write};
use axstd::memory::{
    Frames, Grain, MappingFlags, SharedAspace, USER_BASE, UsageKind, alloc_frame_zeroed,
    new_user_aspace, print_maps_of, usage,
};
use axstd::{env, harts, println};
use spin::Mutex;

use crate::mapped_memory::{without_leak, word_at};
use crate::report::{Outcome, Report, check, error_text, on_all};

const PAGE: usize = 4096;
const MIB2: usize = 2 << 20;
const GIB: usize = 1 << 30;
const READ: MappingFlags = MappingFlags::READ;
const RW: MappingFlags = READ.union(MappingFlags::WRITE);

/// The first address of a test's address space, and its size in bytes. Whole page tables of 1 GiB
/// translate it.
const BASE: usize = USER_BASE.next_multiple_of(GIB);
const SIZE: usize = 4 * GIB;

/// The areas of a test: offset, size in bytes, whether it is populated, grain, and the distance
/// between the pages that are written.
const AREAS: [(usize, usize, bool, Grain, usize); 8] = [
    (0, 8 * PAGE, false, Grain::Page, PAGE),
    // Across the end of a table of 2 MiB.
    (MIB2 - 4 * PAGE, 8 * PAGE, false, Grain::Around(4), PAGE),
    (3 * MIB2, 8 * PAGE, true, Grain::Page, PAGE),
    (4 * MIB2, MIB2, true, Grain::Large, 64 * PAGE),
    (5 * MIB2, MIB2, false, Grain::Large, 64 * PAGE),
    // Across the end of a table of 1 GiB, beside the linear area. So the second half of the pages
    // is not below a shared table.
    (GIB - 4 * PAGE, 8 * PAGE, false, Grain::Page, PAGE),
    // Below a shared table of 2 MiB, and a large page that is shared without a table.
    (GIB + MIB2, 8 * PAGE, true, Grain::Page, PAGE),
    (GIB + 2 * MIB2, MIB2, true, Grain::Large, 64 * PAGE),
];

/// The number of pages that are written in each area.
const WRITTEN: usize = 8;

/// The address of a linear area of one page.
const LINEAR: usize = BASE + GIB + 16 * PAGE;

/// The difference between the values that a hart writes in two rounds. It is more than the number
/// of pages.
const STEP: u64 = 1000;

/// Runs the tests of this file.
pub fn run(report: &mut Report) {
    report.test("spaces: forks", || without_leak(forks));
    report.test("spaces: pages only read", || without_leak(pages_only_read));
    if env::var("maps").is_some() {
        report.test("spaces: listing of a fork", || without_leak(listing));
    }
}

fn forks() -> Outcome {
    both_sides_write()?;
    dropped_in_any_order()?;
    made_while_others_write()?;
    Ok(format!(
        "{} pages of {} areas, {} harts",
        pages().count(),
        AREAS.len(),
        harts::online()
    ))
}

/// Prints both sides of a fork, of which one has written to some pages since.
fn listing() -> Outcome {
    let frame = frame()?;
    let parent = space_with_areas(&frame)?;
    let write = |space: &SharedAspace, page: usize| {
        let written = space.write(page.into(), &[1]);
        written.map_err(error_text)
    };
    pages().try_for_each(|page| write(&parent, page))?;
    let child = fork(&parent)?;
    pages_of(0)
        .take(3)
        .try_for_each(|page| write(&child, page))?;
    println!();
    print_maps_of(&parent, "parent");
    print_maps_of(&child, "child");
    Ok(String::from("a parent and its child"))
}

/// Returns the addresses of the pages that are written.
fn pages() -> impl Iterator<Item = usize> {
    AREAS.iter().flat_map(|(offset, _, _, _, distance)| {
        (0..WRITTEN).map(move |page| BASE + offset + page * distance)
    })
}

/// Returns the addresses of the pages of number `number` in each area.
fn pages_of(number: usize) -> impl Iterator<Item = usize> {
    pages().skip(number).step_by(WRITTEN)
}

/// Returns an address space with all areas, and a linear area that maps `frame`.
fn space_with_areas(frame: &Frames) -> Result<SharedAspace, String> {
    let space = new_user_aspace(BASE.into(), SIZE).map_err(error_text)?;
    for (offset, size, populate, grain, _) in AREAS {
        space
            .map_alloc_with((BASE + offset).into(), size, RW, populate, grain)
            .map_err(error_text)?;
    }
    // SAFETY: the test owns the frame, and accesses it through linear areas only.
    let mapped = unsafe { space.map_linear(LINEAR.into(), frame.start(), PAGE, RW) };
    mapped.map_err(error_text)?;
    Ok(SharedAspace::new(space))
}

fn fork(space: &SharedAspace) -> Result<SharedAspace, String> {
    space.fork().map(SharedAspace::new).map_err(error_text)
}

fn frame() -> Result<Frames, String> {
    alloc_frame_zeroed(UsageKind::Global).map_err(error_text)
}

/// Writes to this hart's word in each page: `value` and the number of the page. The hart must be
/// in an address space of [`space_with_areas`], or in a fork of one.
fn write_words(hart: usize, value: u64) {
    for (page, value) in pages().zip(value..) {
        // SAFETY: the page is mapped in the address space that this hart is in, and no other
        // hart uses the word.
        unsafe { word_at(page + hart * 8).write_volatile(value) };
    }
}

/// Checks the words that [`write_words`] has written.
fn check_words(hart: usize, value: u64) -> Result<(), String> {
    pages()
        .zip(value..)
        .try_for_each(|(page, value)| check_word(page + hart * 8, value))
}

/// Checks a word of this hart in a mapped page.
fn check_word(addr: usize, value: u64) -> Result<(), String> {
    // SAFETY: the callers pass a word of a page that is mapped in the address space that this
    // hart is in. No other hart writes to the word meanwhile.
    let found = unsafe { word_at(addr).read_volatile() };
    check(found == value, || {
        format!("{addr:#x} holds {found}, not {value}")
    })
}

/// Runs `work` on all harts in all `spaces`. Each hart begins with another space.
fn in_each(
    spaces: &[SharedAspace],
    work: impl Fn(usize, usize) -> Result<(), String> + Sync,
) -> Result<(), String> {
    on_all(|hart| {
        (0..spaces.len()).try_for_each(|turn| {
            let space = (hart + turn) % spaces.len();
            spaces[space]
                .run(|| work(hart, space))
                .map_err(error_text)?
        })
    })
}

/// Harts write to an address space and to its fork, which first holds what the original did. Then
/// pages of one side are unmapped, or get other rights.
fn both_sides_write() -> Result<(), String> {
    const BEFORE: u64 = 5000;
    let frame = frame()?;
    let spaces = [space_with_areas(&frame)?];
    in_each(&spaces, |hart, _| {
        write_words(hart, BEFORE);
        Ok(())
    })?;
    let [parent] = spaces;
    let child = fork(&parent)?;
    let spaces = [parent, child];
    let value = |space: usize| BEFORE + (space as u64 + 1) * STEP;
    in_each(&spaces, |hart, space| {
        check_words(hart, BEFORE)?;
        write_words(hart, value(space));
        Ok(())
    })?;
    in_each(&spaces, |hart, space| check_words(hart, value(space)))?;
    linear_areas_have_one_frame(&spaces)?;
    rights_change_apart(&spaces)?;
    in_each(&spaces[..1], |hart, space| check_words(hart, value(space)))
}

/// What one side writes to the linear area, the other side reads.
fn linear_areas_have_one_frame(spaces: &[SharedAspace; 2]) -> Result<(), String> {
    let [parent, child] = spaces;
    let write = || {
        // SAFETY: the page is mapped in the parent, and only this hart uses it.
        unsafe { word_at(LINEAR).write_volatile(6) };
    };
    parent.run(write).map_err(error_text)?;
    child.run(|| check_word(LINEAR, 6)).map_err(error_text)?
}

/// In the child, a page of each area is unmapped, another becomes read-only, and a third loses all
/// rights and gets them back. The parent's pages stay as they are.
fn rights_change_apart(spaces: &[SharedAspace; 2]) -> Result<(), String> {
    let [parent, child] = spaces;
    // Most pages are shared again.
    let grandchild = fork(child)?;
    for page in pages_of(1) {
        child.unmap(page.into(), PAGE).map_err(error_text)?;
    }
    for page in pages_of(2) {
        child.protect(page.into(), PAGE, READ).map_err(error_text)?;
    }
    for page in pages_of(3) {
        for flags in [MappingFlags::empty(), RW] {
            let protected = child.protect(page.into(), PAGE, flags);
            protected.map_err(error_text)?;
        }
    }
    // The first word of a page belongs to hart 0, which is not running `in_each` now.
    let accesses = |number| {
        // SAFETY: only this hart uses the pages at this time. Where a page is read-only, the write
        // faults.
        let access = |page| unsafe { (can_read(page), can_write(page)) };
        let found: Vec<_> = pages_of(number).map(access).collect();
        let all_equal = found.iter().all(|access| *access == found[0]);
        all_equal.then(|| found[0])
    };
    let in_space = |space: &SharedAspace| space.run(|| [1, 2, 3].map(accesses));
    let found = in_space(child).map_err(error_text)?;
    let wanted = [(false, false), (true, false), (true, true)].map(Some);
    check(found == wanted, || {
        format!("(read, write) of pages in a child: {found:?}, not {wanted:?}")
    })?;
    for space in [parent, &grandchild] {
        let found = in_space(space).map_err(error_text)?;
        check(found == [Some((true, true)); 3], || {
            format!("(read, write) of pages beside a child: {found:?}")
        })?;
    }
    Ok(())
}

/// A fork of a fork is made, and the three address spaces are dropped one by one, in each order.
/// Meanwhile other harts write to one that stays.
fn dropped_in_any_order() -> Result<(), String> {
    const ORDERS: [[usize; 3]; 6] = [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ];
    ORDERS
        .into_iter()
        .try_for_each(|order| drop_in_order(order).map_err(|why| format!("order {order:?}: {why}")))
}

/// Returns three generations of address spaces. The words in each are written with `STEP` times
/// its number in [`GENERATIONS`].
fn generations(frame: &Frames) -> Result<[SharedAspace; 3], String> {
    let write = |space: &SharedAspace, value: u64| {
        on_all(|hart| space.run(|| write_words(hart, value)).map_err(error_text))
    };
    let parent = space_with_areas(frame)?;
    write(&parent, STEP)?;
    let child = fork(&parent)?;
    write(&child, 2 * STEP)?;
    let grandchild = fork(&child)?;
    Ok([parent, child, grandchild])
}

/// Says in which round the words of each generation are written. The youngest has the words that
/// it was made with.
const GENERATIONS: [u64; 3] = [1, 2, 2];

/// Drops address spaces of three generations, in the order of these numbers.
fn drop_in_order(order: [usize; 3]) -> Result<(), String> {
    let frame = frame()?;
    let mut spaces = generations(&frame)?.map(Some);
    let mut values = GENERATIONS.map(|round| round * STEP);
    for (number, after) in order.into_iter().zip((3..).map(|round| round * STEP)) {
        let dropped = Mutex::new(spaces[number].take());
        let stays = spaces.iter().flatten().next();
        let before = (0..3).find(|stays| spaces[*stays].is_some());
        let before = before.map_or(0, |stays| mem::replace(&mut values[stays], after));
        on_all(|hart| {
            if hart == 0 {
                drop(dropped.lock().take());
            }
            let Some(space) = stays else { return Ok(()) };
            let change = || -> Result<(), String> {
                check_words(hart, before)?;
                write_words(hart, after);
                check_words(hart, after)
            };
            space.run(change).map_err(error_text)?
        })?;
        check_all_words(&spaces, values)?;
    }
    Ok(())
}

/// Checks the words of each address space that exists.
fn check_all_words(spaces: &[Option<SharedAspace>; 3], values: [u64; 3]) -> Result<(), String> {
    on_all(|hart| {
        spaces.iter().zip(values).try_for_each(|(space, value)| {
            let Some(space) = space else { return Ok(()) };
            space.run(|| check_words(hart, value)).map_err(error_text)?
        })
    })
}

/// The words of all harts in each page of a fork.
type Words = Vec<Vec<u64>>;

/// Hart 0 forks an address space several times, while the others are inside and write. A fork has
/// each hart's writes up to some point, and does not change afterwards.
fn made_while_others_write() -> Result<(), String> {
    const FORKS: usize = 6;
    let frame = frame()?;
    let parent = space_with_areas(&frame)?;
    let has_ended = AtomicBool::new(false);
    let forks: Mutex<Vec<(SharedAspace, Words)>> = Mutex::new(Vec::new());
    on_all(|hart| {
        if hart == 0 {
            let made = (0..FORKS).try_for_each(|_| {
                let fork = fork_and_check(&parent)?;
                forks.lock().push(fork);
                Ok(())
            });
            has_ended.store(true, Ordering::Release);
            return made;
        }
        let mut value = STEP;
        while !has_ended.load(Ordering::Acquire) {
            parent
                .run(|| write_words(hart, value))
                .map_err(error_text)?;
            value += STEP;
        }
        parent
            .run(|| check_words(hart, value - STEP))
            .map_err(error_text)?
    })?;
    let forks = forks.into_inner();
    on_all(|hart| {
        forks.iter().try_for_each(|(fork, words)| {
            let check_all = || {
                let mut pages = pages().zip(words);
                pages.try_for_each(|(page, words)| check_word(page + hart * 8, words[hart]))
            };
            fork.run(check_all).map_err(error_text)?
        })
    })
}

/// Forks `parent`, checks the order of the writes in the fork, and writes the words of hart 0.
/// Returns the fork and its words.
fn fork_and_check(parent: &SharedAspace) -> Result<(SharedAspace, Words), String> {
    let fork = fork(parent)?;
    let mut words: Words = Vec::new();
    for page in pages() {
        let mut bytes = Vec::from([0; PAGE]);
        fork.read(page.into(), &mut bytes).map_err(error_text)?;
        let (chunks, _) = bytes.as_chunks::<8>();
        let of_page = chunks.iter().map(|chunk| u64::from_le_bytes(*chunk));
        words.push(of_page.take(harts::count()).collect());
    }
    for hart in 1..harts::count() {
        // Each hart writes to the pages in their order, and `STEP` more in each round.
        let rounds: Vec<u64> = words.iter().map(|page| page[hart] / STEP).collect();
        let (first, last) = (rounds[0], rounds[rounds.len() - 1]);
        check(
            rounds.is_sorted_by(|a, b| a >= b) && first <= last + 1,
            || format!("words of hart {hart} are of rounds {rounds:?}"),
        )?;
    }
    for (page, of_page) in pages().zip(&mut words) {
        of_page[0] = 7;
        fork.write(page.into(), &7_u64.to_le_bytes())
            .map_err(error_text)?;
    }
    Ok((fork, words))
}

/// Reads of lazy pages take no frame. The first write to a page takes one, and all harts see it,
/// although they have read the page before.
fn pages_only_read() -> Outcome {
    const PAGES: usize = 64;
    let space = new_user_aspace(BASE.into(), SIZE).map_err(error_text)?;
    space
        .map_alloc(BASE.into(), PAGES * PAGE, RW, false)
        .map_err(error_text)?;
    let before = usage().of(UsageKind::VirtMem);
    let frames = || usage().of(UsageKind::VirtMem) - before;
    let spaces = [SharedAspace::new(space)];
    let check_all = |value: fn(usize) -> u64| {
        let mut pages = (BASE..).step_by(PAGE).zip(0..PAGES);
        pages.try_for_each(|(page, number)| check_word(page + PAGE - 8, value(number)))
    };
    in_each(&spaces, |_, _| check_all(|_| 0))?;
    check(frames() == 0, || {
        format!("reads have taken {} frames", frames())
    })?;
    // Half of the pages are written, each by one hart.
    let write = |hart, _| {
        for number in (1..PAGES).step_by(2) {
            if number / 2 % harts::count() == hart {
                let word = word_at(BASE + number * PAGE + PAGE - 8);
                // SAFETY: the page is mapped writable, and only this hart uses the word.
                unsafe { word.write_volatile(number as u64) };
            }
        }
        Ok(())
    };
    in_each(&spaces, write)?;
    let odd_numbers = |number| number as u64 * (number as u64 % 2);
    in_each(&spaces, |_, _| check_all(odd_numbers))?;
    let written = (0..PAGES / 2).filter(|number| harts::is_online(number % harts::count()));
    let written = written.count();
    check(frames() == written, || {
        format!("writes to {written} pages have taken {} frames", frames())
    })?;
    Ok(format!("{PAGES} pages, {} harts", harts::online()))
}
