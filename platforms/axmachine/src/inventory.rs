//! What a machine turned out to have.

use arrayvec::ArrayVec;
use axconfig::{MAX_HARTS, MAX_PHYS, PAGE_SIZE};

/// A physical range: first address and bytes. The type of `axplat::mem`.
pub type RawRange = (usize, usize);

/// The hardware's own id of a hart: `mhartid`, MPIDR affinity, APIC id, CPUID.
pub type HartId = usize;

/// How many ranges of one kind are told apart.
const MAX_RANGES: usize = 64;

/// How many things that are left alone are listed; further ones are counted.
const MAX_LEFT_ALONE: usize = 8;

/// Ranges of whole pages, sorted by address. No two touch or overlap.
type Ranges = ArrayVec<RawRange, MAX_RANGES>;

/// Something that the kernel does not use, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftAlone {
    /// What it is and what is wrong with it, for a message.
    pub what: &'static str,
    /// Where it is.
    pub range: RawRange,
}

/// RAM, reserved ranges, devices and harts, as found at boot.
///
/// RAM is added first: devices and reservations are judged by it. Then come the
/// devices and tables that the kernel itself uses, so that a full list keeps
/// them. What a full list does not keep makes the machine smaller and nothing
/// else: RAM and devices beyond are not used ([`left_alone`](Self::left_alone)),
/// and reservations are joined, with the RAM between them.
#[derive(Debug, Default)]
pub struct Inventory {
    ram: Ranges,
    reserved: Ranges,
    kept: Ranges,
    devices: Ranges,
    harts: ArrayVec<HartId, MAX_HARTS>,
    harts_left_out: usize,
    left_alone: ArrayVec<LeftAlone, MAX_LEFT_ALONE>,
    left_alone_unlisted: usize,
}

impl Inventory {
    /// An empty list whose hart 0 is the one that booted.
    pub fn new(boot_hart: HartId) -> Self {
        let mut new = Self::default();
        let _ = new.harts.try_push(boot_hart);
        new
    }

    /// Adds a hart, unless it is the one that booted or is known already.
    pub fn add_hart(&mut self, id: HartId) {
        if !self.harts.contains(&id) && self.harts.try_push(id).is_err() {
            self.harts_left_out += 1;
        }
    }

    /// Adds RAM: whole pages inside the range.
    pub fn add_ram(&mut self, start: usize, size: usize) {
        let end = start.saturating_add(size) & !(PAGE_SIZE - 1);
        let start = start.saturating_add(PAGE_SIZE - 1) & !(PAGE_SIZE - 1);
        if end > MAX_PHYS && end > start {
            let beyond = start.max(MAX_PHYS);
            self.leave_alone("RAM beyond what the kernel maps", (beyond, end - beyond));
        }
        let end = end.min(MAX_PHYS);
        if start < end && !insert(&mut self.ram, (start, end - start)) {
            self.leave_alone("RAM for which the list is full", (start, end - start));
        }
    }

    /// Adds the RAM on a map of ranges that are each RAM or not. A range of which the
    /// map says both is not used.
    pub fn add_map(&mut self, map: impl Iterator<Item = (RawRange, bool)> + Clone) {
        let part = |wanted| map.clone().filter(move |entry| entry.1 == wanted);
        part(true).for_each(|((start, size), _)| self.add_ram(start, size));
        part(false).for_each(|((start, size), _)| self.reserve(start, size));
    }

    /// Keeps a range of RAM from being given out, and from being mapped: all
    /// pages it touches.
    #[inline(never)]
    pub fn reserve(&mut self, start: usize, size: usize) {
        if let Some(range) = outward(start, size).filter(|&range| touches(&self.ram, range)) {
            insert_or_join(&mut self.reserved, range);
        }
    }

    /// Keeps a range from being given out, and mapped: it holds what the kernel
    /// reads.
    pub fn keep(&mut self, start: usize, size: usize) {
        self.reserve(start, size);
        if let Some(range) = outward(start, size) {
            insert_or_join(&mut self.kept, range);
        }
    }

    /// Adds the registers of a device: all pages they touch. Those that lie in RAM by
    /// their address are reached in another way (LoongArch's IOCSR), and are passed over.
    #[inline(never)]
    pub fn add_device(&mut self, start: usize, size: usize) {
        let Some(range) = outward(start, size) else {
            return;
        };
        if start > MAX_PHYS || size > MAX_PHYS - start {
            self.leave_alone("a device beyond what the kernel maps", range);
        } else if !touches(&self.ram, range)
            && !touches(&self.kept, range)
            && !insert(&mut self.devices, range)
        {
            self.leave_alone("a device for which the list is full", range);
        }
    }

    /// Notes that something is not used, for a message: what it is and what is wrong
    /// with it, and where it is.
    pub fn leave_alone(&mut self, what: &'static str, range: RawRange) {
        let left = LeftAlone { what, range };
        if self.left_alone.try_push(left).is_err() {
            self.left_alone_unlisted += 1;
        }
    }

