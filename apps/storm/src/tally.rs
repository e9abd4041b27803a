//! What each hart has done, as a table.

use core::fmt;
use core::ops::AddAssign;

/// What a hart has done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Ranges mapped, unmapped, and given other rights.
    pub maps: u64,
    pub unmaps: u64,
    pub protects: u64,
    /// Operations that were refused: as they had to be, or for lack of memory.
    pub refused: u64,
    /// Times that it has looked at every page of a stretch.
    pub visits: u64,
    /// Accesses that faulted, as they had to.
    pub faults: u64,
    /// Words that were compared.
    pub words: u64,
}

impl Tally {
    /// Operations of every kind.
    pub fn operations(&self) -> u64 {
        self.maps + self.unmaps + self.protects + self.refused
    }

    /// The table's head.
    pub fn head() -> &'static str {
        "hart     maps   unmaps protects  refused   visits     faults  words checked"
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.maps += other.maps;
        self.unmaps += other.unmaps;
        self.protects += other.protects;
        self.refused += other.refused;
        self.visits += other.visits;
        self.faults += other.faults;
        self.words += other.words;
    }
}

/// A line of the table, but for whose it is.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self {
            maps,
            unmaps,
            protects,
            refused,
            visits,
            faults,
            words,
        } = self;
        write!(
            f,
            "{maps:>9}{unmaps:>9}{protects:>9}{refused:>9}{visits:>9}{faults:>11}{words:>15}"
        )
    }
}
