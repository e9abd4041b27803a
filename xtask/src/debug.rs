//! `debug`: starts a machine under gdb, stopped at the image's first instruction. And
//! `disasm`, which prints an image as assembly.

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

/// `debug`: starts QEMU stopped, and gdb, which continues to the image's entry. The console
/// is printed between gdb's lines.
///
/// # Errors
///
/// Fails if gdb does not know the machine's architecture, or a program cannot be run.
pub fn debug(options: &Options) -> Result<(), Failure> {
    let machine = options.machine();
    qemu::set_up(options, &[machine])?;
    toolchain::set_up(&["gdb".to_owned()])?;
    if !gdb_knows(machine)? {
        return Err(Failure::with_status(
            SET_UP,
            format!(
                "this computer's gdb-multiarch does not know the architecture {}; \
                 install a newer gdb",
                machine.gdb
            ),
        ));
    }
    let image = Recipe::from_options(options).build(options.verbose)?;
    if machine.is_process() {
        return debug_process(options, &image);
    }
    let socket = root().join(format!("target/gdb-{}.sock", machine.arch));
    let _ = fs::remove_file(&socket);
    let mut guest = Guest::from_options(options, &image, 1);
    guest.extra.extend(["-S".to_owned(), "-gdb".to_owned()]);
    guest
        .extra
        .push(format!("unix:path={},server=on,wait=off", socket.display()));

    let mut qemu = guest.command(Input::Empty);
    // A process group of its own: Ctrl-C must reach gdb and not QEMU.
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

/// Starts the machine that is a process under gdb, which runs it to the application's
/// `main`. gdb passes SIGSEGV on silently: it is how the process gets its page faults.
fn debug_process(options: &Options, image: &Image) -> Result<(), Failure> {
    let guest = Guest::from_options(options, image, 1);
    let mut gdb = command::new("gdb-multiarch");
    gdb.envs(guest.environment()).arg("-q");
    for line in ["handle SIGSEGV nostop noprint pass", "tbreak main", "run"] {
        gdb.args(["-ex", line]);
    }
    gdb.arg("--args")
        .arg(&image.elf)
        .args(guest.joined_boot_args());
    command::show(&gdb, options.verbose);
    command::run(&mut gdb)
}

/// Returns whether the installed gdb knows the machine's architecture. Older releases know
/// fewer.
fn gdb_knows(machine: &Machine) -> Result<bool> {
    let mut gdb = command::new("gdb-multiarch");
    gdb.args(["-nx", "-batch", "-ex"])
        .arg(format!("set architecture {}", machine.gdb));
    let output = gdb.output().context("cannot run gdb-multiarch")?;
    Ok(!String::from_utf8_lossy(&output.stderr).contains("Undefined item"))
}

/// Waits until QEMU has opened its socket, for 20 s at most.
///
/// # Errors
///
/// Fails if QEMU ends before it has opened the socket, or opens none in that time. A QEMU
/// that ends has printed why.
fn wait_for(socket: &Path, qemu: &mut Child) -> Result<()> {
    for _ in 0..1000 {
        if socket.exists() {
            return Ok(());
        }
        if let Some(status) = qemu.try_wait()? {
            bail!("QEMU did not start ({})", command::describe_status(status));
        }
        thread::sleep(Duration::from_millis(20));
    }
    bail!(
        "QEMU did not open its socket for gdb within 20 s: {}",
        socket.display()
    );
}

/// Returns the command for gdb. It loads the symbols twice: at the addresses that the kernel
/// is linked for, and at the physical ones, where its first instructions run before there is
/// a page table.
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
    // gdb performs `-iex` before all `-ex`. Otherwise add-symbol-file would ask for a
    // confirmation.
    gdb.args(["-iex", "set confirm off"]);
    Ok(gdb)
}

/// The linked and the physical address of an image's first instruction.
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
        // The ELF file gives its entry as a physical address already.
        .unwrap_or(linked);
    Ok(Entry { linked, physical })
}

/// `disasm`: prints the image as assembly, on a terminal by [`pager`].
pub fn disasm(options: &Options) -> Result<(), Failure> {
    let image = Recipe::from_options(options).build(options.verbose)?;
    let mut objdump = disassembler(&image)?;
    command::show(&objdump, options.verbose);
    let pager = pager(env::var("PAGER").ok());
    let Some(pager) = pager.filter(|_| io::stdout().is_terminal()) else {
        return command::run(&mut objdump);
    };
    let mut child = objdump
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run the disassembler")?;
    if let Some(output) = child.stdout.take() {
        // When the pager is left early, the closed pipe ends the disassembler.
        Command::new("sh")
            .args(["-c", &pager])
            .stdin(output)
            .status()
            .context("cannot run the pager")?;
    }
    child.wait().context("cannot wait for the disassembler")?;
    Ok(())
}

/// Returns the pager that the variable `PAGER` names: `less` if it is not set, and none if it is
/// empty.
fn pager(variable: Option<String>) -> Option<String> {
    let pager = variable.unwrap_or_else(|| "less".to_owned());
    (!pager.trim().is_empty()).then_some(pager)
}

/// Returns the command of the first disassembler on PATH, the newest LLVM first, or else
/// gdb.
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

/// Returns the first address of the executable segment, and the first behind it.
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
        .context("the image has no executable segment")
}

fn is_on_path(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| dir.join(name).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_pager_is_no_pager() {
        assert_eq!(pager(None).as_deref(), Some("less"));
        assert_eq!(pager(Some("more -s".into())).as_deref(), Some("more -s"));
        assert_eq!(pager(Some(String::new())), None);
        assert_eq!(pager(Some(" ".into())), None);
    }
}
