//! The counts of what harts have done, and the table of them.

use core::fmt;
use core::ops::AddAssign;

/// The counts of one hart, or of all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Ranges that were mapped.
    pub maps: u64,
    /// Ranges that were unmapped.
    pub unmaps: u64,
    /// Ranges whose rights were changed.
    pub protects: u64,
    /// Address spaces that were forked.
    pub forks: u64,
    /// Operations that were refused, as expected or for lack of memory.
    pub refused: u64,
    /// Visits of all pages of a region.
    pub visits: u64,
    /// Accesses that faulted, as expected.
    pub faults: u64,
    /// Words that were checked.
    pub words: u64,
}

impl Tally {
    /// Returns the number of operations of all kinds.
    pub fn operations(&self) -> u64 {
        self.maps + self.unmaps + self.protects + self.forks + self.refused
    }

    /// Returns the heading of the table.
    pub fn head() -> &'static str {
        "hart     maps   unmaps protects   forks  refused   visits     faults  words checked"
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.maps += other.maps;
        self.unmaps += other.unmaps;
        self.protects += other.protects;
        self.forks += other.forks;
        self.refused += other.refused;
        self.visits += other.visits;
        self.faults += other.faults;
        self.words += other.words;
    }
}

/// Writes a line of the table without its first column, the hart.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self {
            maps,
            unmaps,
            protects,
            forks,
            refused,
            visits,
            faults,
            words,
        } = self;
        write!(
            f,
            "{maps:>9}{unmaps:>9}{protects:>9}{forks:>8}{refused:>9}{visits:>9}{faults:>11}{words:>15}"
        )
    }
}
