//! Counts the instructions of loads, and collects the rows.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::mem::forget;

use axbench_aspace::{Done, Refused, Space, Watch as _};
use axmm::{kernel_page_table_root, new_kernel_aspace, new_user_aspace};
use axstd::println;

use crate::clock::instructions;
use crate::kernel::Kernel;

/// How often a load runs. The smallest count is taken: it contains no timer interrupt.
const TIMES: usize = 3;

/// The range of a user's address space, which is valid on both machines.
const USER: usize = 0x1000;
const USER_SIZE: usize = (1 << 38) - 2 * USER;

const GIB: usize = 1 << 30;

/// The rows so far: name, value in hundredths, unit.
pub struct Table(Vec<(String, u64, &'static str)>);

/// The instructions of the measured parts of a load.
pub struct Watch(u64);

impl axbench_aspace::Watch for Watch {
    fn time<R>(&mut self, part: impl FnOnce() -> R) -> R {
        let begin = instructions();
        let result = part();
        self.0 += instructions() - begin;
        result
    }
}

impl Table {
    pub fn new() -> Self {
        Self(Vec::new())
    }

    /// Measures the rows of whole address spaces, and the frames that a lazy GiB takes. That
    /// GiB must be mapped for the first time, because ArceOS never frees page tables.
    pub fn whole(&mut self) {
        let before = free();
        let mut kernel = Kernel;
        let start = kernel.range().end - GIB;
        if kernel.map(start, GIB, false).is_ok() {
            let taken = (before - free()) as u64;
            self.add("map_lazy.1g.frames", taken * 100, "frames");
            let _ = kernel.unmap(start, GIB);
        }
        self.times("boot.kernel_aspace", |watch| {
            let aspace = watch.time(|| {
                let aspace = new_kernel_aspace();
                // Building an address space includes loading its root. The current root is
                // loaded again instead, which costs the same.
                // SAFETY: the current root maps the running kernel.
                unsafe { axhal::asm::write_kernel_page_table(kernel_page_table_root()) };
                axhal::asm::flush_tlb(None);
                aspace
            });
            aspace.map(forget).map(|()| 1).map_err(|_| Refused)
        });
        self.times("user_aspace.new", |watch| {
            let aspace = watch.time(|| new_user_aspace(USER.into(), USER_SIZE));
            aspace.map(|_| 1).map_err(|_| Refused)
        });
    }

    /// Measures `load`, and adds a row with the cost of one operation.
    pub fn times(&mut self, name: &str, load: impl FnMut(&mut Watch) -> Done) {
        match least(load) {
            Ok(value) => self.add(name, value, "instructions"),
            Err(Refused) => println!("{name}: refused"),
        }
    }

    /// Adds a row with the cost of an operation of `load`, less that of one of `other`.
    pub fn difference(
        &mut self,
        name: &str,
        load: impl FnMut(&mut Watch) -> Done,
        other: impl FnMut(&mut Watch) -> Done,
    ) {
        match (least(load), least(other)) {
            (Ok(more), Ok(less)) => self.add(name, more.saturating_sub(less), "instructions"),
            _ => println!("{name}: refused"),
        }
    }

    fn add(&mut self, name: &str, value: u64, unit: &'static str) {
        println!("{name:<20} {:>12}.{:02} {unit}", value / 100, value % 100);
        self.0.push((name.to_string(), value, unit));
    }

    /// Returns the rows as a line of JSON, in the form that `make bench` reads.
    pub fn json(&self) -> String {
        let row = |(name, value, unit): &(String, u64, &str)| {
            let (whole, rest) = (value / 100, value % 100);
            format!(r#"{{"name": "{name}", "value": {whole}.{rest:02}, "unit": "{unit}"}}"#)
        };
        let rows: Vec<String> = self.0.iter().map(row).collect();
        format!("{{\"rows\": [{}]}}", rows.join(", "))
    }
}

impl axbench_aspace::Table for Table {
    type Watch = Watch;

    fn row<S: Space>(
        &mut self,
        name: &str,
        space: &mut S,
        load: impl Fn(&mut S, &mut Watch) -> Done,
    ) {
        self.times(name, |watch| load(space, watch));
    }
}

/// Returns the smallest number of instructions of one operation, in hundredths, of [`TIMES`]
/// runs of `load`.
fn least(mut load: impl FnMut(&mut Watch) -> Done) -> Result<u64, Refused> {
    let mut once = || {
        let mut watch = Watch(0);
        load(&mut watch).map(|operations| watch.0 * 100 / operations as u64)
    };
    (1..TIMES).try_fold(once()?, |least, _| Ok(least.min(once()?)))
}

/// Returns the number of free frames.
fn free() -> usize {
    axalloc::global_allocator().available_pages()
}
