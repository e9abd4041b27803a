//! Address spaces of every format against a flat model ([`axmm_machines::model`]):
//! random scripts of operations.
//!
//! `TESSERA_STEPS=10000000 cargo test -p axmm --test model` takes as many steps
//! in all. A script that fails is made short, and printed as what `play` takes.

use axmm::{Grain, MappingFlags};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

mod support;

use support::memory::Hold;
use support::model::{
    ATOMS, Frames, Op, PAGES, Place, SIZE, Spot, Step, Twist, Whose, bounds, play,
};
use support::{DEVICE, EXECUTE, KIB4, MIB2, NONE, RO, RW, RX, TestMachine, UNCACHED, WRITE, alone};

/// Steps in all, of the five formats together.
const STEPS: usize = 2_000_000;
/// Steps of the longest script.
const LONGEST: usize = 2000;

fn whose() -> impl Strategy<Value = Whose> {
    prop_oneof![3 => Just(Whose::Kernels), 1 => Just(Whose::Users)]
}

fn place() -> impl Strategy<Value = Place> + Clone {
    let first = prop_oneof![3 => 0..PAGES, 2 => PAGES..ATOMS];
    let count = prop_oneof![3 => 1..4_usize, 2 => 1..20_usize, 1 => 1..=ATOMS];
    let twist = prop_oneof![
        30 => Just(Twist::Fine),
        1 => prop_oneof![
            Just(Twist::MisalignedStart),
            Just(Twist::MisalignedSize),
            Just(Twist::Empty),
            Just(Twist::Overflow),
            Just(Twist::Below),
            Just(Twist::Beyond),
        ],
    ];
    (first, count, twist).prop_map(|(first, count, twist)| Place {
        first,
        count: count.min(ATOMS - first),
        twist,
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

/// The first pages of an atom, or any.
fn spot() -> impl Strategy<Value = Spot> + Clone {
    let page = prop_oneof![8 => Just(0_usize), 2 => 0..32_usize, 1 => 0..4096_usize];
    (0..ATOMS, page, 0..KIB4).prop_map(|(atom, page, offset)| Spot(atom, page * KIB4 + offset))
}

fn grain() -> impl Strategy<Value = Grain> + Clone {
    prop_oneof![
        12 => Just(Grain::Page),
        3 => Just(Grain::Large),
        5 => (0..7_u32).prop_map(|order| Grain::Around(1 << order)),
        1 => (0..3_usize).prop_map(|at| Grain::Around([512, 3, 1024][at])),
    ]
}

/// How much memory others have.
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
    let leads = prop_oneof![
        8 => (0..4_usize).prop_map(|at| Frames::Shifted([0, 0, MIB2, KIB4][at])),
        2 => Just(Frames::High),
        1 => (0..3_usize).prop_map(
            |at| [Frames::Misaligned, Frames::Overflow, Frames::TooHigh][at]
        ),
    ];
    let access = [RO, WRITE, EXECUTE, RW, NONE, RO | MappingFlags::USER];
    let access = (0..access.len()).prop_map(move |at| access[at]);
    let near = || (0..=ATOMS, 0..3_usize).prop_map(|(atom, off)| bounds(atom) + [0, 1, KIB4][off]);
    // Boxed, or each step drags along what all of them take.
    let op = prop_oneof![
        12 => (place(), leads, rights()).prop_map(|(at, to, flags)| Op::Linear(at, to, flags)).boxed(),
        14 => (place(), rights(), any::<bool>(), grain())
            .prop_map(|(at, flags, all, grain)| Op::Alloc(at, flags, all, grain)).boxed(),
        20 => place().prop_map(Op::Unmap).boxed(),
        24 => (place(), rights()).prop_map(|(at, flags)| Op::Protect(at, flags)).boxed(),
        30 => (spot(), access.clone()).prop_map(|(at, access)| Op::Fault(at, access)).boxed(),
        2 => (spot(), 0..3 * KIB4).prop_map(|(at, size)| Op::Read(at, size)).boxed(),
        2 => (spot(), 0..3 * KIB4).prop_map(|(at, size)| Op::Write(at, size)).boxed(),
        1 => prop_oneof![3 => Just(Op::Clear), 1 => hold().prop_map(Op::Hold)].boxed(),
        6 => (near(), near(), near(), near(), any::<bool>()).prop_map(|(hint, size, a, b, free)| {
            let limit = if free { (0, SIZE) } else { (a.min(b), a.max(b)) };
            Op::FindFree { hint, size: size >> 9, limit }
        }).boxed(),
        6 => (place(), 0..KIB4, access)
            .prop_map(|(at, off, access)| Op::CanAccess(at, off, access)).boxed(),
    ];
    let fail = prop_oneof![9 => Just(0_usize), 1 => 1..8_usize];
    (op, fail).prop_map(|(op, fail)| Step(op, fail)).boxed()
}

fn each_page_means_what_the_model_says<M: TestMachine>() {
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
    let result = TestRunner::new(config)
        .run(&(whose(), vec(step(), 1..LONGEST)), |(whose, script)| {
            play::<M>(whose, &script)
        });
    if let Err(error) = result {
        panic!("{}: {error}", M::NAME);
    }
}

on_every_machine!(each_page_means_what_the_model_says);
