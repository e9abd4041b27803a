//! `test`: the host tests, the wrong values, and every machine. A line a case as
//! it goes, the console's end under a case that fails, and a summary as the last
//! line.

use std::collections::hash_map::DefaultHasher;
use std::env;
use std::fs;
use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::console::{self, End, HUNG, Patience};
use crate::failure::{Failure, USAGE};
use crate::image::{Image, Recipe};
use crate::machine::Machine;
use crate::manifest::{App, HOST_PACKAGES, LOOM_PACKAGES, root, spec};
use crate::missing_hart;
use crate::options::{Mode, NAMES, Options};
use crate::qemu::{self, Guest, Input};
use crate::smp_test;
use crate::symbols::Symbols;
use crate::toolchain;

/// Harts and memory (in KiB) of the machines that boot.
const HARTS: [u32; 2] = [1, 4];
const MEMORY: [u64; 2] = [128 << 10, 1 << 20];
/// The smallest memory with many harts, and much memory, for smpboot.
const SIZE_ENDS: [(u32, u64); 2] = [(16, 64 << 10), (2, 8 << 20)];
/// A guest that is not silent may still take no longer than this.
const WHOLE: Duration = Duration::from_secs(300);
/// Lines of the console under a case that failed.
const TAIL: usize = 30;
/// Crates that only features bring: helloworld has none of them, memtest all of
/// the first two.
const FEATURE_CRATES: [&str; 5] = [
    "axmm",
    "axalloc",
    "alloc",
    "page_table_multiarch",
    "page_table_entry",
];

/// Other people's allocators that only the benchmarks link.
const PEERS: [&str; 3] = ["axallocator", "bitmap_allocator", "buddy_system_allocator"];

/// Values that no variable takes.
const WRONG: [(&str, &str); 12] = [
    ("ARCH", "mips"),
    ("A", "apps/none"),
    ("SMP", "0"),
    ("SMP", "999"),
    ("MEM", "12x"),
    ("MEM", "1K"),
    ("MODE", "fast"),
    ("LOG", "loud"),
    ("ACCEL", "hvf"),
    ("TIMEOUT", "-1"),
    ("FEATURES", "nosuch"),
    ("APP_FEATURES", "nosuch"),
];

/// The status of a panic and of a fault that nobody handles.
const PANICKED: u8 = 101;

/// How `apps/endings` ends: the status that tells so, and what the console says.
const ENDINGS: [(&str, u8, &str); 10] = [
    ("return", 0, ""),
    ("exit", 42, ""),
    (
        "panic",
        PANICKED,
        "as asked for at apps/endings/src/main.rs",
    ),
    ("panic-elsewhere", PANICKED, "PANIC on hart 3"),
    ("null", PANICKED, "write to 0x0"),
    ("read-only", PANICKED, "unhandled page fault: write to"),
    ("unmapped", PANICKED, "mapped there: nothing"),
    ("memory", PANICKED, "out of memory: wanted 32768 bytes; "),
    ("stack", PANICKED, "stack overflow: sp 0x"),
    ("hang", HUNG, ""),
];

/// What a case found: something to add to its line, or what is wrong.
type Verdict = Result<String, String>;

/// A case that boots a machine.
struct Boot {
    name: String,
    guest: Guest,
    patience: Patience,
    judge: Judge,
}

/// Decides on a guest's end and console.
type Judge = Box<dyn Fn(&End, &str) -> Verdict + Send>;

/// The count so far, and the only place where a case's line is printed.
#[derive(Default)]
struct Tally {
    count: Mutex<Count>,
}

#[derive(Default, Clone, Copy)]
struct Count {
    passed: u32,
    failed: u32,
    booted: u32,
}

impl Tally {
    /// Prints a case's line and counts it.
    fn note(&self, name: &str, begin: Instant, verdict: Verdict) {
        let Ok(mut count) = self.count.lock() else {
            return;
        };
        let seconds = begin.elapsed().as_secs_f64();
        match verdict {
            Ok(words) => {
                count.passed += 1;
                println!("ok      {name:<48}{seconds:>7.1} s  {words}");
            }
            Err(reason) => {
                count.failed += 1;
                println!("FAILED  {name:<48}{seconds:>7.1} s");
                reason.lines().for_each(|line| println!("        | {line}"));
            }
        }
    }

