//! The test cases that boot a machine.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::console::{self, End, HUNG, Timeouts};
use crate::files;
use crate::image::Image;
use crate::manifest::root;
use crate::maps;
use crate::missing_hart;
use crate::options::Options;
use crate::qemu::{self, Guest, Input};
use crate::smp_test;

use super::tally::Verdict;
use super::unusual;

/// The numbers of harts, and the memory sizes in KiB, of the machines that boot an ordinary
/// application.
const HARTS: [u32; 2] = [1, 4];
const MEMORY: [u64; 2] = [128 << 10, 1 << 20];
/// Two more machines for smpboot, as harts and KiB: many harts with the smallest memory that
/// all machines boot with, and few harts with much memory.
const EXTREME_SIZES: [(u32, u64); 2] = [(16, 64 << 10), (2, 8 << 20)];

/// The numbers of harts of the machines that run a storm. Some are larger than the number of
/// this computer's processors: then a hart can stop at any instruction, for a long time.
const STORM_HARTS: [u32; 3] = [2, 4, 8];

/// The time after which a guest is stopped although it prints.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(300);

/// How many of the console's last lines are shown under a failed case.
const TAIL: usize = 30;

/// The exit status of a guest after a panic or an unhandled fault.
pub const PANICKED: u8 = 101;

/// The ending of `apps/endings` that a process does not have, because it takes no interrupts
/// there.
const INTERRUPT_NEAR_END: &str = "interrupt-near-end";

/// How `apps/endings` can end: the value of its boot argument `end`, the exit status, and a
/// text that the console holds.
const ENDINGS: &[(&str, u8, &str)] = &[
    ("return", 0, ""),
    ("exit", 42, ""),
    (
        "panic",
        PANICKED,
        "requested by end= at apps/endings/src/main.rs",
    ),
    ("panic-elsewhere", PANICKED, "PANIC on hart 3"),
    (
        "panic-in-thread",
        PANICKED,
        "\"panics\": requested by end= at",
    ),
    ("null", PANICKED, "write to 0x0"),
    ("read-only", PANICKED, "unhandled page fault: write to"),
    ("unmapped", PANICKED, "mapped there: nothing"),
    (
        "past-object",
        PANICKED,
        "the access is past the end of the memory object",
    ),
    ("memory", PANICKED, "out of memory: wanted 32768 bytes; "),
    ("memory-of-page", PANICKED, "no page yet; out of memory: "),
    ("stack", PANICKED, "stack overflow: sp 0x"),
    ("stack-of-thread", PANICKED, "\"deep\": stack overflow"),
    ("large-frame", PANICKED, "\"main\": stack overflow: sp 0x"),
    (
        "large-frame-of-hart",
        PANICKED,
        "\"work of all harts\": stack overflow: sp 0x",
    ),
    (
        "large-frame-of-thread",
        PANICKED,
        "\"small\": stack overflow: sp 0x",
    ),
    ("stack-everywhere", PANICKED, "stack overflow: sp 0x"),
    // The stack pointer is still on the stack.
    (INTERRUPT_NEAR_END, PANICKED, "mapped there: \"alloc\" "),
    ("panic-slow", PANICKED, "the message at apps/endings"),
    ("panic-sleeps", PANICKED, "the message at apps/endings"),
    (
        "panic-waits",
        PANICKED,
        "PANIC again on hart 0: a thread waits for",
    ),
    ("panic-exits", PANICKED, "PANIC on hart 0"),
    (
        "panic-panics",
        PANICKED,
        "PANIC again on hart 0: the second panic at",
    ),
    ("panic-panics-twice", PANICKED, "PANIC again on hart 0: "),
    ("panic-faults", PANICKED, "unhandled page fault: write to"),
    ("panic-hangs", PANICKED, ": the report takes longer"),
    ("panic-everywhere", PANICKED, "fails at apps/endings"),
    ("panic-among-lines", PANICKED, "the message at apps/endings"),
    (
        "prints",
        42,
        "[from within\nthe message]\n[(from farther within\nthe message)\nthe message]\nunfinished\n",
    ),
    ("hang", HUNG, ""),
];

