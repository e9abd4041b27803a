//! What the boot code found: RAM, reserved ranges, devices and harts.

use arrayvec::ArrayVec;
use axconfig::{MAX_HARTS, MAX_PHYS, PAGE_SIZE};

/// A physical range: its first address and its size in bytes, as in `axplat::mem`.
pub type RawRange = (usize, usize);

/// The hardware's id of a hart: `mhartid` (RISC-V), MPIDR affinity (Arm), APIC id (x86) or
/// CPUID (LoongArch).
pub type HartId = usize;

/// The capacity of each list of ranges.
const MAX_RANGES: usize = 64;

/// How many ignored ranges are listed. Further ones are only counted.
const MAX_IGNORED: usize = 8;

/// Ranges of whole pages, sorted by address. Ranges never touch each other.
type Ranges = ArrayVec<RawRange, MAX_RANGES>;

/// A range of physical addresses that the kernel does not use, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// What the range is and why it is ignored, for a message.
    pub what: &'static str,
    /// The physical range.
    pub range: RawRange,
}

/// RAM, reserved ranges, devices and harts, as found at boot.
///
/// RAM must be added first, since devices and reservations are checked against it. The
/// devices and tables that the kernel itself uses come next, while the lists have space.
/// A full list only makes the machine smaller: further RAM and devices are
/// [`ignored`](Self::ignored), and the two closest reservations become one, together with
/// the RAM between them.
#[derive(Debug, Default)]
pub struct Inventory {
    ram: Ranges,
    reserved: Ranges,
    mapped_reserved: Ranges,
    devices: Ranges,
    harts: ArrayVec<HartId, MAX_HARTS>,
    ignored_harts: usize,
    ignored: ArrayVec<Ignored, MAX_IGNORED>,
    ignored_unlisted: usize,
}

impl Inventory {
    /// Returns an inventory that holds only hart 0, whose hardware id is `boot_hart`.
    pub fn new(boot_hart: HartId) -> Self {
        let mut new = Self::default();
        let _ = new.harts.try_push(boot_hart);
        new
    }

    /// Adds a hart, unless it is in the list already, as the boot hart is.
    pub fn add_hart(&mut self, id: HartId) {
        if !self.harts.contains(&id) && self.harts.try_push(id).is_err() {
            self.ignored_harts += 1;
        }
    }

    /// Adds RAM: the whole pages inside the range of `size` bytes from `start` on. RAM above
    /// `MAX_PHYS` is ignored.
    pub fn add_ram(&mut self, start: usize, size: usize) {
        let end = start.saturating_add(size) & !(PAGE_SIZE - 1);
        let start = start.saturating_add(PAGE_SIZE - 1) & !(PAGE_SIZE - 1);
        if end > MAX_PHYS && end > start {
            let beyond = start.max(MAX_PHYS);
            self.ignore("RAM beyond what the kernel maps", (beyond, end - beyond));
        }
        let end = end.min(MAX_PHYS);
        if start < end && !insert(&mut self.ram, (start, end - start)) {
            self.ignore("RAM for which the list is full", (start, end - start));
        }
    }

    /// Adds the RAM of a memory map. Each entry is a range and whether it is RAM. A page
    /// that one entry calls RAM and another does not is reserved.
    pub fn add_map(&mut self, map: impl Iterator<Item = (RawRange, bool)> + Clone) {
        let entries = |is_ram| map.clone().filter(move |entry| entry.1 == is_ram);
        entries(true).for_each(|((start, size), _)| self.add_ram(start, size));
        entries(false).for_each(|((start, size), _)| self.reserve(start, size));
    }

    /// Reserves all pages that the range touches: they are neither allocated nor mapped.
    /// A range without RAM in it needs no reservation and is not listed.
    #[inline(never)]
    pub fn reserve(&mut self, start: usize, size: usize) {
        if let Some(range) = pages_around(start, size).filter(|&range| overlaps(&self.ram, range)) {
            insert_or_merge(&mut self.reserved, range);
        }
    }

    /// Reserves a range that the kernel reads: its pages are not allocated, but they are
    /// mapped.
    pub fn reserve_mapped(&mut self, start: usize, size: usize) {
        self.reserve(start, size);
        if let Some(range) = pages_around(start, size) {
            insert_or_merge(&mut self.mapped_reserved, range);
        }
    }

