//! The listing of an address space shows what was mapped, in every page-table format.

use std::alloc::System;
use std::fmt::Write;

use axalloc::fault::{FailingHeap, fail_from};
use axmm::AddrSpace;
use axmm::report::listing::{Form, Lines, Listing};
use maps::{Entry, Run, Space, Table};

mod support;

use support::raw::{Format, Raw, RawPage};
use support::{GIB, KIB4, MIB2, MapPhysical, NONE, RO, RW, RX, TestMachine, alone, phys, virt};

#[global_allocator]
static HEAP: FailingHeap<System> = FailingHeap(System);

/// Returns an address space with an area of each kind. They have pages of 4 KiB, 2 MiB and
/// 1 GiB. The last one is lazy and almost a TiB large, and one page of it is mapped.
fn space<M: TestMachine>() -> AddrSpace<M> {
    let base = M::base();
    let size = M::SIZE_LISTED;
    let mut aspace = AddrSpace::<M>::new_empty(virt(base), size).unwrap();
    let map = |aspace: &mut AddrSpace<M>, name, at, to, size, rights| {
        aspace
            .map_physical_named(name, virt(base + at), phys(to), size, rights)
            .unwrap();
    };
    map(
        &mut aspace,
        "code",
        MIB2 - 3 * KIB4,
        8 * GIB - 3 * KIB4,
        3 * KIB4 + MIB2,
        RX,
    );
    map(&mut aspace, "large", GIB, 16 * GIB, GIB + 3 * MIB2, RO);
    aspace
        .map_alloc(virt(base + 3 * GIB), 8 * KIB4, RW, true)
        .unwrap();
    aspace
        .protect(virt(base + 3 * GIB + KIB4), KIB4, NONE)
        .unwrap();
    aspace
        .map_alloc(virt(base + 4 * GIB), size - 4 * GIB, RW, false)
        .unwrap();
    assert!(aspace.handle_page_fault(virt(base + 5 * GIB + 8), RW));
    aspace
}

/// The size of the address space in bytes: a TiB if the format has that many addresses.
trait Listed {
    const SIZE_LISTED: usize;
}

impl<M: TestMachine> Listed for M {
    const SIZE_LISTED: usize = match M::Raw::LEVELS {
        3 => 50 * GIB,
        _ => 1024 * GIB,
    };
}

/// A row of the table: the offsets of the start and the end, the size in KiB, the rights, how
/// frames are mapped, the KiB that are mapped and the KiB in large pages, and the name.
type Row = (
    usize,
    usize,
    usize,
    &'static str,
    &'static str,
    usize,
    usize,
    &'static str,
);

/// The offset of the populated area. The rights of its second page were taken, which has split it.
const POPULATED: usize = 3 * GIB;

/// The rows of all areas but the last one.
#[rustfmt::skip]
const ROWS: [Row; 5] = [
    (MIB2 - 3 * KIB4, 2 * MIB2, 2060, "r-x--", "linear", 2060, 2048, "code"),
    (GIB, 2 * GIB + 3 * MIB2, 1054720, "r----", "linear", 1054720, 1054720, "large"),
    (POPULATED, POPULATED + KIB4, 4, "rw---", "populated", 4, 0, "alloc"),
    (POPULATED + KIB4, POPULATED + 2 * KIB4, 4, "-----", "populated", 4, 0, "alloc"),
    (POPULATED + 2 * KIB4, POPULATED + 8 * KIB4, 24, "rw---", "populated", 24, 0, "alloc"),
];

/// Asserts that the words of a line of the table are those of `row`.
fn assert_row<M: TestMachine>(line: &[&str], row: Row) {
    let (start, end, kib, rights, frames, resident, huge, name) = row;
    let [start, end] = [start, end].map(hex::<M>);
    let private = if frames == "linear" { 0 } else { resident };
    let owners = owners(private);
    let [kib, resident, huge] = [kib, resident, huge].map(|number| number.to_string());
    let mut wanted = vec![&start, &end, &kib, rights, frames, &resident, &huge];
    wanted.extend(owners.iter().map(String::as_str));
    wanted.push(name);
    assert_eq!(line, wanted);
}

/// Returns the columns for the KiB that others have, too, that only the address space has, and
/// that show the zero frame. Without memory objects there are no such columns.
fn owners(private: usize) -> Vec<String> {
    match cfg!(feature = "objects") {
        true => [0, private, 0].map(|kib| kib.to_string()).to_vec(),
        false => Vec::new(),
    }
}

/// Returns the address at an offset, as the table shows it.
fn hex<M: TestMachine>(offset: usize) -> String {
    format!("{:#018x}", M::base() + offset)
}