/// How `apps/overflow` can end, which is built without paging: boot arguments, exit status,
/// and a text that the console holds.
const OVERFLOWS: [(&str, u8, &str); 3] = [
    ("size=fits hart=3", 0, "102400 bytes of the stack"),
    (
        "hart=0",
        PANICKED,
        "zone below hart 0's stack: the stack has overflowed",
    ),
    (
        "hart=3",
        PANICKED,
        "zone below hart 3's stack: the stack has overflowed",
    ),
];

/// A test case that boots a machine.
pub struct Boot {
    /// The name of the case.
    pub name: String,
    /// The machine and its image.
    pub guest: Guest,
    timeouts: Timeouts,
    /// The check of the outcome.
    pub judge: Judge,
}

/// A check of how a guest has ended and of its console.
pub type Judge = Box<dyn Fn(&End, &str) -> Verdict + Send>;

impl Boot {
    /// Returns this case under another name.
    pub fn named(self, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..self
        }
    }

    /// Boots the machine, saves its console and checks the outcome.
    pub fn run(&self) -> Verdict {
        let qemu = self.guest.command(Input::Empty);
        let (end, console) =
            console::run(qemu, self.timeouts, |_| Ok(())).map_err(|error| format!("{error:#}"))?;
        let console = String::from_utf8_lossy(&console);
        let saved = self.save_console(&console);
        match ((self.judge)(&end, &console), saved) {
            (Ok(words), Ok(_)) => Ok(words),
            (Ok(_), Err(error)) => Err(format!("{error:#}")),
            (Err(reason), saved) => {
                let log = match saved {
                    Ok(path) => format!("console: {}", path.display()),
                    Err(error) => format!("its console could not be saved: {error:#}"),
                };
                Err(format!("{reason}\n{}\n{log}", tail(&console)))
            }
        }
    }

    /// Saves the console, and returns the file's path.
    fn save_console(&self, console: &str) -> Result<PathBuf> {
        let name = format!("{}.log", self.name.replace([' ', '='], "-"));
        let path = root().join("target/test").join(name);
        files::write(&path, console)?;
        Ok(path)
    }
}

fn tail(console: &str) -> String {
    let lines: Vec<&str> = console.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}

/// Returns the cases that boot an application's image.
pub fn cases_of(options: &Options, app: &str, image: &Image) -> Vec<Boot> {
    match app {
        "smpboot" => smp_cases(options, image),
        "storm" => storm_cases(options, image, 1),
        "endings" => ENDINGS
            .iter()
            .filter(|(end, ..)| *end != INTERRUPT_NEAR_END || !image.machine.is_process())
            .map(|(end, status, said)| ending(image, end, *status, said))
            .chain([large_memory(image)])
            .collect(),
        "overflow" => OVERFLOWS
            .into_iter()
            .map(|(args, status, said)| overflow(image, args, status, said))
            .collect(),
        "tasktest" => {
            let fast = unusual::tasktest_cases(options, image);
            task_cases(options, image).into_iter().chain(fast).collect()
        }
        "machine" => unusual::machine_cases(options, image),
        "parallel" => vec![parallel_case(options, image)],
        "objects" => vec![objects_case(options, image)],
        "tutorial" => tutorial_cases(options, image),
        _ => {
            let harts = options.smp.map_or_else(|| HARTS.to_vec(), |smp| vec![smp]);
            let memory = options
                .mem_kib
                .map_or_else(|| MEMORY.to_vec(), |kib| vec![kib]);
            let sizes = harts
                .iter()
                .flat_map(|smp| memory.iter().map(move |kib| (*smp, *kib)));
            let mut cases: Vec<Boot> = sizes
                .map(|(smp, kib)| app_case(options, app, image, smp, kib))
                .collect();
            if app == "helloworld" && !image.machine.is_process() {
                cases.extend(unusual::helloworld_cases(options, image));
            }
            cases
        }
    }
}

/// A guest without boot arguments. If it runs in QEMU, it is emulated, whatever `ACCEL` says.
fn guest(image: &Image, smp: u32, mem_kib: u64) -> Guest {
    Guest {
        machine: image.machine,
        boot_file: image.boot_file().to_owned(),
        smp,
        mem_kib,
        accel: crate::options::Accel::Tcg,
        boot_args: Vec::new(),
        extra: Vec::new(),
    }
}