    /// Runs a case and notes it.
    fn case(&self, name: &str, case: impl FnOnce() -> Verdict) {
        let begin = Instant::now();
        self.note(name, begin, case());
    }

    fn boot(&self, case: Boot) {
        let begin = Instant::now();
        let verdict = case.run();
        self.note(&case.name, begin, verdict);
        if let Ok(mut count) = self.count.lock() {
            count.booted += 1;
        }
    }

    fn count(&self) -> Count {
        self.count.lock().map(|count| *count).unwrap_or_default()
    }
}

/// All cases; `ARCH`, `SMP` and `MEM` narrow the machines.
pub fn test(options: &Options) -> Result<(), Failure> {
    let machines = options.machines();
    toolchain::set_up(
        &machines
            .iter()
            .flat_map(|m| [toolchain::item(m), qemu::item(m)])
            .collect::<Vec<_>>(),
    )?;
    let (tally, begin) = (Tally::default(), Instant::now());
    tally.case("host tests", host_tests);
    tally.case("every interleaving", interleavings);
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
        drop(cases);
        boot_all(&queue, &tally);
        images
    });
    tally.case("images unchanged to the byte", || unchanged(&images));

    let count = tally.count();
    println!(
        "{} machines booted, {:.0} s in all",
        count.booted,
        begin.elapsed().as_secs_f64()
    );
    println!("{} passed, {} failed", count.passed, count.failed);
    if count.failed > 0 || count.booted == 0 {
        Err(Failure::reported(1))
    } else {
        Ok(())
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

impl Boot {
    fn run(&self) -> Verdict {
        let qemu = self.guest.command(Input::Nobody);
        let (end, console) =
            console::run(qemu, self.patience, |_| Ok(())).map_err(|error| format!("{error:#}"))?;
        let console = String::from_utf8_lossy(&console);
        let log = self.keep(&console).map_err(|error| error.to_string())?;
        (self.judge)(&end, &console)
            .map_err(|reason| format!("{reason}\n{}\nconsole: {}", tail(&console), log.display()))
    }

    /// Leaves the console in a file.
    fn keep(&self, console: &str) -> Result<PathBuf> {
        let dir = root().join("target/test");
        fs::create_dir_all(&dir)?;
        let path = dir.join(format!("{}.log", self.name.replace([' ', '='], "-")));
        fs::write(&path, console)?;
        Ok(path)
    }
}

fn tail(console: &str) -> String {
    let lines: Vec<&str> = console.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}

// --- The host ----------------------------------------------------------------

fn host_tests() -> Verdict {
    let nextest = Command::new("cargo")
        .args(["nextest", "--version"])
        .output();
    let nextest = nextest.is_ok_and(|output| output.status.success());
    let mut cargo = Command::new("cargo");
    if nextest {
        cargo.args(["nextest", "run", "--no-fail-fast"]);
    } else {
        cargo.args(["test", "--no-fail-fast"]);
    }
    for package in HOST_PACKAGES {
        cargo.args(["--package", &spec(package)]);
    }
    cargo.arg("--all-features");
    verdict_of_tests(cargo)
}

/// The lock-free parts under loom, which replaces their atomics and tries each
/// order in which threads can come. Built apart: all crates see its flag.
fn interleavings() -> Verdict {
    let mut cargo = Command::new("cargo");
    cargo
        .args(["test", "--lib", "--release", "--no-fail-fast"])
        .args(["--target-dir", "target/loom"])
        .env("RUSTFLAGS", "--cfg loom");
    for package in LOOM_PACKAGES {
        cargo.args(["--package", &spec(package)]);
    }
    verdict_of_tests(cargo)
}

fn verdict_of_tests(mut cargo: Command) -> Verdict {
    // The variables of this run are not those of the tests.
    forget_variables(&mut cargo);
    let output = cargo
        .current_dir(root())
        .output()
        .map_err(|error| error.to_string())?;
    let text = said(&output);
    match tests_run(&text) {
        0 => Err(format!("no test ran\n{text}")),
        count if output.status.success() => Ok(format!("{count} tests")),
        _ => Err(text),
    }
}

/// How many tests a runner says to have run: nextest's `Summary … N tests run`, or
/// the sum of cargo test's `test result: ok. N passed`.
fn tests_run(text: &str) -> u32 {
    let count = |line: &str, before: &str| -> Option<u32> {
        line.split_once(before)?
            .0
            .split_whitespace()
            .last()?
            .parse()
            .ok()
    };
    text.lines()
        .filter_map(|line| count(line, " tests run:").or_else(|| count(line, " passed; ")))
        .sum()
}

fn forget_variables(command: &mut Command) {
    for name in NAMES
        .into_iter()
        .chain(["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "CARGO_MAKEFLAGS"])
    {
        command.env_remove(name);
    }
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr]
        .map(|bytes| String::from_utf8_lossy(bytes))
        .concat()
}

// --- Wrong values ------------------------------------------------------------

fn refused(name: &str, value: &str) -> Verdict {
    let this = env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(this);
    forget_variables(&mut command);
    let output = command
        .arg("run")
        .env(name, value)
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|error| error.to_string())?;
    let words = String::from_utf8_lossy(&output.stderr);
    if output.status.code() != Some(i32::from(USAGE)) {
        return Err(format!(
            "{}, not status {USAGE}\n{}",
            output.status,
            said(&output)
        ));
    }
    names_it(&words, name, value)?;
    if words.lines().count() != 1 || !output.stdout.is_empty() {
        return Err(format!("not one line:\n{}", said(&output)));
    }
    Ok(String::new())
}

fn names_it(words: &str, name: &str, value: &str) -> Result<(), String> {
    let first = words.lines().next().unwrap_or_default();
    if first.starts_with(&format!("{name}={value}: ")) && first.contains("valid") {
        return Ok(());
    }
    Err(format!(
        "the first line does not name the value and the valid ones:\n{words}"
    ))
}

/// The same from make's door: nothing but make's own line follows.
fn refused_by_make() -> Verdict {
    let mut make = Command::new("make");
    forget_variables(&mut make);
    let output = make
        .args(["ARCH=mips", "run"])
        .current_dir(root())
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|error| error.to_string())?;
    let words = String::from_utf8_lossy(&output.stderr);
    names_it(&words, "ARCH", "mips")?;
    if output.status.success() || words.lines().skip(1).any(|line| !line.starts_with("make")) {
        return Err(format!("{}\n{}", output.status, said(&output)));
    }
    Ok(String::new())
}