    /// Adds the registers of a device: all pages that they touch. Registers whose address
    /// is that of RAM are skipped, for they are not reached by that address (LoongArch's
    /// IOCSR).
    #[inline(never)]
    pub fn add_device(&mut self, start: usize, size: usize) {
        let Some(range) = pages_around(start, size) else {
            return;
        };
        if start > MAX_PHYS || size > MAX_PHYS - start {
            self.ignore("a device beyond what the kernel maps", range);
        } else if !overlaps(&self.ram, range)
            && !overlaps(&self.mapped_reserved, range)
            && !insert(&mut self.devices, range)
        {
            self.ignore("a device for which the list is full", range);
        }
    }

    /// Records that the kernel does not use a range, for a message. `what` says what the
    /// range is and why it is ignored.
    pub fn ignore(&mut self, what: &'static str, range: RawRange) {
        if self.ignored.try_push(Ignored { what, range }).is_err() {
            self.ignored_unlisted += 1;
        }
    }

    /// Returns the lowest page-aligned physical address, from the page of `from` on, where
    /// `size` bytes of RAM are contiguous and not reserved; `None` if there is no such address.
    pub fn find_free(&self, from: usize, size: usize) -> Option<usize> {
        let from = from.checked_next_multiple_of(PAGE_SIZE)?;
        let (mut start, size) = pages_around(from, size.min(MAX_PHYS))?;
        loop {
            if let Some(&(reserved, len)) = first_overlapping(&self.reserved, (start, size)) {
                start = reserved + len;
                continue;
            }
            let contains = |&(ram, len): &RawRange| ram <= start && start + size <= ram + len;
            if self.ram.iter().any(contains) {
                return Some(start);
            }
            start = self.ram.iter().find(|range| range.0 > start)?.0;
        }
    }

    /// Returns the ranges of RAM, reserved ones included.
    pub fn ram(&self) -> &[RawRange] {
        &self.ram
    }

    /// Returns the ranges that hold RAM in use by firmware, or data that it handed over.
    pub fn reserved(&self) -> &[RawRange] {
        &self.reserved
    }

    /// Returns the ranges that the kernel maps because it reads them, such as the device
    /// tree and ACPI tables. Those in RAM are among the reserved ranges too.
    pub fn mapped_reserved(&self) -> &[RawRange] {
        &self.mapped_reserved
    }

    /// Returns the ranges of device registers.
    pub fn devices(&self) -> &[RawRange] {
        &self.devices
    }

    /// Returns the hardware ids of the harts. The index is the kernel's number of the hart.
    pub fn harts(&self) -> &[HartId] {
        &self.harts
    }

    /// Returns the number of harts beyond [`MAX_HARTS`], which the kernel does not start.
    pub fn ignored_harts(&self) -> usize {
        self.ignored_harts
    }

    /// Returns the ranges that the kernel does not use, and how many more there are beside
    /// those in the list.
    pub fn ignored(&self) -> (&[Ignored], usize) {
        (&self.ignored, self.ignored_unlisted)
    }
}

/// Returns the range of all pages that a range touches; `None` for an empty range. The last
/// page of the address space is left out, since its end does not fit in a `usize`.
fn pages_around(start: usize, size: usize) -> Option<RawRange> {
    const LAST_PAGE: usize = usize::MAX & !(PAGE_SIZE - 1);
    let first = start & !(PAGE_SIZE - 1);
    let end = start.saturating_add(size).min(LAST_PAGE);
    let end = end.next_multiple_of(PAGE_SIZE);
    (size > 0 && end > first).then(|| (first, end - first))
}

/// Returns the first range of `list` that overlaps the given one.
fn first_overlapping(list: &[RawRange], (start, size): RawRange) -> Option<&RawRange> {
    list.iter()
        .find(|&&(s, n)| s < start + size && start < s + n)
}

fn overlaps(list: &[RawRange], range: RawRange) -> bool {
    first_overlapping(list, range).is_some()
}

/// Adds a range to a sorted list, merged with the entries that touch it. If the list is
/// full, it drops the range and returns `false`.
#[inline(never)]
fn insert(list: &mut Ranges, (start, size): RawRange) -> bool {
    let (mut start, mut end) = (start, start + size);
    // One pass is enough. The range only grows by entries that it touches, and entries do
    // not touch each other, so it cannot come to touch an entry that was kept earlier.
    list.retain(|&mut (s, n)| {
        let touches = s <= end && start <= s + n;
        if touches {
            (start, end) = (start.min(s), end.max(s + n));
        }
        !touches
    });
    let is_added = list.try_push((start, end - start)).is_ok();
    sort_ranges(list);
    is_added
}

