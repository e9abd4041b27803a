//! A tour of memory objects. docs/objects.md explains what it shows.
//!
//! Each step prints what it does, and a table of objects: how long each is, and for how many of
//! its bytes it has frames, shared with other objects or private. Steps with mappings also print a
//! table of areas. The exit status is 1 if a figure is not what it should be.
#![no_std]
#![no_main]

extern crate alloc;

mod report;

use alloc::boxed::Box;
use core::pin::Pin;

use axstd::memory::{
    Access, AddrSpace, AxError, AxResult, MappingFlags, Sharing, USER_BASE, UsageKind, Vmo,
    alloc_frames, new_user_aspace, print_maps_of, usage,
};
use axstd::{env, println, process};

use report::{AreaFigures, Report};

const KIB: usize = 1024;
const PAGE: usize = 4 * KIB;
const RW: MappingFlags = MappingFlags::READ.union(MappingFlags::WRITE);

#[unsafe(no_mangle)]
fn main() {
    println!("Memory objects: memory that exists apart from any address.");
    let mut report = Report::new();
    let before = usage().of(UsageKind::Object);
    let stops = [snapshots, resizing, runs_of_frames, pins, mappings, forks];
    for stop in stops {
        if let Err(error) = stop(&mut report) {
            report.fact("The tour went on without an error.", false);
            println!("   it was {error:?}");
        }
    }
    println!("\nAll objects have been dropped.");
    let after = usage().of(UsageKind::Object);
    report.fact("No frame is in use for objects any more.", after == before);
    process::exit(report.finish());
}

/// Makes a paged object with a name.
fn paged(name: &'static str, len: usize) -> AxResult<Vmo> {
    let object = Vmo::new_paged(len)?;
    object.set_name(name);
    Ok(object)
}

/// Returns a byte of an object.
fn byte(object: &Vmo, offset: usize) -> AxResult<u8> {
    let mut byte = [0];
    object.read(offset, &mut byte)?;
    Ok(byte[0])
}

fn snapshots(report: &mut Report) -> AxResult {
    let notes = paged("notes", 1024 * KIB)?;
    report.step(
        "A paged object of 1 MiB. It takes no frame before it is written.",
        &[(&notes, [1024, 0, 0, 0])],
    );
    let is_zero = byte(&notes, 1024 * KIB - 1)? == 0;
    report.fact("It reads as zero, which takes no frame either.", is_zero);

    notes.write(0, &[1; 6000])?;
    report.step(
        "6,000 bytes were written to it: two pages got a frame.",
        &[(&notes, [1024, 8, 0, 8])],
    );

    let backup = notes.snapshot()?;
    backup.set_name("backup");
    report.step(
        "A snapshot of it. Both share all frames, and nothing was copied.",
        &[(&notes, [1024, 8, 8, 0]), (&backup, [1024, 8, 8, 0])],
    );

    notes.write(0, &[2])?;
    report.step(
        "A byte of `notes` was written: that page was copied, and no other.",
        &[(&notes, [1024, 8, 4, 4]), (&backup, [1024, 8, 4, 4])],
    );
    let differ = (byte(&notes, 0)?, byte(&backup, 0)?) == (2, 1);
    report.fact("`backup` still has the old byte.", differ);

    drop(backup);
    report.step(
        "`backup` was dropped: `notes` owns its pages alone, and writes to them in place.",
        &[(&notes, [1024, 8, 0, 8])],
    );
    Ok(())
}

fn resizing(report: &mut Report) -> AxResult {
    let log = Vmo::new_resizable(64 * KIB)?;
    log.set_name("log");
    log.commit(0..64 * KIB)?;
    report.step(
        "A resizable object. It was committed: all pages got a frame before any write.",
        &[(&log, [64, 64, 0, 64])],
    );

    log.write(32 * KIB, &[1])?;
    log.resize(16 * KIB)?;
    log.resize(128 * KIB)?;
    report.step(
        "It was cut off after 16 KiB, which freed the rest. Then it grew to 128 KiB.",
        &[(&log, [128, 16, 0, 16])],
    );
    let is_zero = byte(&log, 32 * KIB)? == 0;
    report.fact("What was cut off reads as zero when it is back.", is_zero);

    log.decommit(0..8 * KIB)?;
    report.step(
        "Its first 8 KiB were decommitted: their frames are free, and they read as zero.",
        &[(&log, [128, 8, 0, 8])],
    );
    Ok(())
}

