//! What safe code must not be able to do, and whether the compiler says so.

use std::collections::BTreeSet;
use std::fs;

use crate::command;
use crate::manifest::{root, spec};

use super::refusals::{forget_variables, said};
use super::tally::Verdict;

/// The package, and the file with the misuse.
const PACKAGE: &str = "axstd-misuse";
const SOURCE: &str = "xtask/misuse/src/misuse.rs";

/// A line, and the code of the error that it has.
type Wrong = (usize, String);

/// Compiles the misuse; whether each line has the error that it should have, and no other
/// line has one.
pub fn misuse() -> Verdict {
    let source = fs::read_to_string(root().join(SOURCE)).map_err(|error| error.to_string())?;
    let mut cargo = command::cargo();
    cargo.args(["check", "--features", "misuse", "--message-format", "short"]);
    cargo.args(["--package", &spec(PACKAGE)]);
    forget_variables(&mut cargo);
    let output = cargo.current_dir(root()).output();
    let text = said(&output.map_err(|error| error.to_string())?);
    let (wanted, found) = (wanted(&source), found(&text));
    let lines = |these: &BTreeSet<Wrong>, those: &BTreeSet<Wrong>| -> Vec<String> {
        let only = these.difference(those);
        only.map(|(line, code)| format!("{SOURCE}:{line} {code}"))
            .collect()
    };
    let (missing, more) = (lines(&wanted, &found), lines(&found, &wanted));
    match wanted.is_empty() || !missing.is_empty() || !more.is_empty() {
        false => Ok(format!("{} errors", wanted.len())),
        true => Err(format!(
            "errors that are missing: {missing:?}, that should not be: {more:?}\n{text}"
        )),
    }
}

/// The errors that the comments announce, each for the line below.
fn wanted(source: &str) -> BTreeSet<Wrong> {
    let lines = (2..).zip(source.lines());
    lines
        .filter_map(|(below, line)| Some((below, line.trim().strip_prefix("//~ ")?.to_owned())))
        .collect()
}

/// The errors that a compiler has found in the source, of those that it says in one line.
fn found(text: &str) -> BTreeSet<Wrong> {
    let error = |line: &str| -> Option<Wrong> {
        let (place, what) = line.split_once("error[")?;
        let (code, _) = what.split_once(']')?;
        let in_source = place.strip_prefix(SOURCE)?.strip_prefix(':')?;
        let number = in_source.split(':').next()?.parse().ok()?;
        Some((number, code.to_owned()))
    };
    text.lines().filter_map(error).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_compared_by_line_and_code() {
        let source = "fn f() {\n    //~ E0133\n    g();\n}\n";
        let wrong = BTreeSet::from([(3, String::from("E0133"))]);
        assert_eq!(wanted(source), wrong);
        let text = format!("{SOURCE}:3:5: error[E0133]: call to unsafe\nerror: aborting\n");
        assert_eq!(found(&text), wrong);
        assert!(found("src/other.rs:3:5: error[E0133]: call to unsafe").is_empty());
    }
}