// --- The machines ------------------------------------------------------------

/// Builds a machine's images, hands over the cases that boot them, and answers the
/// images with their fingerprints.
fn build_all(
    options: &Options,
    machine: &'static Machine,
    tally: &Tally,
    mut hand_over: impl FnMut(Boot),
) -> Vec<(PathBuf, u64)> {
    let mut built = Vec::new();
    for app in ["helloworld", "memtest", "smpboot", "endings"] {
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

/// The cases that boot an image.
fn cases_of(options: &Options, app: &str, image: &Image) -> Vec<Boot> {
    match app {
        "smpboot" => smp_cases(options, image),
        "endings" => ENDINGS
            .into_iter()
            .map(|(end, status, said)| ending(image, end, status, said))
            .chain([large(image)])
            .collect(),
        _ => {
            let harts = options.smp.map_or_else(|| HARTS.to_vec(), |smp| vec![smp]);
            let memory = options
                .mem_kib
                .map_or_else(|| MEMORY.to_vec(), |kib| vec![kib]);
            let sizes = harts
                .iter()
                .flat_map(|smp| memory.iter().map(move |kib| (*smp, *kib)));
            sizes
                .map(|(smp, kib)| app_case(options, app, image, smp, kib))
                .collect()
        }
    }
}

fn guest(image: &Image, smp: u32, mem_kib: u64) -> Guest {
    Guest {
        machine: image.machine,
        kernel: image.kernel().to_owned(),
        smp,
        mem_kib,
        accel: crate::options::Accel::Tcg,
        boot_args: Vec::new(),
        extra: Vec::new(),
    }
}

fn patience(options: &Options) -> Patience {
    Patience {
        silence: options.timeout,
        whole: Some(WHOLE),
    }
}

/// helloworld or memtest on one size of a machine.
fn app_case(options: &Options, app: &str, image: &Image, smp: u32, mem_kib: u64) -> Boot {
    let mut guest = guest(image, smp, mem_kib);
    guest.boot_args.clone_from(&options.boot_args);
    let sign = if app == "helloworld" {
        "Hello, world!"
    } else {
        "PASS "
    };
    Boot {
        name: format!(
            "{app} {} SMP={smp} MEM={}",
            image.machine,
            qemu::size(mem_kib)
        ),
        guest,
        patience: patience(options),
        judge: Box::new(move |end, console| says(end, console, sign)),
    }
}

/// Ended well, and with a line that begins with `sign`.
fn says(end: &End, console: &str, sign: &str) -> Verdict {
    let line = console.lines().rev().find(|line| line.starts_with(sign));
    match (end, line) {
        (End::Exit(0, words), Some(line)) if sign == "PASS " => Ok(format!("{line}, {words}")),
        (End::Exit(0, words), Some(_)) => Ok(words.clone()),
        (End::Exit(0, _), None) => Err(format!("no line begins with `{sign}`")),
        (end, _) => Err(end.describe()),
    }
}

/// The boot test of harts, the ends of the range of machine sizes among its
/// sizes, and a hart that is listed and does not come.
fn smp_cases(options: &Options, image: &Image) -> Vec<Boot> {
    let harts = options.smp.unwrap_or(smp_test::HARTS);
    let mut cases = vec![smp_case(options, image, harts, qemu::DEFAULT_MEM_KIB)];
    if options.smp.is_none() && options.mem_kib.is_none() {
        let ends = SIZE_ENDS.map(|(smp, kib)| smp_case(options, image, smp, kib));
        cases.extend(ends);
    }
    if image.machine.takes_device_tree {
        cases.push(missing_hart_case(options, image));
    }
    cases
}

fn missing_hart_case(options: &Options, image: &Image) -> Boot {
    let mut guest = guest(image, missing_hart::HARTS, qemu::DEFAULT_MEM_KIB);
    let tree = missing_hart::device_tree(&guest);
    if let Ok(path) = &tree {
        guest
            .extra
            .extend(["-dtb".to_owned(), path.display().to_string()]);
    }
    let tree = tree.map(drop).map_err(|error| format!("{error:#}"));
    Boot {
        name: format!("a hart that does not come {}", image.machine),
        guest,
        patience: patience(options),
        judge: Box::new(move |end, console| {
            tree.clone()?;
            missing_hart::verify(end, console)
        }),
    }
}

fn smp_case(options: &Options, image: &Image, harts: u32, mem_kib: u64) -> Boot {
    Boot {
        name: format!(
            "smp-test {} SMP={harts} MEM={}",
            image.machine,
            qemu::size(mem_kib)
        ),
        guest: guest(image, harts, mem_kib),
        patience: patience(options),
        judge: Box::new(move |end, console| {
            smp_test::verify(end, console, harts).map(|root| format!("one root, {root}"))
        }),
    }
}

fn ending(image: &Image, end: &str, wanted: u8, said: &'static str) -> Boot {
    let mut guest = guest(image, 4, qemu::DEFAULT_MEM_KIB);
    guest.boot_args.push(format!("end={end}"));
    // A guest that hangs is found out sooner; the others are not silent so long.
    let silence = if wanted == HUNG { 5 } else { 60 };
    Boot {
        name: format!("ending {end} {}", image.machine),
        guest,
        patience: Patience {
            silence: Some(Duration::from_secs(silence)),
            whole: Some(WHOLE),
        },
        judge: Box::new(move |end, console| match end.status() {
            status if status != wanted => {
                Err(format!("{}; wanted: status {wanted}", end.describe()))
            }
            _ if !console.contains(said) => Err(format!("the console does not say {said:?}")),
            status => Ok(format!("status {status}")),
        }),
    }
}

/// More memory than most computers have, which the guest keeps track of.
fn large(image: &Image) -> Boot {
    const KIB: u64 = 64 << 20;
    let mut boot = ending(image, "return", 0, "");
    boot.name = format!("MEM={} {}", qemu::size(KIB), image.machine);
    boot.guest.mem_kib = KIB;
    boot
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

impl Boot {
    fn named(self, name: &str) -> Boot {
        Boot {
            name: name.to_owned(),
            ..self
        }
    }
}

fn copy_out(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir.join("src"))?;
    let program = root().join("apps/helloworld/src/main.rs");
    fs::copy(&program, dir.join("src/main.rs")).context("cannot copy helloworld")?;
    let manifest = format!(
        "[package]\nname = \"outside\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\naxstd = {{ path = {:?} }}\n",
        root().join("api/axstd")
    );
    fs::write(dir.join("Cargo.toml"), manifest)?;
    Ok(())
}

// --- The images --------------------------------------------------------------

/// An application links what it enables and nothing else.
fn symbols(app: &str, image: &Image) -> Verdict {
    let symbols = Symbols::of(image).map_err(|error| format!("{error:#}"))?;
    let crates = symbols.crates();
    if let Some(symbol) = PEERS.iter().find_map(|name| symbols.mention(name)) {
        return Err(format!("it is no benchmark and yet holds {symbol}"));
    }
    if app == "helloworld" {
        return match FEATURE_CRATES.iter().find_map(|name| symbols.mention(name)) {
            Some(symbol) => Err(format!("it enables nothing and yet holds {symbol}")),
            None if crates.is_empty() => Err("the image has no symbols".to_owned()),
            None => Ok(format!("none of {}", FEATURE_CRATES.join(", "))),
        };
    }
    match FEATURE_CRATES[..2]
        .iter()
        .find(|name| !crates.contains(**name))
    {
        Some(name) => Err(format!("nothing of {name} in it, only {crates:?}")),
        None => Ok(FEATURE_CRATES[..2].join(", ")),
    }
}

fn fingerprints(image: &Image) -> Vec<(PathBuf, u64)> {
    [&image.elf, &image.bin]
        .into_iter()
        .filter_map(|path| Some((path.clone(), fingerprint(path)?)))
        .collect()
}

fn fingerprint(path: &Path) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    hasher.write(&fs::read(path).ok()?);
    Some(hasher.finish())
}

/// Every machine size booted the same bytes.
fn unchanged(images: &[(PathBuf, u64)]) -> Verdict {
    match images
        .iter()
        .find(|(path, before)| fingerprint(path) != Some(*before))
    {
        Some((path, _)) => Err(format!("{} has changed", path.display())),
        None if images.is_empty() => Err("there are no images".to_owned()),
        None => Ok(format!("{} files", images.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runners_tell_how_many_tests_ran() {
        assert_eq!(
            tests_run("     Summary [   0.1s] 22 tests run: 22 passed, 0 skipped\n"),
            22
        );
        assert_eq!(
            tests_run("test result: ok. 3 passed; 0 failed;\ntest result: ok. 4 passed; 0 failed;"),
            7
        );
        assert_eq!(tests_run("error: no such package"), 0);
    }

    #[test]
    fn a_sign_and_a_status_are_both_wanted() {
        let good = End::Exit(0, "1 ms".into());
        assert_eq!(
            says(&good, "x\nPASS 3/3\n[exit 0] 1 ms", "PASS "),
            Ok("PASS 3/3, 1 ms".into())
        );
        assert!(says(&good, "FAIL 2/3", "PASS ").is_err());
        assert!(says(&End::Exit(1, String::new()), "PASS 3/3", "PASS ").is_err());
        assert!(says(&End::Hung(1), "Hello, world!", "Hello, world!").is_err());
    }

    #[test]
    fn cases_are_counted() {
        let tally = Tally::default();
        tally.case("good", || Ok(String::new()));
        tally.case("bad", || Err("why".to_owned()));
        let count = tally.count();
        assert_eq!((count.passed, count.failed, count.booted), (1, 1, 0));
    }
}
