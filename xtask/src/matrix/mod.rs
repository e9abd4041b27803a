//! `test`: the host tests, the wrong values, and every machine. A line a case as
//! it goes, the console's end under a case that fails, and a summary as the last
//! line.

mod boots;
mod host;
mod images;
mod killed;
mod long;
mod machines;
mod misuse;
mod refusals;
mod tally;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Instant;

use anyhow::Result;

use crate::failure::Failure;
use crate::files;
use crate::image::{Image, Recipe};
use crate::machine::Machine;
use crate::manifest::{App, root};
use crate::maps;
use crate::options::{Mode, Options};
use crate::qemu;

use boots::{Boot, app_case, cases_of, drawn};
use host::{host_tests, interleavings, process_tests, schedules, simulated_harts};
use images::{fingerprints, symbols, unchanged};
use killed::{VICTIMS, can_look, nothing_is_left};
use misuse::misuse;
use refusals::{WRONG, refused, refused_by_make};
use tally::Tally;

pub use host::tests_run;
pub use long::test_long;
pub use refusals::forget_variables;

/// Runs of harts that take turns at any step of an atomic, of the five formats together.
const SIMULATED_RUNS: &str = "5000";

/// All cases; `ARCH`, `SMP` and `MEM` narrow the machines.
pub fn test(options: &Options) -> Result<(), Failure> {
    let machines = options.machines();
    qemu::set_up(&machines)?;
    let (tally, begin) = (Tally::default(), Instant::now());
    tally.case("host tests", host_tests);
    if machines.iter().any(|machine| machine.is_process()) {
        tally.case("host tests, pages for real", process_tests);
    }
    tally.case("every interleaving", interleavings);
    tally.case("many schedules", schedules);
    tally.case("simulated harts, step by step", || {
        simulated_harts(SIMULATED_RUNS)
    });
    tally.case("misuse by safe code does not compile", misuse);
    for (name, value) in WRONG {
        tally.case(&format!("{name}={value} is refused"), || {
            refused(name, value)
        });
    }
    tally.case("make ARCH=mips run is refused", refused_by_make);

    let (cases, queue) = mpsc::channel();
    let queue = Mutex::new(queue);
    let images = thread::scope(|scope| {
        // One machine runs while images are built; then two do.
        scope.spawn(|| boot_all(&queue, &tally));
        let mut images = Vec::new();
        for machine in &machines {
            images.extend(build_all(options, machine, &tally, |case| {
                // The receiver outlives the threads.
                let _ = cases.send(case);
            }));
        }
        outside(options, machines[0], &tally, |case| {
            let _ = cases.send(case);
        });
        pictured(options, machines[0], &tally, |case| {
            let _ = cases.send(case);
        });
        drop(cases);
        killed(&machines, &tally);
        boot_all(&queue, &tally);
        images
    });
    tally.case("images unchanged to the byte", || unchanged(&images));

    let count = tally.count();
    say!(
        "{} machines booted, {:.0} s in all",
        count.booted,
        begin.elapsed().as_secs_f64()
    );
    say!("{} passed, {} failed", count.passed, count.failed);
    if count.failed > 0 || count.booted == 0 {
        Err(Failure::reported(1))
    } else {
        Ok(())
    }
}

