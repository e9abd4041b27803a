//! Prints the memory, devices and harts that the kernel has found, and checks what the linear
//! mapping includes:
//!
//! - the first and the last page of each range of RAM;
//! - all pages of the firmware's data that the kernel reads;
//! - no other reserved memory.
//!
//! The boot arguments `mapped=ADDR,…` and `unmapped=ADDR,…` add physical addresses to check. The
//! last line is `PASS n/n` or `FAIL n/m`. The exit status is 0 when all checks have passed.
#![no_std]
#![no_main]

use axstd::memory::{RawRange, inventory, phys_to_virt, probe, usage};
use axstd::time::Duration;
use axstd::{env, println, process, thread};

const PAGE: usize = 4096;

/// The numbers of checks that have passed and that were made.
#[derive(Default)]
struct Report {
    passed: u32,
    all: u32,
}

impl Report {
    /// Checks that the page at physical address `paddr` is mapped, or not, as `should` says.
    fn check(&mut self, what: &str, paddr: usize, should: bool) {
        let is = probe::can_read(phys_to_virt(paddr));
        self.all += 1;
        if is == should {
            self.passed += 1;
        } else {
            let not = if is { "" } else { "not " };
            println!("{what}: {paddr:#x} is {not}mapped");
        }
    }

    /// Checks the addresses in the value of the boot argument `name`, which are separated by
    /// commas. An invalid address counts as a failed check.
    fn check_all(&mut self, name: &str, should: bool) {
        for word in env::var(name).unwrap_or_default().split(',') {
            let digits = word.strip_prefix("0x").unwrap_or_default();
            if let Ok(paddr) = usize::from_str_radix(digits, 16) {
                self.check(name, paddr, should);
            } else if !word.is_empty() {
                println!("{name}={word}: not an address; valid: 0x…");
                self.all += 1;
            }
        }
    }
}

#[unsafe(no_mangle)]
fn main() {
    let machine = inventory();
    print("RAM", machine.ram());
    print("reserved", machine.reserved());
    print("kept", machine.mapped_reserved());
    print("device", machine.devices());
    println!("harts      {:x?}", machine.harts());
    println!("memory     {}", usage());

    let mut report = Report::default();
    // The kernel does not map the frame at physical address 0.
    for &(start, size) in machine.ram() {
        let free = |page: &usize| *page != 0 && !has(machine.reserved(), *page);
        ends(start, size)
            .filter(free)
            .for_each(|page| report.check("RAM", page, true));
    }
    for &(start, size) in machine.mapped_reserved() {
        pages(start, size).for_each(|page| report.check("kept", page, true));
    }
    for &(start, size) in machine.reserved() {
        for page in ends(start, size).filter(|page| !has(machine.mapped_reserved(), *page)) {
            report.check("reserved", page, false);
        }
    }
    report.check_all("mapped", true);
    report.check_all("unmapped", false);
    // The sleep ends only if the kernel has found the timer and its interrupt.
    thread::sleep(Duration::from_millis(1));

    let Report { passed, all } = report;
    let verdict = if passed == all { "PASS" } else { "FAIL" };
    println!("{verdict} {passed}/{all}");
    process::exit(i32::from(passed != all));
}

fn print(what: &str, ranges: &[RawRange]) {
    for (start, size) in ranges {
        println!("{what:<10} {start:#014x}  {size:#x} bytes");
    }
}

fn has(ranges: &[RawRange], page: usize) -> bool {
    ranges
        .iter()
        .any(|&(start, size)| start <= page && page < start + size)
}

fn pages(start: usize, size: usize) -> impl Iterator<Item = usize> {
    (start..start + size).step_by(PAGE)
}

/// Returns the addresses of the first and the last page of a range. A range may have too many pages
/// to check them all.
fn ends(start: usize, size: usize) -> impl Iterator<Item = usize> {
    [start, start + size - PAGE].into_iter()
}
