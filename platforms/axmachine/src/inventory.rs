//! What a machine turned out to have.

use arrayvec::ArrayVec;
use axconfig::{MAX_HARTS, PAGE_SIZE};

/// A physical range: first address and bytes. The type of `axplat::mem`.
pub type RawRange = (usize, usize);

/// The hardware's own id of a hart: `mhartid`, MPIDR affinity, APIC id, CPUID.
pub type HartId = usize;

const MAX_RAM: usize = 32;
const MAX_DEVICES: usize = 64;

/// RAM, reserved ranges, devices and harts, as found at boot.
///
/// Each list is sorted by address, page-aligned and free of overlaps once
/// [`finish`](Self::finish) has run; what does not fit a list is left out, which
/// only ever makes the machine look smaller.
#[derive(Debug, Default)]
pub struct Inventory {
    ram: ArrayVec<RawRange, MAX_RAM>,
    reserved: ArrayVec<RawRange, MAX_RAM>,
    devices: ArrayVec<RawRange, MAX_DEVICES>,
    harts: ArrayVec<HartId, MAX_HARTS>,
    harts_left_out: usize,
}

impl Inventory {
    /// An empty list whose hart 0 is the one that booted.
    pub fn new(boot_hart: HartId) -> Self {
        let mut new = Self::default();
        new.harts.push(boot_hart);
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
        let start = start.checked_next_multiple_of(PAGE_SIZE);
        if let Some(start) = start.filter(|start| *start < end) {
            let _ = self.ram.try_push((start, end - start));
        }
    }

    /// Keeps a range of RAM from being given out: all pages it touches. If there
    /// are too many such ranges, also what lies between it and another one.
    pub fn reserve(&mut self, start: usize, size: usize) {
        let (mut start, mut end) = (start, start.saturating_add(size));
        if self.reserved.is_full() {
            merge(&mut self.reserved);
        }
        if self.reserved.is_full()
            && let Some((last, len)) = self.reserved.pop()
        {
            (start, end) = (start.min(last), end.max(last + len));
        }
        push_outward(&mut self.reserved, start, end - start);
    }

    /// Adds the registers of a device: all pages they touch.
    pub fn add_device(&mut self, start: usize, size: usize) {
        push_outward(&mut self.devices, start, size);
    }

    /// Sorts every list and joins ranges that touch or overlap; devices that
    /// claim RAM are dropped.
    pub fn finish(mut self) -> Self {
        merge(&mut self.ram);
        merge(&mut self.reserved);
        let ram = &self.ram;
        self.devices.retain(|&mut (start, size)| {
            !ram.iter().any(|&(s, n)| start < s + n && s < start + size)
        });
        merge(&mut self.devices);
        self
    }

    /// All RAM.
    pub fn ram(&self) -> &[RawRange] {
        &self.ram
    }

    /// RAM that is in use already, by firmware or by what it handed over.
    pub fn reserved(&self) -> &[RawRange] {
        &self.reserved
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
}

fn push_outward<const N: usize>(list: &mut ArrayVec<RawRange, N>, start: usize, size: usize) {
    let last_page = usize::MAX & !(PAGE_SIZE - 1);
    let first = start & !(PAGE_SIZE - 1);
    let end = start.saturating_add(size).min(last_page);
    let end = end.next_multiple_of(PAGE_SIZE);
    if size > 0 && end > first {
        let _ = list.try_push((first, end - first));
    }
}

/// Sorts ranges by address, by insertion: such lists are short, and `core`'s
/// sort is three kilobytes of code.
pub fn sort_ranges(list: &mut [RawRange]) {
    for end in 1..list.len() {
        let mut at = end;
        while at > 0 && list[at - 1] > list[at] {
            list.swap(at - 1, at);
            at -= 1;
        }
    }
}

fn merge<const N: usize>(list: &mut ArrayVec<RawRange, N>) {
    sort_ranges(list);
    let mut merged: ArrayVec<RawRange, N> = ArrayVec::new();
    for &(start, size) in list.iter() {
        match merged.last_mut() {
            Some((s, n)) if start <= *s + *n => *n = (*n).max(start + size - *s),
            _ => merged.push((start, size)),
        }
    }
    *list = merged;
}

#[cfg(test)]
mod tests {
    use super::Inventory;

    #[test]
    fn ranges_come_out_sorted_aligned_and_joined() {
        let mut found = Inventory::new(0);
        found.add_ram(0x8000_0000, 0x1000_0000);
        found.add_ram(0x1001, 0x4000);
        found.add_ram(0x9000_0000, 0x1000_0000);
        found.reserve(0x8000_0fff, 2);
        let found = found.finish();
        assert_eq!(found.ram(), [(0x2000, 0x3000), (0x8000_0000, 0x2000_0000)]);
        assert_eq!(found.reserved(), [(0x8000_0000, 0x2000)]);
    }

    #[test]
    fn no_reservation_is_lost_however_many_there_are() {
        let mut found = Inventory::new(0);
        (0..100).for_each(|n| found.reserve(n * 0x10_0000, 0x1000));
        found.reserve(usize::MAX - 0x2fff, usize::MAX);
        let found = found.finish();
        let kept = |at| found.reserved().iter().any(|&(s, n)| s <= at && at < s + n);
        assert!((0..100).all(|n| kept(n * 0x10_0000)) && kept(usize::MAX & !0x1fff));
    }

    #[test]
    fn a_device_never_hides_ram() {
        let mut found = Inventory::new(0);
        found.add_ram(0x8000_0000, 0x1000_0000);
        found.add_device(0x1000_0000, 0x100);
        found.add_device(0x8000_0000, 0x1000);
        assert_eq!(found.finish().devices(), [(0x1000_0000, 0x1000)]);
    }

    #[test]
    fn the_boot_hart_is_number_zero_and_counted_once() {
        let mut found = Inventory::new(7);
        (0..70).for_each(|id| found.add_hart(id));
        assert_eq!(found.harts()[..3], [7, 0, 1]);
        assert_eq!((found.harts().len(), found.harts_left_out()), (64, 6));
    }
}