/// Adds a range to a sorted list. If the list is full, the two entries that are closest
/// are merged first, together with the addresses between them.
#[inline(never)]
fn insert_or_merge(list: &mut Ranges, range: RawRange) {
    if insert(list, range) {
        return;
    }
    let (mut closest, mut least) = ((0, 0), usize::MAX);
    let mut previous: Option<RawRange> = None;
    for &(start, size) in list.iter() {
        if let Some((first, len)) = previous
            && start - (first + len) < least
        {
            (closest, least) = ((first, start + size - first), start - (first + len));
        }
        previous = Some((start, size));
    }
    insert(list, closest);
    insert(list, range);
}

/// Sorts ranges by address, by insertion: the lists are short, and `core`'s sort is 3 KiB
/// of code.
fn sort_ranges(list: &mut [RawRange]) {
    for end in 1..list.len() {
        let mut at = end;
        while at > 0 && list[at - 1] > list[at] {
            list.swap(at - 1, at);
            at -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Inventory, MAX_PHYS, RawRange};

    const MIB: usize = 1 << 20;

    fn with_ram(ram: &[RawRange]) -> Inventory {
        let mut found = Inventory::new(0);
        ram.iter()
            .for_each(|&(start, size)| found.add_ram(start, size));
        found
    }

    fn holds(list: &[RawRange], at: usize) -> bool {
        list.iter().any(|&(s, n)| s <= at && at < s + n)
    }

    fn is_sorted_without_touching(list: &[RawRange]) -> bool {
        list.windows(2)
            .all(|pair| pair[0].0 + pair[0].1 < pair[1].0)
    }

    #[test]
    fn ranges_are_sorted_aligned_and_merged() {
        let mut found = with_ram(&[
            (0x8000_0000, 0x1000_0000),
            (0x1001, 0x4000),
            (0x9000_0000, 0x1000_0000),
        ]);
        found.reserve(0x8000_0fff, 2);
        assert_eq!(found.ram(), [(0x2000, 0x3000), (0x8000_0000, 0x2000_0000)]);
        assert_eq!(found.reserved(), [(0x8000_0000, 0x2000)]);
    }

    #[test]
    fn a_range_that_touches_several_is_merged_with_them() {
        let found = with_ram(&[(0, MIB), (8 * MIB, MIB), (2 * MIB, MIB), (MIB, 7 * MIB)]);
        assert_eq!(found.ram(), [(0, 9 * MIB)]);
    }

    #[test]
    fn every_reservation_is_kept_when_the_list_is_full() {
        let mut found = with_ram(&[(0, MAX_PHYS)]);
        (0..100).for_each(|n| found.reserve(n * MIB, 0x1000));
        found.reserve(MAX_PHYS - 0x3000, usize::MAX);
        assert!((0..100).all(|n| holds(found.reserved(), n * MIB)));
        assert!(holds(found.reserved(), MAX_PHYS - 0x1000));
        assert!(is_sorted_without_touching(found.reserved()));
    }

    /// The test reserves forty pairs of pages. The two of a pair are close to each other, and
    /// the pairs are far apart: only the page between the two of a pair may be lost.
    #[test]
    fn a_full_list_of_reservations_loses_as_little_ram_as_possible() {
        let mut found = with_ram(&[(0, 100 * MIB)]);
        for n in 0..40 {
            found.reserve(n * MIB, 0x1000);
            found.reserve(n * MIB + 0x2000, 0x1000);
        }
        assert!((0..40).all(|n| !holds(found.reserved(), n * MIB + 0x3000)));
        assert!((0..40).all(|n| holds(found.reserved(), n * MIB + 0x2000)));
    }

    #[test]
    fn a_reservation_without_ram_is_not_listed() {
        let mut found = with_ram(&[(0x8000_0000, 0x1000_0000)]);
        found.reserve(0x9000_0000, 0x1000);
        found.reserve(usize::MAX - 5, usize::MAX);
        found.reserve(0, 0);
        assert!(found.reserved().is_empty());
        found.reserve(0x7000_0000, 0x1000_1000);
        assert_eq!(found.reserved(), [(0x7000_0000, 0x1000_1000)]);
    }

    #[test]
    fn a_page_that_a_memory_map_calls_ram_and_not_ram_is_reserved() {
        let mut found = Inventory::new(0);
        let map = [
            ((0x3000, 0x1000), false),
            ((0x1000, 0x8000), true),
            ((0x8800, 0x10), false),
            ((0x1_0000, 0x1000), false),
        ];
        found.add_map(map.into_iter());
        assert_eq!(found.ram(), [(0x1000, 0x8000)]);
        assert_eq!(found.reserved(), [(0x3000, 0x1000), (0x8000, 0x1000)]);
    }

    #[test]
    fn a_mapped_range_in_ram_is_reserved_too() {
        let mut found = with_ram(&[(0x8000_0000, 0x1000_0000)]);
        found.reserve_mapped(0x8000_1234, 0x1000);
        found.reserve_mapped(0x1000, 1);
        assert_eq!(
            found.mapped_reserved(),
            [(0x1000, 0x1000), (0x8000_1000, 0x2000)]
        );
        assert_eq!(found.reserved(), [(0x8000_1000, 0x2000)]);
    }

    #[test]
    fn registers_at_an_address_of_ram_are_skipped() {
        let mut found = with_ram(&[(0x8000_0000, 0x1000_0000)]);
        found.add_device(0x1000_0000, 0x100);
        found.add_device(0x8000_0000, 0x1000);
        assert_eq!(found.devices(), [(0x1000_0000, 0x1000)]);
        assert!(found.ignored().0.is_empty());
    }

    #[test]
    fn a_full_list_keeps_the_first_devices_and_reports_the_others() {
        let mut found = Inventory::new(0);
        (0..80).for_each(|n| found.add_device((n + 1) * MIB, 0x100));
        assert_eq!(found.devices().len(), 64);
        assert!((0..64).all(|n| holds(found.devices(), (n + 1) * MIB)));
        let (listed, more) = found.ignored();
        assert_eq!((listed.len(), more), (8, 8));
        assert_eq!(listed[0].range, (65 * MIB, 0x1000));
        // A device that touches a listed range is merged with it.
        found.add_device(MIB + 0x1000, 0x1000);
        assert_eq!(found.devices()[0], (MIB, 0x2000));
    }

    #[test]
    fn addresses_above_max_phys_are_ignored_and_reported() {
        let mut found = with_ram(&[(MAX_PHYS - MIB, 3 * MIB), (MAX_PHYS + 8 * MIB, MIB)]);
        found.add_device(MAX_PHYS + 16 * MIB, 0x1000);
        found.add_device(usize::MAX, usize::MAX);
        assert_eq!(found.ram(), [(MAX_PHYS - MIB, MIB)]);
        assert!(found.devices().is_empty());
        let ranges: Vec<RawRange> = found.ignored().0.iter().map(|left| left.range).collect();
        let beyond = [
            (MAX_PHYS, 2 * MIB),
            (MAX_PHYS + 8 * MIB, MIB),
            (MAX_PHYS + 16 * MIB, 0x1000),
        ];
        assert_eq!(ranges[..3], beyond);
    }

    #[test]
    fn ram_for_which_the_list_is_full_is_ignored_and_reported() {
        let ram: Vec<RawRange> = (0..70).map(|n| (n * 2 * MIB, MIB)).collect();
        let found = with_ram(&ram);
        assert_eq!(found.ram(), &ram[..64]);
        assert_eq!(found.ignored().0[0].range, (128 * MIB, MIB));
    }

    #[test]
    fn find_free_returns_ram_that_is_not_reserved() {
        let mut found = with_ram(&[(MIB, MIB), (4 * MIB, 4 * MIB)]);
        assert_eq!(found.find_free(0, MIB), Some(MIB));
        found.reserve(MIB + 0x1000, 0x1000);
        assert_eq!(found.find_free(0, 0x2000), Some(MIB + 0x2000));
        assert_eq!(found.find_free(0, MIB), Some(4 * MIB));
        assert_eq!(found.find_free(5 * MIB, MIB), Some(5 * MIB));
        assert_eq!(found.find_free(5 * MIB + 1, 1), Some(5 * MIB + 0x1000));
        assert_eq!(found.find_free(0, 5 * MIB), None);
        assert_eq!(found.find_free(0, usize::MAX), None);
    }

    #[test]
    fn the_boot_hart_is_number_zero_and_counted_once() {
        let mut found = Inventory::new(7);
        (0..70).for_each(|id| found.add_hart(id));
        assert_eq!(found.harts()[..3], [7, 0, 1]);
        assert_eq!((found.harts().len(), found.ignored_harts()), (64, 6));
    }
}
