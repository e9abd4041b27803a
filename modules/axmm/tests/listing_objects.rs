//! Listings of address spaces that show memory objects or have been forked: who has which frames.

use std::alloc::System;
use std::fmt::Write;
use std::pin::Pin;
use std::thread;

use axalloc::fault::{FailingHeap, fail_from};
use axalloc::usage;
use axmm::report::listing::{Form, Lines, Listing};
use axmm::vmo::Vmo;
use axmm::{AddrSpace, Machine, Resident, Sharing, VirtAddrRange};
use maps::{Area, Space};

mod support;

use support::threads::{Threads, set_this_hart};
use support::{GIB, KIB4, MIB2, RO, RW, TestMachine, WRITE, alone, virt};

#[global_allocator]
static HEAP: FailingHeap<System> = FailingHeap(System);

const SIZE: usize = 4 * GIB;
/// Where an object is shown, shared and private, and where anonymous memory is.
const SHARED: usize = MIB2;
const PRIVATE: usize = 4 * MIB2;
const ANONYMOUS: usize = GIB;

fn base<M: TestMachine>() -> usize {
    M::base() - M::HIGH
}

fn empty<M: TestMachine>() -> Pin<Box<AddrSpace<M>>> {
    Box::pin(AddrSpace::new_empty_user(virt(base::<M>()), SIZE).unwrap())
}

/// Returns an object of eight pages, of which two are written, and an address space that shows all
/// of it shared, and the pages from the second on private.
fn showing<M: TestMachine>() -> (Vmo<M>, Pin<Box<AddrSpace<M>>>) {
    let object = Vmo::new_paged(8 * KIB4).unwrap();
    object.set_name("notes");
    object.write(KIB4 - 1, &[1, 2]).unwrap();
    let space = empty::<M>();
    let map = |at, len, offset, sharing| {
        let start = virt(base::<M>() + at);
        let space = space.as_ref();
        space.map_object(start, len, RW, &object, offset, sharing)
    };
    map(SHARED, 8 * KIB4, 0, Sharing::Shared).unwrap();
    map(PRIVATE, 7 * KIB4, KIB4, Sharing::Private).unwrap();
    (object, space)
}

fn read<M: Machine>(space: &AddrSpace<M>) -> Space {
    let data = Listing(space, Form::Data).to_string();
    let mut spaces = maps::read(&data).unwrap_or_else(|error| panic!("{error}:\n{data}"));
    assert_eq!(spaces[0].to_string(), data);
    spaces.remove(0)
}

/// Returns how many pages of an area are shared, private, and the zero frame.
fn pages(area: &Area) -> [u64; 3] {
    assert_eq!(area.resident, area.shared + area.private + area.zero);
    [area.shared, area.private, area.zero].map(|bytes| bytes / KIB4 as u64)
}

