//! The rights of pages, in five characters.

use core::fmt::{self, Write};

use page_table_multiarch::MappingFlags;

/// Rights in five characters. The first four are `rwxu` (`u`: user programs have the rights, too).
/// The fifth is `d` for a device's memory or `n` for memory that is not cached. A `-` takes the
/// place of a letter that does not apply.
pub(crate) struct Rights(pub MappingFlags);

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (right, letter) in [
            (MappingFlags::READ, 'r'),
            (MappingFlags::WRITE, 'w'),
            (MappingFlags::EXECUTE, 'x'),
            (MappingFlags::USER, 'u'),
        ] {
            f.write_char(if self.0.contains(right) { letter } else { '-' })?;
        }
        f.write_char(if self.0.contains(MappingFlags::DEVICE) {
            'd'
        } else if self.0.contains(MappingFlags::UNCACHED) {
            'n'
        } else {
            '-'
        })
    }
}
