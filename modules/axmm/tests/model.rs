//! Random scripts of operations on address spaces of every page-table format. After each
//! step the address space is compared with its model ([`axmm_machines::model`]).
//!
//! `TESSERA_STEPS=10000000 cargo test -p axmm --test model` performs that many steps, for all
//! formats together. A script that fails is shortened, and printed as the arguments of `play`.

use axmm::{Grain, MappingFlags};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

mod support;

use support::memory::Hold;
use support::model::{
    ATOMS, AtomRange, Defect, Location, Op, PAGES, SIZE, SpaceKind, Step, Target, play, start_of,
};
use support::{DEVICE, EXECUTE, KIB4, MIB2, NONE, RO, RW, RX, TestMachine, UNCACHED, WRITE, alone};

/// The number of steps, for the five formats together.
const STEPS: usize = 2_000_000;
/// The largest number of steps of a script.
const LONGEST: usize = 2000;

fn space_kind() -> impl Strategy<Value = SpaceKind> {
    prop_oneof![3 => Just(SpaceKind::Kernel), 1 => Just(SpaceKind::User)]
}

fn atom_range() -> impl Strategy<Value = AtomRange> + Clone {
    let first = prop_oneof![3 => 0..PAGES, 2 => PAGES..ATOMS];
    let count = prop_oneof![3 => 1..4_usize, 2 => 1..20_usize, 1 => 1..=ATOMS];
    let defect = prop_oneof![
        30 => Just(Defect::None),
        1 => prop_oneof![
            Just(Defect::MisalignedStart),
            Just(Defect::MisalignedSize),
            Just(Defect::Empty),
            Just(Defect::Overflow),
            Just(Defect::Below),
            Just(Defect::Beyond),
        ],
    ];
    (first, count, defect).prop_map(|(first, count, defect)| AtomRange {
        first,
        count: count.min(ATOMS - first),
        defect,
    })
}

fn rights() -> impl Strategy<Value = MappingFlags> + Clone {
    let good = [RW, RW, RO, RX, NONE, NONE, DEVICE, UNCACHED];
    let bad = [
        WRITE,
        EXECUTE,
        RW | EXECUTE,
        RW | MappingFlags::USER,
        MappingFlags::DEVICE,
    ];
    prop_oneof![
        20 => (0..good.len()).prop_map(move |at| good[at]),
        1 => (0..bad.len()).prop_map(move |at| bad[at]),
    ]
}

/// An address in the first pages of an atom, or anywhere in it.
fn location() -> impl Strategy<Value = Location> + Clone {
    let page = prop_oneof![8 => Just(0_usize), 2 => 0..32_usize, 1 => 0..4096_usize];
    (0..ATOMS, page, 0..KIB4).prop_map(|(atom, page, offset)| Location(atom, page * KIB4 + offset))
}

fn grain() -> impl Strategy<Value = Grain> + Clone {
    prop_oneof![
        12 => Just(Grain::Page),
        3 => Just(Grain::Large),
        5 => (0..7_u32).prop_map(|order| Grain::Around(1 << order)),
        1 => (0..3_usize).prop_map(|at| Grain::Around([512, 3, 1024][at])),
    ]
}

/// How much memory the test takes.
fn hold() -> impl Strategy<Value = Hold> {
    let every = (0..4_usize).prop_map(|at| [0, 0, 4, 32][at]);
    let left = prop_oneof![2 => Just(usize::MAX), 1 => 1..32_usize];
    (0..=8_usize, every, left).prop_map(|(blocks, every, left)| Hold {
        blocks,
        every,
        left,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let targets = prop_oneof![
        8 => (0..4_usize).prop_map(|at| Target::Shifted([0, 0, MIB2, KIB4][at])),
        2 => Just(Target::High),
        1 => (0..3_usize).prop_map(
            |at| [Target::Misaligned, Target::Overflow, Target::TooHigh][at]
        ),
    ];
    let access = [RO, WRITE, EXECUTE, RW, NONE, RO | MappingFlags::USER];
    let access = (0..access.len()).prop_map(move |at| access[at]);
    let near =
        || (0..=ATOMS, 0..3_usize).prop_map(|(atom, off)| start_of(atom) + [0, 1, KIB4][off]);
    // Boxed: otherwise the value of each step would contain the values for all operations.
    let op = prop_oneof![
        12 => (atom_range(), targets, rights()).prop_map(|(at, to, flags)| Op::Linear(at, to, flags)).boxed(),
        14 => (atom_range(), rights(), any::<bool>(), grain())
            .prop_map(|(at, flags, all, grain)| Op::Alloc(at, flags, all, grain)).boxed(),
        20 => atom_range().prop_map(Op::Unmap).boxed(),
        24 => (atom_range(), rights()).prop_map(|(at, flags)| Op::Protect(at, flags)).boxed(),
        30 => (location(), access.clone()).prop_map(|(at, access)| Op::Fault(at, access)).boxed(),
        2 => (location(), 0..3 * KIB4).prop_map(|(at, size)| Op::Read(at, size)).boxed(),
        2 => (location(), 0..3 * KIB4).prop_map(|(at, size)| Op::Write(at, size)).boxed(),
        1 => prop_oneof![
            3 => Just(Op::Clear),
            1 => Just(Op::CloneEager),
            1 => hold().prop_map(Op::Hold),
        ].boxed(),
        6 => (near(), near(), near(), near(), any::<bool>()).prop_map(|(hint, size, a, b, free)| {
            let limit = if free { (0, SIZE) } else { (a.min(b), a.max(b)) };
            Op::FindFree { hint, size: size >> 9, limit }
        }).boxed(),
        6 => (atom_range(), 0..KIB4, access)
            .prop_map(|(at, off, access)| Op::CanAccess(at, off, access)).boxed(),
    ];
    let fail = prop_oneof![9 => Just(0_usize), 1 => 1..8_usize];
    (op, fail).prop_map(|(op, fail)| Step(op, fail)).boxed()
}

fn address_spaces_behave_like_their_model<M: TestMachine>() {
    let _alone = alone();
    let steps = std::env::var("TESSERA_STEPS").ok();
    let steps = steps.and_then(|steps| steps.parse().ok()).unwrap_or(STEPS) / 5;
    let config = Config {
        cases: (steps / (LONGEST / 2)).max(1) as u32,
        failure_persistence: None,
        max_shrink_iters: 100_000,
        max_shrink_time: 60_000,
        ..Config::default()
    };
    let result = TestRunner::new(config).run(
        &(space_kind(), vec(step(), 1..LONGEST)),
        |(kind, script)| play::<M>(kind, &script),
    );
    if let Err(error) = result {
        panic!("{}: {error}", M::NAME);
    }
}

on_every_machine!(address_spaces_behave_like_their_model);
