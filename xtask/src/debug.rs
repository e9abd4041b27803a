//! `debug`: gdb on the first instruction of an image; and `disasm`.

use std::env;
use std::fs;
use std::io::{self, IsTerminal};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use object::LittleEndian;
use object::elf::{FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};

use crate::command;
use crate::failure::{Failure, SET_UP};
use crate::files;
use crate::image::{Image, Recipe};
use crate::machine::Machine;
use crate::manifest::root;
use crate::options::Options;
use crate::qemu::{self, Guest, Input};
use crate::toolchain;

/// `debug`: the machine waits, gdb goes to the image's entry. The console is
/// printed between gdb's lines.
pub fn debug(options: &Options) -> Result<(), Failure> {
    let machine = options.machine();
    qemu::set_up(&[machine])?;
    toolchain::set_up(&["gdb".to_owned()])?;
    if !gdb_knows(machine)? {
        return Err(Failure::with_status(
            SET_UP,
            format!("this computer's gdb-multiarch does not know {machine}; a newer one is needed"),
        ));
    }
    let image = Recipe::asked(options).build(options.verbose)?;
    if machine.is_process() {
        return debug_process(options, &image);
    }
    let socket = root().join(format!("target/gdb-{}.sock", machine.arch));
    let _ = fs::remove_file(&socket);
    let mut guest = Guest::asked(options, &image, 1);
    guest.extra.extend(["-S".to_owned(), "-gdb".to_owned()]);
    guest
        .extra
        .push(format!("unix:path={},server=on,wait=off", socket.display()));

    let mut qemu = guest.command(Input::Nobody);
    // A group of its own: Ctrl-C is for gdb alone.
    qemu.process_group(0);
    command::show(&qemu, options.verbose);
    let mut qemu = qemu.spawn().context("cannot run QEMU")?;
    wait_for(&socket, &mut qemu)?;
    let mut gdb = gdb(&image, &socket)?;
    command::show(&gdb, options.verbose);
    let debugged = command::run(&mut gdb);
    qemu.kill()
        .and_then(|()| qemu.wait())
        .context("cannot stop QEMU")?;
    let _ = fs::remove_file(&socket);
    debugged
}

/// gdb on a process, at the application's `main`. A signal for memory that is not
/// there yet is as usual as a page fault.
fn debug_process(options: &Options, image: &Image) -> Result<(), Failure> {
    let guest = Guest::asked(options, image, 1);
    let mut gdb = command::new("gdb-multiarch");
    gdb.envs(guest.environment()).arg("-q");
    for line in ["handle SIGSEGV nostop noprint pass", "tbreak main", "run"] {
        gdb.args(["-ex", line]);
    }
    gdb.arg("--args").arg(&image.elf).args(guest.words());
    command::show(&gdb, options.verbose);
    command::run(&mut gdb)
}

/// Older releases of gdb know fewer architectures.
fn gdb_knows(machine: &Machine) -> Result<bool> {
    let mut gdb = command::new("gdb-multiarch");
    gdb.args(["-nx", "-batch", "-ex"])
        .arg(format!("set architecture {}", machine.gdb));
    let output = gdb.output().context("cannot run gdb-multiarch")?;
    Ok(!String::from_utf8_lossy(&output.stderr).contains("Undefined item"))
}

/// Waits until QEMU has opened its socket. One that ends instead has said why.
fn wait_for(socket: &Path, qemu: &mut Child) -> Result<()> {
    for _ in 0..1000 {
        if socket.exists() {
            return Ok(());
        }
        if let Some(status) = qemu.try_wait()? {
            bail!("QEMU did not start ({})", command::cause(status));
        }
        thread::sleep(Duration::from_millis(20));
    }
    bail!("QEMU opens no socket for gdb: {}", socket.display());
}