    /// The lowest place from `from` on, page-aligned, for `size` bytes of RAM that
    /// are not reserved.
    pub fn room(&self, from: usize, size: usize) -> Option<usize> {
        let (mut place, size) = outward(from, size.min(MAX_PHYS))?;
        loop {
            let here = (place, size);
            if let Some(&(start, len)) = first_touching(&self.reserved, here) {
                place = start + len;
                continue;
            }
            let holds = |&(start, len): &RawRange| start <= place && place + size <= start + len;
            if self.ram.iter().any(holds) {
                return Some(place);
            }
            place = self.ram.iter().find(|range| range.0 > place)?.0;
        }
    }

    /// All RAM.
    pub fn ram(&self) -> &[RawRange] {
        &self.ram
    }

    /// RAM that is in use already, by firmware or by what it handed over.
    pub fn reserved(&self) -> &[RawRange] {
        &self.reserved
    }

    /// What the kernel reads of what firmware handed over: the device tree, tables.
    pub fn kept(&self) -> &[RawRange] {
        &self.kept
    }

    /// Device registers.
    pub fn devices(&self) -> &[RawRange] {
        &self.devices
    }

    /// Hardware ids; the index is the kernel's own number of the hart.
    pub fn harts(&self) -> &[HartId] {
        &self.harts
    }

    /// How many harts there were beyond [`MAX_HARTS`].
    pub fn harts_left_out(&self) -> usize {
        self.harts_left_out
    }

    /// What the kernel does not use of the machine, and how many things beside
    /// those listed.
    pub fn left_alone(&self) -> (&[LeftAlone], usize) {
        (&self.left_alone, self.left_alone_unlisted)
    }
}

/// All pages that a range touches. The last page of the address space, whose end
/// is no address, is left out.
fn outward(start: usize, size: usize) -> Option<RawRange> {
    const LAST_PAGE: usize = usize::MAX & !(PAGE_SIZE - 1);
    let first = start & !(PAGE_SIZE - 1);
    let end = start.saturating_add(size).min(LAST_PAGE);
    let end = end.next_multiple_of(PAGE_SIZE);
    (size > 0 && end > first).then(|| (first, end - first))
}

/// The first range of `list` that overlaps another one.
fn first_touching(list: &[RawRange], (start, size): RawRange) -> Option<&RawRange> {
    list.iter()
        .find(|&&(s, n)| s < start + size && start < s + n)
}

fn touches(list: &[RawRange], range: RawRange) -> bool {
    first_touching(list, range).is_some()
}

/// Adds a range to a sorted list, as one with those that it touches. Returns
/// whether there was room.
#[inline(never)]
fn insert(list: &mut Ranges, (start, size): RawRange) -> bool {
    let (mut start, mut end) = (start, start + size);
    // An entry that has been passed stays apart: what the range grows by is an
    // entry behind it, and entries do not touch.
    list.retain(|&mut (s, n)| {
        let apart = end < s || s + n < start;
        if !apart {
            (start, end) = (start.min(s), end.max(s + n));
        }
        apart
    });
    let has_room = list.try_push((start, end - start)).is_ok();
    sort_ranges(list);
    has_room
}

/// Adds a range to a sorted list. If that is full, the two entries that are
/// closest become one, with what lies between them.
#[inline(never)]
fn insert_or_join(list: &mut Ranges, range: RawRange) {
    if insert(list, range) {
        return;
    }
    let (mut closest, mut least) = ((0, 0), usize::MAX);
    let mut before: Option<RawRange> = None;
    for &(start, size) in list.iter() {
        if let Some((first, len)) = before
            && start - (first + len) < least
        {
            (closest, least) = ((first, start + size - first), start - (first + len));
        }
        before = Some((start, size));
    }
    insert(list, closest);
    insert(list, range);
}