/// Kills what runs a guest: one of QEMU's, and a process.
fn killed(machines: &[&'static Machine], tally: &Tally) {
    let qemu = machines.iter().find(|machine| !machine.is_process());
    let process = machines.iter().find(|machine| machine.is_process());
    for machine in [qemu, process].into_iter().flatten().filter(|_| can_look()) {
        for victim in VICTIMS {
            tally.case(&format!("kill -9 {}, run {machine}", victim.name()), || {
                nothing_is_left(machine, victim)
            });
        }
    }
}

fn boot_all(queue: &Mutex<Receiver<Boot>>, tally: &Tally) {
    loop {
        let next = queue.lock().map(|queue| queue.recv());
        match next {
            Ok(Ok(case)) => tally.boot(case),
            _ => return,
        }
    }
}

/// Builds a machine's images, hands over the cases that boot them, and answers the
/// images with their fingerprints.
fn build_all(
    options: &Options,
    machine: &'static Machine,
    tally: &Tally,
    mut hand_over: impl FnMut(Boot),
) -> Vec<(PathBuf, u64)> {
    let mut built = Vec::new();
    for app in [
        "helloworld",
        "memtest",
        "smpboot",
        "machine",
        "storm",
        "tasktest",
        "parallel",
        "endings",
        "overflow",
    ] {
        let begin = Instant::now();
        match build(options, machine, &root().join("apps").join(app)) {
            Ok(image) => {
                let words = image
                    .bytes()
                    .map(|bytes| format!("{bytes} bytes"))
                    .map_err(|error| error.to_string());
                tally.note(&format!("build {app} {machine}"), begin, words);
                tally.case(&format!("symbols {app} {machine}"), || symbols(app, &image));
                cases_of(options, app, &image)
                    .into_iter()
                    .for_each(&mut hand_over);
                built.extend(fingerprints(&image));
            }
            Err(failure) => tally.note(
                &format!("build {app} {machine}"),
                begin,
                Err(failure.to_string()),
            ),
        }
    }
    built
}

/// An application as the matrix builds it: no features but its own.
fn build(options: &Options, machine: &'static Machine, dir: &Path) -> Result<Image, Failure> {
    let app = App::read(dir)
        .map_err(|reason| Failure::with_status(1, format!("{}: {reason}", dir.display())))?;
    let recipe = Recipe {
        app,
        machine,
        mode: Mode::Release,
        features: Vec::new(),
        app_features: Vec::new(),
        ..Recipe::asked(options)
    };
    recipe.build_quietly()
}

/// The kernel's address space as `maps` draws it.
fn pictured(
    options: &Options,
    machine: &'static Machine,
    tally: &Tally,
    hand_over: impl FnOnce(Boot),
) {
    const APP: &str = "endings";
    let begin = Instant::now();
    let image = App::ours(&format!("apps/{APP}")).and_then(|app| {
        let recipe = Recipe {
            app,
            machine,
            mode: Mode::Release,
            features: vec![maps::FEATURE.to_owned()],
            app_features: Vec::new(),
            ..Recipe::asked(options)
        };
        recipe.build_quietly()
    });
    match image {
        Ok(image) => hand_over(drawn(APP, &image, "return")),
        Err(failure) => tally.note("build for maps", begin, Err(failure.to_string())),
    }
}

/// helloworld copied out of the repository, to a folder that has never heard of it
/// but for the path of axstd.
fn outside(
    options: &Options,
    machine: &'static Machine,
    tally: &Tally,
    hand_over: impl FnOnce(Boot),
) {
    let begin = Instant::now();
    let dir = env::temp_dir().join(format!("tessera-outside-{}", std::process::id()));
    let image = copy_out(&dir)
        .map_err(Failure::from)
        .and_then(|()| build(options, machine, &dir));
    let _ = fs::remove_dir_all(&dir);
    match image {
        Ok(image) => {
            tally.note(
                "build an application outside the repository",
                begin,
                Ok(String::new()),
            );
            hand_over(
                app_case(options, "helloworld", &image, 1, qemu::DEFAULT_MEM_KIB)
                    .named("application outside the repository"),
            );
        }
        Err(failure) => tally.note(
            "build an application outside the repository",
            begin,
            Err(failure.to_string()),
        ),
    }
}

fn copy_out(dir: &Path) -> Result<()> {
    let program = files::read(&root().join("apps/helloworld/src/main.rs"))?;
    files::write(&dir.join("src/main.rs"), program)?;
    let manifest = format!(
        "[package]\nname = \"outside\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\naxstd = {{ path = {:?} }}\n",
        root().join("api/axstd")
    );
    files::write(&dir.join("Cargo.toml"), manifest)
}
