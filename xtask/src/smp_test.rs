//! `smp-test`: checks that all harts start, and run on the same page table. `apps/smpboot`
//! prints a line for each hart, which is read here.

use std::collections::BTreeSet;

use crate::console::End;
use crate::failure::Failure;
use crate::image::Recipe;
use crate::manifest::App;
use crate::options::Options;
use crate::qemu::{self, Guest};

/// The number of harts without `SMP`.
pub const HARTS: u32 = 8;
/// The application that is booted.
pub const APP: &str = "apps/smpboot";

/// Boots smpboot on one machine, prints its console, and checks it.
///
/// # Errors
///
/// Fails with the guest's status, or 1 if that is 0, if the check fails.
pub fn smp_test(options: &Options) -> Result<(), Failure> {
    let machine = options.machine();
    qemu::set_up(options, &[machine])?;
    let image = Recipe {
        app: App::ours(APP)?,
        app_features: Vec::new(),
        ..Recipe::from_options(options)
    }
    .build(options.verbose)?;
    let guest = Guest::from_options(options, &image, HARTS);
    let (end, console) = qemu::boot(options, &guest)?;
    match verify(&end, &String::from_utf8_lossy(&console), guest.smp) {
        Ok(root) => {
            say!(
                "smp-test {machine}: {} harts on one root, {root}: ok",
                guest.smp
            );
            Ok(())
        }
        Err(reason) => Err(Failure::with_status(
            end.status().max(1),
            format!("smp-test {machine}: FAILED: {reason}"),
        )),
    }
}

/// Checks that each of `harts` harts has printed one line without a failure, that all name
/// the same page-table root, and that the application passed. Returns the root.
///
/// # Errors
///
/// Fails with the first thing that is wrong, in words.
pub fn verify(end: &End, console: &str, harts: u32) -> Result<String, String> {
    if end.status() != 0 {
        return Err(end.describe());
    }
    let mut seen = BTreeSet::new();
    let mut roots = BTreeSet::new();
    for line in console.lines().filter(|line| line.starts_with("hart ")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let hart: u32 = words
            .get(1)
            .and_then(|word| word.parse().ok())
            .ok_or(line)?;
        let root = words
            .iter()
            .skip_while(|word| **word != "root")
            .nth(1)
            .ok_or(line)?;
        if line.contains("FAILED") || !words.contains(&"ok") || !seen.insert(hart) {
            return Err(line.to_owned());
        }
        roots.insert((*root).to_owned());
    }
    if !seen.iter().copied().eq(0..harts) {
        return Err(format!(
            "harts 0 to {} should have started; these have: {seen:?}",
            harts.saturating_sub(1)
        ));
    }
    if !console.lines().any(|line| line.starts_with("PASS")) {
        return Err("the console has no line that begins with PASS".to_owned());
    }
    match roots.pop_first() {
        Some(root) if roots.is_empty() => Ok(root),
        _ => Err("the harts run on different page-table roots".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "noise\nhart 0 (id 0x0) root 0x80a neighbour 1 ok timer ok\r\n\
        hart 1 (id 0x1) root 0x80a neighbour 0 ok timer ok\r\nPASS 2/2\r\n";

    fn judge(console: &str, harts: u32) -> Result<String, String> {
        verify(&End::Exit(0, String::new()), console, harts)
    }

    #[test]
    fn all_harts_on_one_root_pass() {
        assert_eq!(judge(GOOD, 2), Ok("0x80a".into()));
    }

    #[test]
    fn a_missing_line_or_a_second_root_or_a_failure_is_refused() {
        assert!(judge(GOOD, 3).is_err());
        assert!(judge(GOOD, 1).is_err());
        assert!(judge(&GOOD.replace("hart 1", "hart 0"), 2).is_err());
        assert!(judge(&GOOD.replacen("0x80a", "0x80b", 1), 2).is_err());
        assert!(judge(&GOOD.replace("timer ok", "timer FAILED"), 2).is_err());
        assert!(judge(&GOOD.replace("PASS", "FAIL"), 2).is_err());
        assert!(judge("", 0).is_err());
        assert!(verify(&End::Exit(1, String::new()), GOOD, 2).is_err());
        assert!(verify(&End::Hung(60, String::new()), GOOD, 2).is_err());
    }
}
