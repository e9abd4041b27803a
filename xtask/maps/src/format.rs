//! Formats sizes, counts and rights.

use std::fmt;

use crate::{Memory, Rights, entry_size};

impl fmt::Display for Rights {
    /// Formats five characters, as in a listing: `rwxu`, then `d` or `n`, each `-` if absent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = |has, letter| if has { letter } else { '-' };
        let memory = match self.memory {
            Memory::Normal => '-',
            Memory::Device => 'd',
            Memory::Uncached => 'n',
        };
        let letters = [
            letter(self.read, 'r'),
            letter(self.write, 'w'),
            letter(self.execute, 'x'),
            letter(self.user, 'u'),
            memory,
        ];
        letters.iter().try_for_each(|letter| write!(f, "{letter}"))
    }
}

/// Formats rights for people: `rw-`, `r-x user`, `rw- device`.
pub fn rights(rights: Rights) -> String {
    let mut words: String = rights.to_string().chars().take(3).collect();
    if rights.user {
        words += " user";
    }
    match rights.memory {
        Memory::Normal => {}
        Memory::Device => words += " device",
        Memory::Uncached => words += " uncached",
    }
    words
}

/// Formats a number of bytes with three digits and a unit.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut unit = 0;
    while unit + 1 < UNITS.len() && bytes >> (10 * (unit + 1)) > 0 {
        unit += 1;
    }
    let value = bytes as f64 / (1_u64 << (10 * unit)) as f64;
    match value {
        value if value == value.floor() => format!("{value:.0} {}", UNITS[unit]),
        value if value < 10.0 => format!("{value:.2} {}", UNITS[unit]),
        value if value < 100.0 => format!("{value:.1} {}", UNITS[unit]),
        value => format!("{value:.0} {}", UNITS[unit]),
    }
}

/// Formats the size of a page of a level.
pub fn page(level: u32) -> String {
    size(entry_size(level))
}

/// Formats a number with a noun: `1 page`, `2 pages`.
pub fn count(number: u64, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        let sizes = [0, 512, 4096, 1536 << 10, 12_345_678, 1 << 40, u64::MAX];
        assert_eq!(
            sizes.map(size),
            [
                "0 B",
                "512 B",
                "4 KiB",
                "1.50 MiB",
                "11.8 MiB",
                "1 TiB",
                "16384 PiB"
            ]
        );
    }

    #[test]
    fn rights_for_people_leave_out_what_is_usual() {
        let mut given = Rights {
            read: true,
            write: true,
            memory: Memory::Device,
            ..Rights::default()
        };
        assert_eq!(
            (given.to_string(), rights(given)),
            ("rw--d".into(), "rw- device".into())
        );
        given.user = true;
        given.memory = Memory::Normal;
        assert_eq!(
            (given.to_string(), rights(given)),
            ("rw-u-".into(), "rw- user".into())
        );
    }
}
