//! The fuzz targets. Tests run them too, with the inputs that the fuzzers have kept. A target
//! takes any bytes, and panics if it finds an error.

use arbitrary::{Arbitrary, Unstructured};
use axmm::AddrSpace;
use axmm::report::listing::{Form, Listing, MARK};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::model::{SpaceKind, Step, Verdict, play_to};
#[cfg(feature = "objects")]
use crate::owners::play;
use crate::{A64, La64, Sv39, Sv48, TestMachine, X64, alone};

/// A fuzz target: its name and its function.
pub type Target = (&'static str, fn(&[u8]));

/// The fuzz targets for a kernel without memory objects. Their model knows no zero frame.
pub const TARGETS: [Target; 2] = [("operations", operations), ("listing", listing)];

/// The largest number of steps of a script.
const LONGEST: usize = 400;

/// Performs the script that `bytes` makes on one of the machines, and compares the address
/// space with its model.
pub fn operations(bytes: &[u8]) {
    run(bytes, Check::Model);
}

/// Reads a listing of an address space. Text is a listing itself. Other bytes make a script,
/// and then the address space is listed.
pub fn listing(bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.starts_with(MARK) => read_text(text),
        _ => run(bytes, Check::Listing),
    }
}

/// Performs the operations that `bytes` make on memory objects and address spaces that show them.
#[cfg(feature = "objects")]
pub fn objects(bytes: &[u8]) {
    let _alone = alone();
    let mut bytes = Unstructured::new(bytes);
    match bytes.int_in_range(0..=4_u8).unwrap_or_default() {
        0 => play::<X64>(bytes, LONGEST),
        1 => play::<Sv39>(bytes, LONGEST),
        2 => play::<Sv48>(bytes, LONGEST),
        3 => play::<A64>(bytes, LONGEST),
        _ => play::<La64>(bytes, LONGEST),
    }
}

/// What is checked after a script.
#[derive(Clone, Copy)]
enum Check {
    /// Only the model.
    Model,
    /// The listing as well.
    Listing,
}

fn run(bytes: &[u8], check: Check) {
    let _alone = alone();
    let mut bytes = Unstructured::new(bytes);
    let verdict = match bytes.int_in_range(0..=4_u8).unwrap_or_default() {
        0 => script::<X64>(bytes, check),
        1 => script::<Sv39>(bytes, check),
        2 => script::<Sv48>(bytes, check),
        3 => script::<A64>(bytes, check),
        _ => script::<La64>(bytes, check),
    };
    verdict.unwrap_or_else(|wrong| panic!("{wrong}"));
}

fn script<M: TestMachine>(mut bytes: Unstructured, check: Check) -> Verdict {
    let kind = SpaceKind::arbitrary(&mut bytes).unwrap_or(SpaceKind::Kernel);
    let mut script = Vec::new();
    while !bytes.is_empty() && script.len() < LONGEST {
        match Step::arbitrary(&mut bytes) {
            Ok(step) => script.push(step),
            Err(_) => break,
        }
    }
    let verdict = play_to::<M>(kind, &script, |aspace| match check {
        Check::Model => Ok(()),
        Check::Listing => check_listing(aspace),
    });
    verdict
        .map_err(|error| TestCaseError::fail(format!("{}, {kind:?}: {error}\n{script:?}", M::NAME)))
}

fn check_listing<M: TestMachine>(aspace: &AddrSpace<M>) -> Verdict {
    let data = Listing(aspace, Form::Data).to_string();
    let spaces = maps::read(&data).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(spaces.len(), 1);
    prop_assert_eq!(spaces[0].to_string(), data);
    let raw = M::walk(aspace).map_err(TestCaseError::fail)?;
    let resident: u64 = spaces[0].areas.iter().map(|area| area.resident).sum();
    let mapped: usize = raw.pages.iter().map(|page| page.size).sum();
    prop_assert_eq!(resident, mapped as u64);
    // There is one address space, so it shares no frame.
    prop_assert!(spaces[0].areas.iter().all(|area| area.shared == 0));
    prop_assert_eq!(spaces[0].root.count_shared(), 0);
    prop_assert_eq!(spaces[0].root.pages(), raw.pages.len() as u64);
    prop_assert_eq!(spaces[0].root.count(), raw.tables.len() as u64);
    let table = Listing(aspace, Form::Table).to_string();
    prop_assert_eq!(table.lines().count(), spaces[0].areas.len() + 4);
    Ok(())
}

fn read_text(text: &str) {
    for space in maps::read(text).unwrap_or_default() {
        assert_eq!(maps::read(&space.to_string()), Ok(vec![space.clone()]));
        maps::to_svg(&space, "title");
        maps::to_dot(&space, "title");
    }
}
