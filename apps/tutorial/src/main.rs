//! Runs the programs of the tutorial, each in an address space of its own, and prints what became of
//! them. docs/tutorial.md explains what there is to see.
//!
//! The programs are in `user/src/bin`. They run one after another, or all at once with the argument
//! `together`. The argument `prog=NAME` runs one alone. The exit status is 1 if a program did not end
//! as `user/expected.txt` says, or if its memory was not given back.
#![no_std]
#![no_main]

extern crate alloc;

mod expected;
mod table;

use alloc::boxed::Box;

use axstd::memory::{AxResult, UsageKind, usage};
use axstd::thread::free_cached_stacks;
use axstd::{env, println, process};
use axtutor::{NamedProgram, Process, Programs, Shared};

use expected::Expectations;

/// The programs for this machine, and what is expected of them, as a cpio archive.
static ARCHIVE: &[u8] = include_bytes!(env!("AX_ARCHIVE"));

#[unsafe(no_mangle)]
fn main() {
    match run() {
        Ok(true) => {}
        Ok(false) => process::exit(1),
        Err(error) => {
            println!("the programs cannot be run: {error:?}");
            process::exit(1);
        }
    }
}

/// Runs what the arguments ask for. Returns whether all went as expected.
fn run() -> AxResult<bool> {
    let programs: &'static Programs = Box::leak(Box::new(Programs::read(ARCHIVE)?));
    let expectations = Expectations::read(ARCHIVE);
    let root = axtutor::new_root()?;
    let before = frames_of_programs();
    let is_chosen = |program: &&'static NamedProgram| match env::var("prog") {
        Some(name) => program.name() == name,
        None => true,
    };
    let chosen = || programs.iter().filter(is_chosen);
    if chosen().next().is_none() {
        println!("there is no such program; these are there:");
        programs
            .iter()
            .for_each(|program| println!("  {}", program.name()));
        return Ok(false);
    }
    match env::args().any(|arg| arg == "together") {
        true => begin_all(&root, programs, chosen())?,
        false => {
            for program in chosen() {
                println!("\n--- {}", program.name());
                begin_all(&root, programs, core::iter::once(program))?;
            }
        }
    }
    let all_right = table::print(&expectations);
    let missing = frames_of_programs() as isize - before as isize;
    println!("frames that were not given back: {missing}");
    Ok(all_right && missing == 0)
}

/// Runs programs at the same time, and waits until they and all that they have begun have ended.
fn begin_all(
    root: &Shared<Process>,
    programs: &'static Programs,
    chosen: impl Iterator<Item = &'static NamedProgram>,
) -> AxResult {
    for program in chosen {
        let id = axtutor::begin(root, programs, program, table::add)?;
        table::expect(id);
    }
    while root.wait(None).is_some() {}
    Ok(())
}

/// Returns how many frames are in use for programs: their pages and page tables, and the kernel's
/// stacks of their threads.
fn frames_of_programs() -> usize {
    free_cached_stacks();
    let usage = usage();
    usage.of(UsageKind::Object) + usage.of(UsageKind::PageTable) + usage.of(UsageKind::VirtMem)
}