fn an_area_has_the_name_and_the_figures_of_its_object<M: TestMachine>() {
    let _alone = alone();
    let before = usage();
    let (object, space) = showing::<M>();
    let touch = |at, page, access| space.fault(virt(base::<M>() + at + page * KIB4), access);
    // The first write copies a page, because the private mapping is a snapshot.
    touch(SHARED, 0, WRITE).unwrap();
    touch(SHARED, 1, RO).unwrap();
    touch(SHARED, 2, RO).unwrap();
    touch(PRIVATE, 0, RO).unwrap();
    touch(PRIVATE, 1, RO).unwrap();
    touch(PRIVATE, 2, WRITE).unwrap();
    let listed = read(&space);
    let [shared, private] = &listed.areas[..] else {
        panic!("{listed}");
    };
    assert_eq!(
        (&*shared.frames, &*private.frames),
        ("object", "object-cow")
    );
    assert_eq!((pages(shared), pages(private)), ([2, 0, 1], [1, 1, 1]));
    let (own, snapshot) = (shared.object.as_ref(), private.object.as_ref());
    let (own, snapshot) = (own.unwrap(), snapshot.unwrap());
    assert_eq!((&*own.name, &*own.kind, own.offset), ("notes", "paged", 0));
    assert_eq!((own.len, own.id), (8 * KIB4 as u64, object.id() as u64));
    let committed = object.committed();
    assert_eq!(own.shared, committed.shared as u64);
    assert_eq!(own.private, committed.private as u64);
    // The page that was copied, and the one that the snapshot does not have.
    assert_eq!((own.shared, own.private), (KIB4 as u64, KIB4 as u64));
    assert_eq!((&*snapshot.name, &*snapshot.kind), ("notes", "snapshot"));
    assert_eq!(
        (snapshot.offset, snapshot.len),
        (KIB4 as u64, 7 * KIB4 as u64)
    );

    let table = Listing(&*space, Form::Table).to_string();
    let wanted = "paged object: 4 KiB shared with other objects, 4 KiB private";
    assert_eq!(table.matches(wanted).count(), 1, "{table}");
    let lines = [
        "  notes+0x0\n",
        "  notes+0x1000\n",
        "          12           0         8         0         4",
    ];
    for words in lines {
        assert!(table.contains(words), "{words} in {table}");
    }
    drop((object, space));
    assert_eq!(usage(), before);
}

fn a_fork_shares_pages_and_tables_until_they_are_written<M: TestMachine>() {
    let _alone = alone();
    let before = usage();
    let parent = empty::<M>();
    let start = virt(base::<M>() + ANONYMOUS);
    parent.map_alloc(start, 16 * KIB4, RW, false).unwrap();
    for page in 0..8 {
        parent.write(start + page * KIB4, &[1]).unwrap();
    }
    parent.fault(start + 8 * KIB4, RO).unwrap();
    let listed = read(&parent);
    assert_eq!(pages(&listed.areas[0]), [0, 8, 1]);
    assert_eq!(listed.root.count_shared(), 0);

    let child = parent.fork().unwrap();
    for space in [&*parent, &child] {
        let listed = read(space);
        assert_eq!(pages(&listed.areas[0]), [8, 0, 1]);
        assert!(listed.root.count_shared() > 0, "{listed}");
        let table = Listing(space, Form::Table).to_string();
        let words = format!("; {} shared with", listed.root.count_shared());
        assert!(table.contains(&words), "{table}");
    }
    // Opens the tables on the path, and copies a page.
    child.write(start, &[2]).unwrap();
    let listed = read(&child);
    assert_eq!(pages(&listed.areas[0]), [7, 1, 1]);
    assert_eq!(listed.root.count_shared(), 0);
    // The parent's tables have no other owner any more, but most pages have.
    let listed = read(&parent);
    assert_eq!(pages(&listed.areas[0]), [7, 1, 1]);
    assert_eq!(listed.root.count_shared(), 0);
    drop(child);
    assert_eq!(pages(&read(&parent).areas[0]), [0, 8, 1]);
    drop(parent);
    assert_eq!(usage(), before);
}

/// Pages of 2 MiB are counted in steps.
fn large_pages_are_counted_frame_by_frame<M: TestMachine>() {
    let _alone = alone();
    let parent = empty::<M>();
    let start = virt(base::<M>() + ANONYMOUS);
    let map = parent.map_alloc_with(start, MIB2, RW, true, axmm::Grain::Large);
    map.unwrap();
    let child = parent.fork().unwrap();
    // One page is copied, and 511 stay shared.
    child.write(start + 100 * KIB4, &[1]).unwrap();
    let range = VirtAddrRange::from_start_size(start, MIB2);
    let of = |shared, private, huge| Resident {
        all: MIB2,
        huge,
        shared,
        private,
        zero: 0,
    };
    assert_eq!(child.resident(range), of(511 * KIB4, KIB4, 0));
    let huge = parent.resident(range).huge;
    assert_eq!(parent.resident(range), of(511 * KIB4, KIB4, huge));
    let part = VirtAddrRange::from_start_size(start + 99 * KIB4, 2 * KIB4);
    assert_eq!(parent.resident(part).private, KIB4);
    assert_eq!(parent.resident(part).all, 2 * KIB4);
}

