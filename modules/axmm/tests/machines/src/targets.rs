//! What fuzzers run, and tests with the inputs that fuzzers have kept: each takes any
//! bytes, and panics if something is wrong.

use arbitrary::{Arbitrary, Unstructured};
use axmm::AddrSpace;
use axmm::report::listing::{Form, Listing, MARK};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::model::{Step, Verdict, Whose, play_to};
use crate::{A64, La64, Sv39, Sv48, TestMachine, X64, alone};

/// A fuzz target: its name, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 2] = [("operations", operations), ("listing", listing)];

/// Steps of the longest script.
const LONGEST: usize = 400;

/// A script of operations, beside the model, on one of the machines.
pub fn operations(bytes: &[u8]) {
    run(bytes, Look::Nowhere);
}

/// Text is read as a console; other bytes are a script, whose address space is
/// listed, and the listing read.
pub fn listing(bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.starts_with(MARK) => text_is_read(text),
        _ => run(bytes, Look::AtTheListing),
    }
}

/// What of an address space is looked at in the end.
#[derive(Clone, Copy)]
enum Look {
    Nowhere,
    AtTheListing,
}

fn run(bytes: &[u8], look: Look) {
    let _alone = alone();
    let mut bytes = Unstructured::new(bytes);
    let verdict = match bytes.int_in_range(0..=4_u8).unwrap_or_default() {
        0 => script::<X64>(bytes, look),
        1 => script::<Sv39>(bytes, look),
        2 => script::<Sv48>(bytes, look),
        3 => script::<A64>(bytes, look),
        _ => script::<La64>(bytes, look),
    };
    verdict.unwrap_or_else(|wrong| panic!("{wrong}"));
}

fn script<M: TestMachine>(mut bytes: Unstructured, look: Look) -> Verdict {
    let whose = Whose::arbitrary(&mut bytes).unwrap_or(Whose::Kernels);
    let mut script = Vec::new();
    while !bytes.is_empty() && script.len() < LONGEST {
        match Step::arbitrary(&mut bytes) {
            Ok(step) => script.push(step),
            Err(_) => break,
        }
    }
    let verdict = play_to::<M>(whose, &script, |aspace| match look {
        Look::Nowhere => Ok(()),
        Look::AtTheListing => is_listed(aspace),
    });
    verdict.map_err(|error| {
        TestCaseError::fail(format!("{}, {whose:?}: {error}\n{script:?}", M::NAME))
    })
}

fn is_listed<M: TestMachine>(aspace: &AddrSpace<M>) -> Verdict {
    let data = Listing(aspace, Form::Data).to_string();
    let spaces = maps::read(&data).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(spaces.len(), 1);
    prop_assert_eq!(spaces[0].to_string(), data);
    let raw = M::walk(aspace).map_err(TestCaseError::fail)?;
    let resident: u64 = spaces[0].areas.iter().map(|area| area.resident).sum();
    let mapped: usize = raw.pages.iter().map(|page| page.size).sum();
    prop_assert_eq!(resident, mapped as u64);
    prop_assert_eq!(spaces[0].root.pages(), raw.pages.len() as u64);
    prop_assert_eq!(spaces[0].root.count(), raw.tables.len() as u64);
    let table = Listing(aspace, Form::Table).to_string();
    prop_assert_eq!(table.lines().count(), spaces[0].areas.len() + 4);
    Ok(())
}

fn text_is_read(text: &str) {
    for space in maps::read(text).unwrap_or_default() {
        assert_eq!(maps::read(&space.to_string()), Ok(vec![space.clone()]));
        maps::to_svg(&space, "title");
        maps::to_dot(&space, "title");
    }
}
