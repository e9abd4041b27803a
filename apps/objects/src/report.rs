//! What the tour prints: steps, each with a table of objects, and facts. All of it is checked.

use axstd::memory::Vmo;
use axstd::println;

const KIB: usize = 1024;

/// What a table shows of an object, in KiB: length, committed, shared and private bytes.
pub type Figures = [usize; 4];

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