/// Other threads may end a mapping, or drop the object, between two lines.
fn an_object_may_go_away_between_two_lines<M: TestMachine>() {
    let _alone = alone();
    let before = usage();
    for form in [Form::Table, Form::Data] {
        for at in 0..20 {
            let (object, space) = showing::<M>();
            let mut object = Some(object);
            let (mut lines, mut text) = (Lines::new(form).with_name("user"), String::new());
            for line in 0.. {
                if line == at {
                    object = None;
                    space.unmap(virt(base::<M>()), GIB).unwrap();
                }
                if !lines.write_next(&*space, &mut text).unwrap() {
                    break;
                }
                text.write_char('\n').unwrap();
            }
            drop(object);
            if form == Form::Data {
                assert_eq!(maps::read(&text).unwrap()[0].name, "user");
            }
        }
    }
    assert_eq!(usage(), before);
}

fn a_listing_of_objects_allocates_nothing<M: TestMachine>() {
    let _alone = alone();
    let (_object, space) = showing::<M>();
    let _child = empty::<M>();
    space.fork_into(_child.as_ref()).unwrap();
    let mut text = String::with_capacity(1 << 20);
    let armed = fail_from(1);
    for form in [Form::Table, Form::Data] {
        write!(text, "{}", Listing(&*space, form)).unwrap();
    }
    assert!(!armed.has_fired());
}

/// One hart lists an address space. Others map objects there, unmap and drop them, and fork it.
fn listings_are_made_beside_operations<R: TestMachine>() {
    const ROUNDS: usize = 150;
    let _alone = alone();
    let before = usage();
    let range = VirtAddrRange::from_start_size(virt(base::<R>()), SIZE);
    let new = || -> Pin<Box<AddrSpace<Threads<R>>>> {
        Box::pin(AddrSpace::new_empty_user(range.start, SIZE).unwrap())
    };
    let space = new();
    thread::scope(|scope| {
        let mapper = scope.spawn(|| {
            set_this_hart(1);
            for round in 0..ROUNDS {
                let object = Vmo::new_paged(8 * KIB4).unwrap();
                object.set_name("notes");
                for (at, sharing) in [(SHARED, Sharing::Shared), (PRIVATE, Sharing::Private)] {
                    let start = range.start + at;
                    let mapped = space.as_ref();
                    let mapped = mapped.map_object(start, 8 * KIB4, RW, &object, 0, sharing);
                    mapped.unwrap();
                    space.write(start + round % 8 * KIB4, &[1]).unwrap();
                }
                drop(object);
                space.unmap(range.start, GIB).unwrap();
            }
        });
        let forker = scope.spawn(|| {
            set_this_hart(2);
            for _ in 0..ROUNDS {
                let child = new();
                space.fork_into(child.as_ref()).unwrap();
            }
        });
        let mut shown = 0;
        while !(mapper.is_finished() && forker.is_finished()) {
            for form in [Form::Table, Form::Data] {
                let text = Listing(&*space, form).to_string();
                shown += text.matches("notes").count();
            }
            if let Some(object) = space.object_at(range.start + SHARED) {
                assert_eq!((object.name, object.len), ("notes", 8 * KIB4));
            }
        }
        assert!(shown > 0, "no listing shows an object");
    });
    drop(space);
    assert_eq!(usage(), before);
}

on_every_machine!(
    listings_are_made_beside_operations,
    an_area_has_the_name_and_the_figures_of_its_object,
    a_fork_shares_pages_and_tables_until_they_are_written,
    large_pages_are_counted_frame_by_frame,
    an_object_may_go_away_between_two_lines,
    a_listing_of_objects_allocates_nothing,
);