fn runs_of_frames(report: &mut Report) -> AxResult {
    let buffer = Vmo::new_contiguous(64 * KIB)?;
    buffer.set_name("buffer");
    let window = buffer.slice(16 * KIB, 8 * KIB)?;
    window.set_name("window");
    let frames = alloc_frames(4, PAGE, UsageKind::Dma)?;
    // SAFETY: the frames are this function's, which has no reference to their bytes. They are freed
    // after the object.
    let device = unsafe { Vmo::new_physical(frames.start(), 16 * KIB)? };
    device.set_name("device");
    report.step(
        "A contiguous object, a slice that shows a part of it, and a physical object.",
        &[
            (&buffer, [64, 64, 0, 64]),
            (&window, [8, 8, 0, 8]),
            (&device, [16, 0, 0, 0]),
        ],
    );
    report.fact(
        "The frames of the physical object are not its own.",
        device.committed_bytes() == 0,
    );
    let run = buffer.request(0, Access::Write)?;
    report.fact(
        "The contiguous object is one run of 16 pages.",
        run.count == 16,
    );
    window.write(0, &[7])?;
    let is_seen = byte(&buffer, 16 * KIB)? == 7;
    report.fact(
        "A write through the slice is a write to the object.",
        is_seen,
    );
    let is_refused = buffer.snapshot().err() == Some(AxError::Unsupported);
    report.fact("A snapshot of it is `Unsupported`.", is_refused);
    Ok(())
}

fn pins(report: &mut Report) -> AxResult {
    let packet = paged("packet", 32 * KIB)?;
    let pinned = packet.pin(0..8 * KIB)?;
    report.step(
        "Two pages of an object were pinned for a device. So they were committed first.",
        &[(&packet, [32, 8, 0, 8])],
    );
    let bad_state = Some(AxError::BadState);
    let is_refused = packet.decommit(0..8 * KIB).err() == bad_state;
    report.fact("They cannot be decommitted: `BadState`.", is_refused);
    let is_refused = packet.snapshot().err() == bad_state;
    report.fact("No snapshot can be made of them: `BadState`.", is_refused);

    drop(pinned);
    packet.decommit(0..8 * KIB)?;
    report.step(
        "They were unpinned and decommitted.",
        &[(&packet, [32, 0, 0, 0])],
    );
    Ok(())
}

/// The size of an address space, and where it shows an object, shared and private.
const SIZE: usize = 1 << 30;
const SHARED: usize = USER_BASE;
const PRIVATE: usize = USER_BASE + 1024 * KIB;
/// Where anonymous memory is, in a page table of its own, which a fork shares.
const ANONYMOUS: usize = USER_BASE + 4096 * KIB;

fn address_space() -> AxResult<Pin<Box<AddrSpace>>> {
    Ok(Box::pin(new_user_aspace(USER_BASE.into(), SIZE)?))
}

/// Makes an address space that shows all of an object twice.
fn shows(object: &Vmo) -> AxResult<Pin<Box<AddrSpace>>> {
    let space = address_space()?;
    for (start, sharing) in [(SHARED, Sharing::Shared), (PRIVATE, Sharing::Private)] {
        let start = start.into();
        space
            .as_ref()
            .map_object(start, object.len(), RW, object, 0, sharing)?;
    }
    Ok(space)
}

