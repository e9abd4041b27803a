//! Checks that the compiler refuses what safe code must not be able to do.

use std::collections::BTreeSet;
use std::fs;

use crate::command::{self, all_output};
use crate::manifest::{root, spec};
use crate::options::clear_variables;

use super::tally::Verdict;

/// The package with the misuse, and its source file.
const PACKAGE: &str = "axstd-misuse";
const SOURCE: &str = "xtask/misuse/src/misuse.rs";

/// An error of the compiler: its line, and its code.
type LineError = (usize, String);

/// Compiles the misuse, and checks that the compiler's errors are those that the source
/// announces, and no others.
pub fn misuse() -> Verdict {
    let source = fs::read_to_string(root().join(SOURCE)).map_err(|error| error.to_string())?;
    let mut cargo = command::cargo();
    cargo.args(["check", "--features", "misuse", "--message-format", "short"]);
    cargo.args(["--package", &spec(PACKAGE)]);
    clear_variables(&mut cargo);
    let output = cargo.current_dir(root()).output();
    let text = all_output(&output.map_err(|error| error.to_string())?);
    let (wanted, found) = (wanted(&source), found(&text));
    let lines = |these: &BTreeSet<LineError>, those: &BTreeSet<LineError>| -> Vec<String> {
        let only = these.difference(those);
        only.map(|(line, code)| format!("{SOURCE}:{line} {code}"))
            .collect()
    };
    let (missing, more) = (lines(&wanted, &found), lines(&found, &wanted));
    if !wanted.is_empty() && missing.is_empty() && more.is_empty() {
        return Ok(format!("{} errors", wanted.len()));
    }
    Err(format!(
        "expected errors that are missing: {missing:?}; unexpected errors: {more:?}\n{text}"
    ))
}

/// Returns the errors that the source announces. A comment `//~ CODE` announces one in the
/// line below it.
fn wanted(source: &str) -> BTreeSet<LineError> {
    let lines = (2..).zip(source.lines());
    lines
        .filter_map(|(below, line)| Some((below, line.trim().strip_prefix("//~ ")?.to_owned())))
        .collect()
}

/// Returns the errors in the source from the compiler's output, which has a line for each.
fn found(text: &str) -> BTreeSet<LineError> {
    let error = |line: &str| -> Option<LineError> {
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