/// gdb with the symbols twice: where the kernel runs, and where its first
/// instructions run, before there is a page table.
fn gdb(image: &Image, socket: &Path) -> Result<Command> {
    let entry = entry(&files::read(&image.elf)?)?;
    let mut gdb = command::new("gdb-multiarch");
    gdb.arg("-q").arg(&image.elf);
    let shift = entry.physical.wrapping_sub(entry.linked);
    if shift != 0 {
        gdb.arg("-ex").arg(format!(
            "add-symbol-file {} -o {shift:#x}",
            image.elf.display()
        ));
    }
    for line in [
        "set confirm off".to_owned(),
        "set pagination off".to_owned(),
        format!("directory {}", root().display()),
        format!("target remote {}", socket.display()),
        format!("thbreak *{:#x}", entry.physical),
        "continue".to_owned(),
        "set pagination on".to_owned(),
    ] {
        gdb.arg("-ex").arg(line);
    }
    // add-symbol-file asks unless told not to beforehand.
    gdb.args(["-iex", "set confirm off"]);
    Ok(gdb)
}

/// Where an image begins to run.
struct Entry {
    linked: u64,
    physical: u64,
}

fn entry(elf: &[u8]) -> Result<Entry> {
    let header = FileHeader64::<LittleEndian>::parse(elf)?;
    let endian = header.endian()?;
    let linked = header.e_entry(endian);
    let segments = header.program_headers(endian, elf)?;
    let physical = segments
        .iter()
        .filter(|segment| segment.p_type(endian) == PT_LOAD)
        .find_map(|segment| {
            let offset = linked.checked_sub(segment.p_vaddr(endian))?;
            (offset < segment.p_memsz(endian)).then(|| segment.p_paddr(endian) + offset)
        })
        // An entry that is given as a physical address already.
        .unwrap_or(linked);
    Ok(Entry { linked, physical })
}

/// `disasm`: the image as assembly, into a pager if there is a terminal.
pub fn disasm(options: &Options) -> Result<(), Failure> {
    let image = Recipe::asked(options).build(options.verbose)?;
    let mut objdump = disassembler(&image)?;
    command::show(&objdump, options.verbose);
    if io::stdout().is_terminal() {
        let pager = env::var("PAGER").unwrap_or_else(|_| "less".to_owned());
        let mut child = objdump
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run the disassembler")?;
        if let Some(output) = child.stdout.take() {
            // A pager that is left early ends the disassembler by a closed pipe.
            Command::new("sh")
                .args(["-c", &pager])
                .stdin(output)
                .status()
                .context("cannot run the pager")?;
        }
        child.wait().context("the disassembler is lost")?;
        return Ok(());
    }
    command::run(&mut objdump)
}

/// The first of several programs that is there, newest LLVM first.
fn disassembler(image: &Image) -> Result<Command, Failure> {
    let llvm = (16..=40)
        .rev()
        .map(|version| format!("llvm-objdump-{version}"));
    let names = ["rust-objdump".to_owned()]
        .into_iter()
        .chain(llvm)
        .chain(["llvm-objdump".to_owned()]);
    for name in names {
        if is_on_path(&name) {
            let mut command = command::new(name);
            command
                .args(["--disassemble", "--demangle", "--no-show-raw-insn"])
                .arg(&image.elf);
            return Ok(command);
        }
    }
    toolchain::set_up(&["gdb".to_owned()])?;
    let mut command = command::new("gdb-multiarch");
    let range = text_range(&files::read(&image.elf)?)?;
    command
        .arg("-batch")
        .arg(&image.elf)
        .arg("-ex")
        .arg(format!("disassemble {:#x},{:#x}", range.0, range.1));
    Ok(command)
}

/// The addresses of the executable segment.
fn text_range(elf: &[u8]) -> Result<(u64, u64)> {
    let header = FileHeader64::<LittleEndian>::parse(elf)?;
    let endian = header.endian()?;
    header
        .program_headers(endian, elf)?
        .iter()
        .find(|segment| {
            segment.p_type(endian) == PT_LOAD
                && segment.p_flags(endian).0 & object::elf::PF_X.0 != 0
        })
        .map(|text| {
            (
                text.p_vaddr(endian),
                text.p_vaddr(endian) + text.p_filesz(endian),
            )
        })
        .context("the image has no code")
}

fn is_on_path(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| dir.join(name).is_file())
}