/// Prints listings of address spaces if `make maps` wants them.
fn list(spaces: &[(&'static str, &AddrSpace)]) {
    if env::var("maps").is_some() {
        println!();
        spaces
            .iter()
            .for_each(|(name, space)| print_maps_of(space, name));
    }
}

fn mappings(report: &mut Report) -> AxResult {
    let page = paged("page", 16 * KIB)?;
    page.write(0, &[1; 16 * KIB])?;
    let space = shows(&page)?;
    report.step(
        "An address space shows an object twice: shared, and private, which is a snapshot.",
        &[(&page, [16, 16, 16, 0])],
    );
    let areas = |report: &mut Report, shared, private| {
        report.areas(&[
            ("space", &space, SHARED, shared),
            ("space", &space, PRIVATE, private),
        ]);
    };
    areas(report, [0, 0, 0, 0], [0, 0, 0, 0]);

    space.write(SHARED.into(), &[2])?;
    report.step(
        "A write to the shared mapping went to the object, which copied its page.",
        &[(&page, [16, 16, 12, 4])],
    );
    areas(report, [4, 4, 0, 0], [0, 0, 0, 0]);
    report.fact("The object has the new byte.", byte(&page, 0)? == 2);
    let old: u8 = space.read_val(PRIVATE.into())?;
    report.fact("The private mapping still shows the old one.", old == 1);

    space.write((PRIVATE + PAGE).into(), &[3])?;
    report.step(
        "A write to the private mapping copied a page for the address space alone.",
        &[(&page, [16, 16, 12, 4])],
    );
    areas(report, [4, 4, 0, 0], [8, 4, 4, 0]);
    report.fact(
        "The object does not have that byte.",
        byte(&page, PAGE)? == 1,
    );

    page.decommit(0..PAGE)?;
    let zero: u8 = space.read_val(SHARED.into())?;
    report.step(
        "A page was decommitted. No shared mapping shows its former frame any more.",
        &[(&page, [16, 12, 12, 0])],
    );
    areas(report, [4, 0, 0, 4], [8, 4, 4, 0]);
    report.fact("The shared mapping reads as zero there.", zero == 0);
    list(&[("space", &space)]);
    Ok(())
}

fn forks(report: &mut Report) -> AxResult {
    let page = paged("page", 16 * KIB)?;
    page.write(0, &[1; 16 * KIB])?;
    let parent = shows(&page)?;
    parent.map_alloc(ANONYMOUS.into(), 64 * KIB, RW, false)?;
    parent.write(ANONYMOUS.into(), &[1; 32 * KIB])?;
    let _: u8 = parent.read_val(SHARED.into())?;
    parent.write(PRIVATE.into(), &[4])?;
    let _: u8 = parent.read_val((PRIVATE + PAGE).into())?;
    let child = address_space()?;
    parent.fork_into(child.as_ref())?;
    report.step(
        "An address space that shows an object was forked, with two pages that it has read and one that \
         it has written.",
        &[(&page, [16, 16, 16, 0])],
    );
    let areas = |report: &mut Report, figures: [AreaFigures; 4]| {
        report.areas(&[
            ("parent", &parent, SHARED, figures[0]),
            ("parent", &parent, PRIVATE, figures[1]),
            ("child", &child, SHARED, figures[2]),
            ("child", &child, PRIVATE, figures[3]),
        ]);
    };
    areas(report, [[4, 4, 0, 0], [8, 8, 0, 0], [0; 4], [8, 8, 0, 0]]);

    child.write(SHARED.into(), &[2])?;
    child.write(PRIVATE.into(), &[3])?;
    report.step(
        "The child wrote to both mappings.",
        &[(&page, [16, 16, 12, 4])],
    );
    // The object has copied the page, and has taken it from the parent until it is read again.
    areas(report, [[0; 4], [8, 4, 4, 0], [4, 4, 0, 0], [8, 4, 4, 0]]);
    let bytes = |space: &AddrSpace| -> AxResult<[u8; 2]> {
        Ok([
            space.read_val(SHARED.into())?,
            space.read_val(PRIVATE.into())?,
        ])
    };
    let sees = bytes(&child)? == [2, 3];
    report.fact("The child sees both of its bytes.", sees);
    let sees = bytes(&parent)? == [2, 4];
    report.fact("The parent sees the one in the shared mapping.", sees);
    list(&[("parent", &parent), ("child", &child)]);
    Ok(())
}
