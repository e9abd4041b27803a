//! What the tour prints: steps, each with a table of objects and a table of areas that show them,
//! and facts. All of it is checked.

use axstd::memory::{AddrSpace, Vmo};
use axstd::println;

const KIB: usize = 1024;

/// What a table shows of an object, in KiB: length, committed, shared and private bytes.
pub type Figures = [usize; 4];

/// What a table shows of an area, in KiB: what is mapped; how much of it others have, too; how much
/// the address space alone has; how much shows the zero frame.
pub type AreaFigures = [usize; 4];

/// An area that shows an object: a name for its address space, the address space, an address in the
/// area, and the figures that are expected.
pub type Shown<'a> = (&'static str, &'a AddrSpace, usize, AreaFigures);

/// The steps and checks so far.
pub struct Report {
    steps: usize,
    checks: usize,
    wrong: usize,
}

impl Report {
    /// Returns a report without steps.
    pub fn new() -> Self {
        Self {
            steps: 0,
            checks: 0,
            wrong: 0,
        }
    }

    /// Prints what has been done, and a table of objects. The figures of each must be those that
    /// are expected.
    pub fn step(&mut self, done: &str, objects: &[(&Vmo, Figures)]) {
        self.steps += 1;
        println!("\n{}. {done}", self.steps);
        println!("   object    kind         len KiB  committed  shared  private");
        for (object, expected) in objects {
            let bytes = [
                object.len(),
                object.committed_bytes(),
                object.shared_bytes(),
                object.private_bytes(),
            ];
            let figures = bytes.map(|bytes| bytes / KIB);
            let [len, committed, shared, private] = figures;
            let (name, kind) = (object.name(), object.kind());
            let kind = alloc::format!("{kind:?}");
            println!("   {name:<9} {kind:<10} {len:>9} {committed:>10} {shared:>7} {private:>8}");
            self.count(figures == *expected, || {
                println!("   WRONG: these figures should be {expected:?}");
            });
        }
    }

    /// Prints a table of areas. The figures of each must be those that are expected.
    pub fn areas(&mut self, areas: &[Shown]) {
        println!("   space     shows           how      resident  shared  private  zero");
        for (space_name, space, start, expected) in areas {
            let start = (*start).into();
            let (Some(area), Some(object)) = (space.area_at(start), space.object_at(start)) else {
                self.count(false, || println!("   WRONG: {space_name} shows no object"));
                continue;
            };
            let mapped = space.resident(area.va_range());
            let bytes = [mapped.all, mapped.shared, mapped.private, mapped.zero];
            let figures = bytes.map(|bytes| bytes / KIB);
            let [resident, shared, private, zero] = figures;
            let name = alloc::format!("{}+{:#x}", object.name, object.offset);
            let how = if object.is_shared {
                "shared"
            } else {
                "private"
            };
            println!(
                "   {space_name:<9} {name:<15} {how:<7} {resident:>9} {shared:>7} {private:>8} {zero:>5}"
            );
            self.count(figures == *expected, || {
                println!("   WRONG: these figures should be {expected:?}");
            });
        }
    }

    /// Prints a fact, which must hold.
    pub fn fact(&mut self, fact: &str, holds: bool) {
        println!("   - {fact}");
        self.count(holds, || println!("   WRONG: that does not hold"));
    }

    fn count(&mut self, is_right: bool, complain: impl FnOnce()) {
        self.checks += 1;
        if !is_right {
            self.wrong += 1;
            complain();
        }
    }

    /// Prints the last line, and returns the exit status: 1 if something was wrong.
    pub fn finish(self) -> i32 {
        let right = self.checks - self.wrong;
        let verdict = if self.wrong == 0 { "PASS" } else { "FAIL" };
        println!("\n{verdict} {right}/{}", self.checks);
        i32::from(self.wrong > 0)
    }
}
