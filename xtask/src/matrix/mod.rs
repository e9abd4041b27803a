//! `test`: runs the host tests, checks that wrong values are refused, and boots the
//! applications on every machine.
//!
//! Each case prints a line when it ends. Under a failed one stands the end of its console.
//! The last line is the summary.

mod boots;
mod host;
mod images;
mod killed;
mod long;
mod misuse;
mod refusals;
mod tally;
mod unusual;

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
use crate::options::Options;
use crate::qemu;

use boots::{Boot, app_case, cases_of, drawing_case};
use host::{host_tests, interleavings, object_tests, process_tests, schedules, simulated_harts};
use images::{fingerprints, links_expected_crates, unchanged};
use killed::{VICTIMS, has_proc, no_process_is_left};
use misuse::misuse;
use refusals::{WRONG_VALUES, refused, refused_by_make};
use tally::Tally;

pub use host::count_tests;
pub use long::test_long;

/// The number of runs of [`simulated_harts`].
const SIMULATED_RUNS: &str = "5000";

/// `test`: runs all cases, on the machine that `ARCH` names or on all. `SMP` and `MEM` replace
/// the sizes of the machines on which memtest, helloworld and the storms run. `SMP` also
/// replaces those of smpboot, tasktest and parallel. `ARGS` and `SEED` are passed to the
/// applications, except for smpboot, endings and overflow. `A`, `MODE`, `LOG`, `FEATURES`,
/// `APP_FEATURES`, `ACCEL` and `QEMU_ARGS` have no effect.
///
/// # Errors
///
/// Fails with status 1 if a case has failed, or no machine has booted.
pub fn test(options: &Options) -> Result<(), Failure> {
    let machines = options.machines();
    qemu::set_up(options, &machines)?;
    let (tally, begin) = (Tally::default(), Instant::now());
    cases_without_a_machine(&machines, &tally);
    let images = cases_on_machines(options, &machines, &tally);
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

/// Runs the host tests, and checks that misuse and wrong values are refused.
fn cases_without_a_machine(machines: &[&'static Machine], tally: &Tally) {
    tally.case("host tests", host_tests);
    tally.case("host tests, memory objects", object_tests);
    if machines.iter().any(|machine| machine.is_process()) {
        tally.case("host tests, kernel in a process", process_tests);
    }
    tally.case("every interleaving", interleavings);
    tally.case("many schedules", schedules);
    tally.case("simulated harts, step by step", || {
        simulated_harts(SIMULATED_RUNS)
    });
    tally.case("misuse by safe code does not compile", misuse);
    for (name, value) in WRONG_VALUES {
        tally.case(&format!("{name}={value} is refused"), || {
            refused(name, value)
        });
    }
    tally.case("make ARCH=mips run is refused", refused_by_make);
}

/// Builds all images on this thread, while another thread boots the cases of those that are
/// built. Then both threads boot. Returns the images' files with their fingerprints.
fn cases_on_machines(
    options: &Options,
    machines: &[&'static Machine],
    tally: &Tally,
) -> Vec<(PathBuf, u64)> {
    let (cases, queue) = mpsc::channel();
    let queue = Mutex::new(queue);
    thread::scope(|scope| {
        let hand_over = |case: Boot| {
            // The receiver exists until the scope ends, so sending cannot fail.
            let _ = cases.send(case);
        };
        scope.spawn(|| boot_all(&queue, tally));
        let mut images = Vec::new();
        for machine in machines {
            images.extend(build_all(options, machine, tally, hand_over));
        }
        out_of_tree_case(options, machines[0], tally, hand_over);
        maps_case(machines[0], tally, hand_over);
        drop(cases);
        kill_cases(machines, tally);
        boot_all(&queue, tally);
        images
    })
}

/// Kills make and xtask while a guest runs: on one of QEMU's machines, and on `host`.
fn kill_cases(machines: &[&'static Machine], tally: &Tally) {
    let qemu = machines.iter().find(|machine| !machine.is_process());
    let process = machines.iter().find(|machine| machine.is_process());
    for machine in [qemu, process].into_iter().flatten().filter(|_| has_proc()) {
        for victim in VICTIMS {
            tally.case(&format!("kill -9 {}, run {machine}", victim.name()), || {
                no_process_is_left(machine, victim)
            });
        }
    }
}

/// Boots cases from the queue until it is closed and empty.
fn boot_all(queue: &Mutex<Receiver<Boot>>, tally: &Tally) {
    loop {
        let next = queue.lock().map(|queue| queue.recv());
        match next {
            Ok(Ok(case)) => tally.boot(case),
            _ => return,
        }
    }
}

/// The applications that are booted on every machine.
const APPS: [&str; 11] = [
    "helloworld",
    "memtest",
    "smpboot",
    "machine",
    "objects",
    "storm",
    "tasktest",
    "parallel",
    "tutorial",
    "endings",
    "overflow",
];

/// Builds a machine's images, and passes the cases that boot them to `hand_over`. Returns
/// the images' files with their fingerprints.
fn build_all(
    options: &Options,
    machine: &'static Machine,
    tally: &Tally,
    mut hand_over: impl FnMut(Boot),
) -> Vec<(PathBuf, u64)> {
    let mut built = Vec::new();
    for app in APPS.into_iter().filter(|app| machine.supports_app(app)) {
        let begin = Instant::now();
        match build(machine, &root().join("apps").join(app)) {
            Ok(image) => {
                let words = image
                    .bytes()
                    .map(|bytes| format!("{bytes} bytes"))
                    .map_err(|error| error.to_string());
                tally.record(&format!("build {app} {machine}"), begin, words);
                tally.case(&format!("symbols {app} {machine}"), || {
                    links_expected_crates(app, &image)
                });
                cases_of(options, app, &image)
                    .into_iter()
                    .for_each(&mut hand_over);
                built.extend(fingerprints(&image));
            }
            Err(failure) => tally.record(
                &format!("build {app} {machine}"),
                begin,
                Err(failure.to_string()),
            ),
        }
    }
    built
}

/// Builds an application. The image does not depend on the user's variables: [`kill_cases`]
/// build it again, without these variables, and must get the same bytes.
fn build(machine: &'static Machine, dir: &Path) -> Result<Image, Failure> {
    let app = App::read(dir)
        .map_err(|reason| Failure::with_status(1, format!("{}: {reason}", dir.display())))?;
    Recipe::plain(app, machine).build_quietly()
}

/// Builds endings with the kernel's feature `maps`. Passes `hand_over` the case that boots it
/// and draws its address space. endings prints no listing of its own, so there is one to draw.
fn maps_case(machine: &'static Machine, tally: &Tally, hand_over: impl FnOnce(Boot)) {
    const APP: &str = "endings";
    let begin = Instant::now();
    let image = App::ours(&format!("apps/{APP}")).and_then(|app| {
        let recipe = Recipe {
            features: vec![maps::FEATURE.to_owned()],
            ..Recipe::plain(app, machine)
        };
        recipe.build_quietly()
    });
    match image {
        Ok(image) => hand_over(drawing_case(APP, &image, "return")),
        Err(failure) => tally.record("build for maps", begin, Err(failure.to_string())),
    }
}

/// Copies helloworld to a folder outside the repository, builds it there, and passes the
/// case that boots it to `hand_over`. The copy refers to the repository only by the path of
/// its dependency axstd.
fn out_of_tree_case(
    options: &Options,
    machine: &'static Machine,
    tally: &Tally,
    hand_over: impl FnOnce(Boot),
) {
    let begin = Instant::now();
    let dir = env::temp_dir().join(format!("tessera-outside-{}", std::process::id()));
    let image = copy_out(&dir)
        .map_err(Failure::from)
        .and_then(|()| build(machine, &dir));
    let _ = fs::remove_dir_all(&dir);
    match image {
        Ok(image) => {
            tally.record(
                "build an application outside the repository",
                begin,
                Ok(String::new()),
            );
            hand_over(
                app_case(options, "helloworld", &image, 1, qemu::DEFAULT_MEM_KIB)
                    .named("application outside the repository"),
            );
        }
        Err(failure) => tally.record(
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