fn timeouts(options: &Options) -> Timeouts {
    Timeouts {
        silence: options.timeout,
        total: Some(TOTAL_TIMEOUT),
    }
}

/// Returns cases in which `apps/storm` runs for `seconds` seconds, one for each number of
/// harts.
pub fn storm_cases(options: &Options, image: &Image, seconds: u32) -> Vec<Boot> {
    let harts = options
        .smp
        .map_or_else(|| STORM_HARTS.to_vec(), |smp| vec![smp]);
    let kib = options.mem_kib.unwrap_or(qemu::DEFAULT_MEM_KIB);
    let mut cases: Vec<Boot> = harts
        .into_iter()
        .map(|smp| app_case(options, "storm", image, smp, kib))
        .collect();
    for case in &mut cases {
        case.guest.boot_args.push(format!("seconds={seconds}"));
    }
    cases
}

/// Returns the case of an application on a machine of one size. The application must print
/// a line that says that it passed; helloworld must print its greeting.
pub fn app_case(options: &Options, app: &str, image: &Image, smp: u32, mem_kib: u64) -> Boot {
    let mut guest = guest(image, smp, mem_kib);
    guest.boot_args.clone_from(&options.boot_args);
    let beginning = match app {
        "helloworld" => "Hello, world!",
        "storm" => "storm: PASS ",
        _ => "PASS ",
    };
    Boot {
        name: format!(
            "{app} {} SMP={smp} MEM={}",
            image.machine,
            qemu::mem_value(mem_kib)
        ),
        guest,
        timeouts: timeouts(options),
        judge: Box::new(move |end, console| passes(end, console, beginning)),
    }
}

/// The cases of tasktest: threads on one hart, on two, and on four.
fn task_cases(options: &Options, image: &Image) -> Vec<Boot> {
    let harts = options.smp.map_or_else(|| vec![1, 2, 4], |smp| vec![smp]);
    let case = |smp| app_case(options, "tasktest", image, smp, qemu::DEFAULT_MEM_KIB);
    harts.into_iter().map(case).collect()
}

/// The case of objects, which uses one hart.
fn objects_case(options: &Options, image: &Image) -> Boot {
    let harts = options.smp.unwrap_or(1);
    app_case(options, "objects", image, harts, qemu::DEFAULT_MEM_KIB)
}

/// The cases of tutorial: its programs one after another and all at once, on one hart and on four.
fn tutorial_cases(options: &Options, image: &Image) -> Vec<Boot> {
    let harts = options.smp.map_or_else(|| HARTS.to_vec(), |smp| vec![smp]);
    let cases = harts.into_iter().flat_map(|smp| {
        ["", "together"].map(|how| {
            let mut case = app_case(options, "tutorial", image, smp, qemu::DEFAULT_MEM_KIB);
            if !how.is_empty() {
                case.name = format!("{} {how}", case.name);
                case.guest.boot_args.push(how.to_owned());
            }
            case
        })
    });
    cases.collect()
}

/// The case of parallel, with a small array that four harts sort.
fn parallel_case(options: &Options, image: &Image) -> Boot {
    let harts = options.smp.unwrap_or(4);
    let mut boot = app_case(options, "parallel", image, harts, qemu::DEFAULT_MEM_KIB);
    boot.guest.boot_args.push("mib=1".to_owned());
    boot
}

/// Checks that an application has passed: it has ended with status 0, and has printed a line
/// that begins with `beginning`. Returns the text for the case's line: the times of the exit
/// line. If `beginning` ends in `PASS `, the application's line comes before them.
pub fn passes(end: &End, console: &str, beginning: &str) -> Verdict {
    let line = console
        .lines()
        .rev()
        .find(|line| line.starts_with(beginning));
    match (end, line) {
        (End::Exit(0, words), Some(line)) if beginning.ends_with("PASS ") => {
            Ok(format!("{line}, {words}"))
        }
        (End::Exit(0, words), Some(_)) => Ok(words.clone()),
        (End::Exit(0, _), None) => Err(format!("no line begins with `{beginning}`")),
        (end, _) => Err(end.describe()),
    }
}

