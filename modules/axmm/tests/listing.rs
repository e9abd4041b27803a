//! What is listed of an address space is what was mapped, on every machine.

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

/// An area of each kind: `base` on, 4 KiB pages and 2 MiB ones, a TiB untouched but
/// for a page.
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

/// How large that is: a TiB where there are so many addresses.
trait Listed {
    const SIZE_LISTED: usize;
}

impl<M: TestMachine> Listed for M {
    const SIZE_LISTED: usize = match M::Raw::LEVELS {
        3 => 50 * GIB,
        _ => 1024 * GIB,
    };
}

fn people_read_each_area_and_the_sum<M: TestMachine>() {
    let _alone = alone();
    let aspace = space::<M>();
    let table = Listing(&aspace, Form::Table).to_string();
    let lines: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let hex = |at: usize| format!("{:#018x}", M::base() + at);
    let all = M::SIZE_LISTED;
    let lazy = (all - 4 * GIB) >> 10;
    assert_eq!(lines[0][..2], [hex(0), hex(all)], "{table}");
    let rows = [
        (
            MIB2 - 3 * KIB4,
            2 * MIB2,
            2060,
            "r-x--",
            "linear",
            2060,
            2048,
            "code",
        ),
        (
            GIB,
            2 * GIB + 3 * MIB2,
            1054720,
            "r----",
            "linear",
            1054720,
            1054720,
            "large",
        ),
        (
            3 * GIB,
            3 * GIB + KIB4,
            4,
            "rw---",
            "populated",
            4,
            0,
            "alloc",
        ),
        (
            3 * GIB + KIB4,
            3 * GIB + 2 * KIB4,
            4,
            "-----",
            "populated",
            4,
            0,
            "alloc",
        ),
        (
            3 * GIB + 2 * KIB4,
            3 * GIB + 8 * KIB4,
            24,
            "rw---",
            "populated",
            24,
            0,
            "alloc",
        ),
        (4 * GIB, all, lazy, "rw---", "lazy", 4, 0, "alloc"),
    ];
    for (row, (start, end, kib, rights, frames, resident, huge, name)) in
        rows.into_iter().enumerate()
    {
        let (start, end) = (hex(start), hex(end));
        let [kib, resident, huge] = [kib, resident, huge].map(|number: usize| number.to_string());
        let wanted = [&start, &end, &kib, rights, frames, &resident, &huge, name];
        assert_eq!(lines[row + 2], wanted, "{table}");
    }
    let sum = (2060 + 1_054_720 + 32 + lazy).to_string();
    assert_eq!(lines[8], ["all", &sum, "1056816", "1056768", "6", "areas"]);
    // The lowest level: one for the code's small pages, for the populated, and for the lazy.
    let raw = M::walk(&aspace).unwrap();
    assert!(
        table.contains(&format!("page tables: {} KiB", raw.tables.len() * 4)),
        "{table}"
    );
    assert!(table.trim_end().ends_with(" 3 of level 0"), "{table}");
    assert_eq!(lines.len(), 10);
}

/// All pages of a table that was read, and all frames.
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

fn programs_read_the_page_table_as_it_is<M: TestMachine>() {
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
        // The kernel's own; without rights the walker sees nothing of it.
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
        .map(|area| (area.span().start, area.span().end, area.name()))
        .collect();
    assert_eq!(areas, wanted);
}

/// Between two lines anybody may map, unmap and protect.
fn a_space_may_change_between_two_lines<M: TestMachine>() {
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
                assert!(line < 100, "no end:\n{text}");
            }
            assert!(text.ends_with(if form == Form::Data {
                "@map end\n"
            } else {
                "level 0\n"
            }));
        }
    }
}

/// What has been listed is not listed again as part of what it has become.
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

fn nothing_is_allocated<M: TestMachine>() {
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
    people_read_each_area_and_the_sum,
    programs_read_the_page_table_as_it_is,
    a_space_may_change_between_two_lines,
    an_area_may_grow_between_two_lines,
    nothing_is_allocated,
);