fn the_table_shows_each_area_and_the_sum<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let table = Listing(&aspace, Form::Table).to_string();
    let words = table.lines().map(str::split_whitespace);
    let lines: Vec<Vec<&str>> = words.map(Iterator::collect).collect();
    let all = M::SIZE_LISTED;
    let lazy = (all - 4 * GIB) >> 10;
    assert_eq!(lines[0][..2], [hex::<M>(0), hex::<M>(all)], "{table}");
    let last = (4 * GIB, all, lazy, "rw---", "lazy", 4, 0, "alloc");
    for (line, row) in lines[2..].iter().zip(ROWS.into_iter().chain([last])) {
        assert_row::<M>(line, row);
    }
    let sum = (2060 + 1_054_720 + 32 + lazy).to_string();
    let owners = owners(36);
    let mut wanted = vec!["all", &sum, "1056816", "1056768"];
    wanted.extend(owners.iter().map(String::as_str));
    wanted.extend(["6", "areas"]);
    assert_eq!(lines[8], wanted);
    // Three tables are of the lowest level: for the small pages of the code, for the populated
    // area, and for the lazy one.
    let raw = M::walk(&aspace).unwrap();
    let tables = format!("page tables: {} KiB", raw.tables.len() * 4);
    assert!(table.contains(&tables), "{table}");
    assert!(table.trim_end().ends_with(" 3 of level 0"), "{table}");
    assert_eq!(lines.len(), 10);
}

/// Adds all pages and tables of a listed page table to `raw`.
fn collect(table: &Table, raw: &mut Raw, rights: &dyn Fn(&Run) -> support::raw::Rights) {
    raw.tables.push(table.frame as usize);
    for entry in &table.entries {
        match entry {
            Entry::Table(below) => collect(below, raw, rights),
            Entry::Run(run) => raw.pages.extend((0..run.count).map(|index| {
                let size = maps::entry_size(table.level);
                RawPage {
                    vaddr: (run.vaddr + index * size) as usize,
                    paddr: (run.paddr + index * size) as usize,
                    size: size as usize,
                    rights: rights(run),
                }
            })),
        }
    }
}

fn read(text: &str) -> Space {
    let mut spaces = maps::read(text).unwrap_or_else(|error| panic!("{error}:\n{text}"));
    assert_eq!(spaces.len(), 1);
    spaces.remove(0)
}

fn the_data_contain_the_whole_page_table<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let data = Listing(&aspace, Form::Data).to_string();
    let space = read(&data);
    assert_eq!(space.to_string(), data);
    let mut listed = Raw::default();
    collect(&space.root, &mut listed, &|run| support::raw::Rights {
        read: run.rights.read,
        write: run.rights.write,
        execute: run.rights.execute,
        user: run.rights.user,
        // Kernel pages are global. The reader of raw entries has no bits for pages without rights.
        global: run.rights.read,
        memory: Default::default(),
    });
    assert_eq!(listed, M::walk(&aspace).unwrap());
    let areas: Vec<_> = space
        .areas
        .iter()
        .map(|area| (area.start as usize, area.end as usize, &*area.name))
        .collect();
    let wanted: Vec<_> = aspace
        .areas()
        .map(|area| {
            (
                area.start().as_usize(),
                area.end().as_usize(),
                area.backend().name(),
            )
        })
        .collect();
    assert_eq!(areas, wanted);
}

/// Other threads may map, unmap and protect between two lines.
fn an_address_space_may_change_between_two_lines<M: TestMachine>() {
    let _alone = alone();
    for form in [Form::Table, Form::Data] {
        for at in 0..40 {
            let (aspace, base) = (space::<M>(), M::base());
            let (mut lines, mut text) = (Lines::new(form), String::new());
            for line in 0.. {
                if line == at {
                    aspace.unmap(virt(base), 4 * GIB).unwrap();
                    aspace.map_alloc(virt(base + MIB2), KIB4, RO, true).unwrap();
                }
                if !lines.write_next(&aspace, &mut text).unwrap() {
                    break;
                }
                text.write_char('\n').unwrap();
                assert!(line < 100, "the listing does not end:\n{text}");
            }
            assert!(text.ends_with(if form == Form::Data {
                "@map end\n"
            } else {
                "level 0\n"
            }));
        }
    }
}

/// The part of the area that has been listed is not listed again.
fn an_area_may_grow_between_two_lines<M: TestMachine>() {
    let _alone = alone();
    let base = M::base();
    let aspace = AddrSpace::<M>::new_empty(virt(base), GIB).unwrap();
    aspace.map_alloc(virt(base), KIB4, RW, true).unwrap();
    let (mut lines, mut text) = (Lines::new(Form::Data), String::new());
    for line in 0.. {
        if line == 2 {
            aspace.map_alloc(virt(base + KIB4), KIB4, RW, true).unwrap();
        }
        if !lines.write_next(&aspace, &mut text).unwrap() {
            break;
        }
        text.write_char('\n').unwrap();
    }
    assert_eq!(aspace.areas().count(), 1);
    let listed: Vec<u64> = read(&text).areas.iter().map(|area| area.resident).collect();
    assert_eq!(listed, [KIB4 as u64; 2], "{text}");
}

fn a_listing_allocates_nothing<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let (mut text, mut data) = (
        String::with_capacity(1 << 20),
        String::with_capacity(1 << 20),
    );
    let armed = fail_from(1);
    write!(text, "{}", Listing(&aspace, Form::Table)).unwrap();
    write!(data, "{}", Listing(&aspace, Form::Data)).unwrap();
    assert!(!armed.has_fired());
}

on_every_machine!(
    the_table_shows_each_area_and_the_sum,
    the_data_contain_the_whole_page_table,
    an_address_space_may_change_between_two_lines,
    an_area_may_grow_between_two_lines,
    a_listing_allocates_nothing,
);