/// Sorts ranges by address, by insertion: such lists are short, and `core`'s
/// sort is three kilobytes of code.
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

    fn is_sorted_and_apart(list: &[RawRange]) -> bool {
        list.windows(2)
            .all(|pair| pair[0].0 + pair[0].1 < pair[1].0)
    }

    #[test]
    fn ranges_come_out_sorted_aligned_and_joined() {
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
    fn a_range_that_joins_several_is_one_with_them() {
        let found = with_ram(&[(0, MIB), (8 * MIB, MIB), (2 * MIB, MIB), (MIB, 7 * MIB)]);
        assert_eq!(found.ram(), [(0, 9 * MIB)]);
    }

    #[test]
    fn no_reservation_is_lost_however_many_there_are() {
        let mut found = with_ram(&[(0, MAX_PHYS)]);
        (0..100).for_each(|n| found.reserve(n * MIB, 0x1000));
        found.reserve(MAX_PHYS - 0x3000, usize::MAX);
        assert!((0..100).all(|n| holds(found.reserved(), n * MIB)));
        assert!(holds(found.reserved(), MAX_PHYS - 0x1000));
        assert!(is_sorted_and_apart(found.reserved()));
    }

    /// Forty pairs of reservations with little RAM between the two, and much between
    /// the pairs: only the little is given up.
    #[test]
    fn as_little_ram_as_can_be_is_given_up_for_a_full_list() {
        let mut found = with_ram(&[(0, 100 * MIB)]);
        for n in 0..40 {
            found.reserve(n * MIB, 0x1000);
            found.reserve(n * MIB + 0x2000, 0x1000);
        }
        assert!((0..40).all(|n| !holds(found.reserved(), n * MIB + 0x3000)));
        assert!((0..40).all(|n| holds(found.reserved(), n * MIB + 0x2000)));
    }

    #[test]
    fn a_reservation_of_no_ram_is_harmless() {
        let mut found = with_ram(&[(0x8000_0000, 0x1000_0000)]);
        found.reserve(0x9000_0000, 0x1000);
        found.reserve(usize::MAX - 5, usize::MAX);
        found.reserve(0, 0);
        assert!(found.reserved().is_empty());
        found.reserve(0x7000_0000, 0x1000_1000);
        assert_eq!(found.reserved(), [(0x7000_0000, 0x1000_1000)]);
    }

    #[test]
    fn what_a_map_contradicts_itself_about_is_not_used() {
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
    fn what_is_kept_is_reserved_too() {
        let mut found = with_ram(&[(0x8000_0000, 0x1000_0000)]);
        found.keep(0x8000_1234, 0x1000);
        found.keep(0x1000, 1);
        assert_eq!(found.kept(), [(0x1000, 0x1000), (0x8000_1000, 0x2000)]);
        assert_eq!(found.reserved(), [(0x8000_1000, 0x2000)]);
    }

    #[test]
    fn a_device_never_hides_ram() {
        let mut found = with_ram(&[(0x8000_0000, 0x1000_0000)]);
        found.add_device(0x1000_0000, 0x100);
        found.add_device(0x8000_0000, 0x1000);
        assert_eq!(found.devices(), [(0x1000_0000, 0x1000)]);
        assert!(found.left_alone().0.is_empty());
    }

    #[test]
    fn devices_that_come_first_are_kept_and_the_others_named_or_counted() {
        let mut found = Inventory::new(0);
        (0..80).for_each(|n| found.add_device((n + 1) * MIB, 0x100));
        assert_eq!(found.devices().len(), 64);
        assert!((0..64).all(|n| holds(found.devices(), (n + 1) * MIB)));
        let (listed, more) = found.left_alone();
        assert_eq!((listed.len(), more), (8, 8));
        assert_eq!(listed[0].range, (65 * MIB, 0x1000));
        // One that touches another takes no room.
        found.add_device(MIB + 0x1000, 0x1000);
        assert_eq!(found.devices()[0], (MIB, 0x2000));
    }

    #[test]
    fn what_lies_beyond_what_the_kernel_maps_is_named() {
        let mut found = with_ram(&[(MAX_PHYS - MIB, 3 * MIB), (MAX_PHYS + 8 * MIB, MIB)]);
        found.add_device(MAX_PHYS + 16 * MIB, 0x1000);
        found.add_device(usize::MAX, usize::MAX);
        assert_eq!(found.ram(), [(MAX_PHYS - MIB, MIB)]);
        assert!(found.devices().is_empty());
        let ranges: Vec<RawRange> = found.left_alone().0.iter().map(|left| left.range).collect();
        let beyond = [
            (MAX_PHYS, 2 * MIB),
            (MAX_PHYS + 8 * MIB, MIB),
            (MAX_PHYS + 16 * MIB, 0x1000),
        ];
        assert_eq!(ranges[..3], beyond);
    }

    #[test]
    fn more_ranges_of_ram_than_the_list_has_room_for_are_named() {
        let ram: Vec<RawRange> = (0..70).map(|n| (n * 2 * MIB, MIB)).collect();
        let found = with_ram(&ram);
        assert_eq!(found.ram(), &ram[..64]);
        assert_eq!(found.left_alone().0[0].range, (128 * MIB, MIB));
    }

    #[test]
    fn room_is_ram_that_is_not_reserved() {
        let mut found = with_ram(&[(MIB, MIB), (4 * MIB, 4 * MIB)]);
        assert_eq!(found.room(0, MIB), Some(MIB));
        found.reserve(MIB + 0x1000, 0x1000);
        assert_eq!(found.room(0, 0x2000), Some(MIB + 0x2000));
        assert_eq!(found.room(0, MIB), Some(4 * MIB));
        assert_eq!(found.room(5 * MIB, MIB), Some(5 * MIB));
        assert_eq!(found.room(0, 5 * MIB), None);
        assert_eq!(found.room(0, usize::MAX), None);
    }

    #[test]
    fn the_boot_hart_is_number_zero_and_counted_once() {
        let mut found = Inventory::new(7);
        (0..70).for_each(|id| found.add_hart(id));
        assert_eq!(found.harts()[..3], [7, 0, 1]);
        assert_eq!((found.harts().len(), found.harts_left_out()), (64, 6));
    }
}