/// The cases of smpboot: an ordinary machine, [`EXTREME_SIZES`], and a machine whose device
/// tree lists a hart that does not exist.
fn smp_cases(options: &Options, image: &Image) -> Vec<Boot> {
    let harts = options.smp.unwrap_or(smp_test::HARTS);
    let mut cases = vec![smp_case(options, image, harts, qemu::DEFAULT_MEM_KIB)];
    if options.smp.is_none() && options.mem_kib.is_none() {
        let ends = EXTREME_SIZES.map(|(smp, kib)| smp_case(options, image, smp, kib));
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
        name: format!("a hart that does not start {}", image.machine),
        guest,
        timeouts: timeouts(options),
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
            qemu::mem_value(mem_kib)
        ),
        guest: guest(image, harts, mem_kib),
        timeouts: timeouts(options),
        judge: Box::new(move |end, console| {
            smp_test::verify(end, console, harts).map(|root| format!("one root, {root}"))
        }),
    }
}

/// A case of endings.
fn ending(image: &Image, end: &str, wanted: u8, said: &'static str) -> Boot {
    let name = format!("ending {end} {}", image.machine);
    status_case(image, name, &format!("end={end}"), wanted, said)
}

/// A case of overflow.
fn overflow(image: &Image, args: &str, wanted: u8, said: &'static str) -> Boot {
    let name = format!("overflow {args} {}", image.machine);
    status_case(image, name, args, wanted, said)
}

/// A case on four harts: the exit status must be `wanted`, and the console must hold `said`.
fn status_case(image: &Image, name: String, args: &str, wanted: u8, said: &'static str) -> Boot {
    let mut guest = guest(image, 4, qemu::DEFAULT_MEM_KIB);
    guest.boot_args = args.split(' ').map(str::to_owned).collect();
    // A short timeout for the guest that hangs on purpose saves time. The others must not
    // be stopped by it on a busy computer.
    let silence = if wanted == HUNG { 2 } else { 60 };
    Boot {
        name,
        guest,
        timeouts: Timeouts {
            silence: Some(Duration::from_secs(silence)),
            total: Some(TOTAL_TIMEOUT),
        },
        judge: Box::new(move |end, console| match end.status() {
            status if status != wanted => {
                Err(format!("{}; expected status {wanted}", end.describe()))
            }
            _ if !console.replace('\r', "").contains(said) => {
                Err(format!("the console does not hold {said:?}"))
            }
            status => Ok(format!("status {status}")),
        }),
    }
}

/// Returns the case of endings on an image that prints a listing of its address space at the
/// end. The listing must be drawn without an error.
pub fn drawing_case(app: &str, image: &Image, end: &str) -> Boot {
    let mut boot = ending(image, end, 0, "");
    let (machine, app) = (image.machine, app.to_owned());
    boot.name = format!("maps {app} {machine}");
    boot.judge = Box::new(move |end, console| {
        let drawn = maps::draw(console, &app, machine).map_err(|error| format!("{error:#}"))?;
        match (end.status(), drawn.len()) {
            (0, 2) => Ok(format!("{}, {}", drawn[0].display(), drawn[1].display())),
            (0, files) => Err(format!("{files} files drawn; expected an .svg and a .dot")),
            _ => Err(end.describe()),
        }
    });
    boot
}

/// The case of a machine with 64 GiB of memory, more than most computers have.
fn large_memory(image: &Image) -> Boot {
    const KIB: u64 = 64 << 20;
    let mut boot = ending(image, "return", 0, "");
    boot.name = format!("MEM={} {}", qemu::mem_value(KIB), image.machine);
    boot.guest.mem_kib = KIB;
    boot
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_must_end_with_status_zero_and_print_its_sign() {
        let good = End::Exit(0, "1 ms".into());
        assert_eq!(
            passes(&good, "x\nPASS 3/3\n[exit 0] 1 ms", "PASS "),
            Ok("PASS 3/3, 1 ms".into())
        );
        assert!(passes(&good, "FAIL 2/3", "PASS ").is_err());
        assert!(passes(&End::Exit(1, String::new()), "PASS 3/3", "PASS ").is_err());
        assert!(
            passes(
                &End::Hung(1, String::new()),
                "Hello, world!",
                "Hello, world!"
            )
            .is_err()
        );
    }
}
