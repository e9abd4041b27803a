//! `test-long`: runs the random tests longer than `test` does, on the host and on machines,
//! and tests under Miri.

use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Instant;

use crate::command;
use crate::failure::Failure;
use crate::manifest::{root, spec};
use crate::options::Options;
use crate::qemu;
use crate::toolchain;

use super::boots::storm_cases;
use super::host::{simulated_harts, verdict_of_tests};
use super::tally::Tally;
use super::{boot_all, build};

/// The number of steps in which address spaces are compared with their model, for the five
/// page-table formats together.
const STEPS: &str = "10000000";
/// The number of random scripts in the other tests, as a multiple of the number in `test`.
const TIMES: &str = "5";

/// The length of each storm, in seconds. Each machine has three storms.
const STORM_SECONDS: u32 = 10;

/// The number of runs that simulate harts with TLBs, for the five page-table formats
/// together. A TLB keeps a stale entry as long as the architecture allows.
const RUNS: &str = "1000000";
/// The number of such runs under shuttle ([`simulated_harts`]).
const RUNS_UNDER_SHUTTLE: &str = "200000";

/// The tests that run longer: name of the case, package, and arguments for cargo.
const TESTS: [(&str, &str, &[&str]); 8] = [
    ("address spaces, 10^7 steps", "axmm", &["--test", "model"]),
    ("stale TLBs, 10^6 runs", "axmm", &["--test", "stale_tlb"]),
    (
        "forests of forks, 10^7 steps",
        "axmm",
        &["--features", "objects", "--test", "forest"],
    ),
    (
        "memory objects, 10^7 steps",
        "axmm",
        &["--features", "objects", "--test", "objects"],
    ),
    ("areas", "memory_set", &["--lib", "--tests"]),
    ("page table", "axmm", &["--lib"]),
    ("allocator, its parts", "axalloc", &["--lib"]),
    ("allocator, the whole", "axalloc", &["--test", "model"]),
];

/// The set-up item that installs Miri.
const MIRI: &str = "miri";
/// Flags for Miri. axalloc makes pointers to frames from their addresses, and its tests never
/// free the memory that they give it as frames.
const MIRI_FLAGS: &str =
    "-Zmiri-permissive-provenance -Zmiri-ignore-leaks -Zmiri-disable-isolation";

/// The tests that Miri interprets: name of the case, package, and arguments for cargo. Miri
/// takes thousands of times as long, so the tests do less work under it.
const UNDER_MIRI: [(&str, &str, &[&str]); 4] = [
    ("areas", "memory_set", &["--lib", "--", "--skip", "model::"]),
    (
        "frame metadata",
        "axalloc",
        &["--lib", "metadata::", "--", "--skip", "table::"],
    ),
    (
        "threads that allocate",
        "axalloc",
        &["--test", "stress", "pass_frames_around"],
    ),
    (
        "threads in one address space",
        "axmm",
        &["--test", "random_threads"],
    ),
];

/// `test-long`: runs the storms, [`TESTS`] and [`UNDER_MIRI`]. Prints a line for each and a
/// summary.
///
/// # Errors
///
/// Fails with status 1 if a case has failed. Cases that cannot run here are skipped.
pub fn test_long(options: &Options) -> Result<(), Failure> {
    let tally = Tally::default();
    storms(options, &tally)?;
    for (name, package, which) in TESTS {
        tally.case(name, || {
            let mut cargo = command::cargo();
            cargo.args(["test", "--package", &spec(package)]);
            cargo
                .args(which)
                .envs(command::runner_variable())
                .env("TESSERA_STEPS", STEPS)
                .env("TESSERA_RUNS", RUNS)
                .env("TESSERA_TIMES", TIMES);
            verdict_of_tests(cargo)
        });
    }
    tally.case("stale TLBs, step by step", || {
        simulated_harts(RUNS_UNDER_SHUTTLE)
    });
    under_miri(&tally);
    let count = tally.count();
    let skipped = match count.skipped {
        0 => String::new(),
        cases => format!(", {cases} skipped"),
    };
    say!("{} passed, {} failed{skipped}", count.passed, count.failed);
    match count.failed {
        0 => Ok(()),
        _ => Err(Failure::reported(1)),
    }
}

/// Runs tests under Miri, which detects undefined behaviour and data races.
fn under_miri(tally: &Tally) {
    if toolchain::set_up(&[MIRI.to_owned()]).is_err() {
        let reason = "a nightly Rust with Miri could not be installed, see above";
        return tally.skip("under Miri", reason);
    }
    for (name, package, which) in UNDER_MIRI {
        tally.case(&format!("Miri: {name}"), || {
            let mut cargo = command::nightly_cargo();
            cargo
                .args(["miri", "test", "--target-dir", "target/miri"])
                .args(["--package", &spec(package)])
                .args(which)
                .env("MIRIFLAGS", MIRI_FLAGS);
            verdict_of_tests(cargo)
        });
    }
}

/// Boots the storms, two machines at a time.
fn storms(options: &Options, tally: &Tally) -> Result<(), Failure> {
    let machines = options.machines();
    qemu::set_up(options, &machines)?;
    let (cases, queue) = mpsc::channel();
    for machine in machines {
        let begin = Instant::now();
        match build(machine, &root().join("apps/storm")) {
            Ok(image) => storm_cases(options, &image, STORM_SECONDS)
                .into_iter()
                .for_each(|case| {
                    // The receiver exists until the end, so sending cannot fail.
                    let _ = cases.send(case);
                }),
            Err(failure) => {
                let name = format!("build storm {machine}");
                tally.record(&name, begin, Err(failure.to_string()));
            }
        }
    }
    drop(cases);
    let queue = Mutex::new(queue);
    thread::scope(|scope| {
        scope.spawn(|| boot_all(&queue, tally));
        boot_all(&queue, tally);
    });
    Ok(())
}
