//! How much memory is mapped in a range, and how much of it others have, too.

use core::ops::AddAssign;

use memory_addr::{PAGE_SIZE_4K, PhysAddr, VirtAddr, VirtAddrRange};

use super::space::AddrSpace;
use super::write_guard::WriteGuard;
use crate::addr::{Pages, as_span};
use crate::backing::{Backend, ObjectArea};
use crate::machine::Machine;
use crate::page_table::frames::TableFrames;
use crate::page_table::{FrameOwners, VisitPosition, Visited};
use crate::zero_frame::is_zero_frame;

/// How much memory is mapped in a range of addresses, in bytes.
///
/// [`shared`](Self::shared), [`private`](Self::private) and [`zero`](Self::zero) add up to
/// [`all`](Self::all), except for linear areas, which have no part in them: nothing counts the
/// owners of their frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// The bytes in pages of all sizes.
    pub all: usize,
    /// The bytes in pages larger than 4 KiB.
    pub huge: usize,
    /// The bytes in frames with other owners: an address space since a fork, or a memory object.
    pub shared: usize,
    /// The bytes in frames that this address space alone has.
    pub private: usize,
    /// The bytes that show the zero frame.
    pub zero: usize,
}

/// The most bytes whose frames are looked at under one hold of an index lock.
const AT_A_TIME: usize = 512 * PAGE_SIZE_4K;

impl<M: Machine> AddrSpace<M> {
    /// Returns how much memory is mapped in `range`. Allocates nothing.
    ///
    /// Other harts can map and unmap meanwhile: the count is made in steps. Each passes one page table,
    /// or counts one run of pages. Where the owners of frames are looked at, it counts at most 2 MiB. Each
    /// step is exact. An interrupt handler that has interrupted
    /// an operation must not wait. For it, the count ends at the first shard in which a range is
    /// locked or queued.
    pub fn resident(&self, range: VirtAddrRange) -> Resident {
        let (mut position, mut sum) = (VisitPosition::START, Resident::default());
        while self.count_some(range, &mut position, &mut sum) {}
        sum
    }

    /// Adds the next pages of `range` after `position` to `sum`, and moves `position` past them.
    /// Returns whether there may be more.
    fn count_some(
        &self,
        range: VirtAddrRange,
        position: &mut VisitPosition,
        sum: &mut Resident,
    ) -> bool {
        self.look_at_part(range, position, |guard, position| {
            let from = position.vaddr();
            let part = as_span(guard.range());
            let mut found = None;
            let more = self
                .table
                .visit_some(part.clone(), position, 1, &mut |visited| {
                    found = Some(visited.clone());
                    true
                });
            if let Some(run @ Visited::Run { .. }) = found {
                let limits = part.start.max(from)..part.end;
                *position = VisitPosition::before(sum.add(guard, &run, limits));
            }
            more
        })
    }
}

impl AddAssign for Resident {
    fn add_assign(&mut self, other: Self) {
        self.all += other.all;
        self.huge += other.huge;
        self.shared += other.shared;
        self.private += other.private;
        self.zero += other.zero;
    }
}

impl Resident {
    /// Adds the first pages of a run, as far as they lie in `limits` and in one area. Returns where
    /// they end.
    fn add<M: Machine>(
        &mut self,
        guard: &WriteGuard<'_, M>,
        run: &Visited,
        limits: Pages,
    ) -> usize {
        let Visited::Run {
            level,
            pages,
            paddr,
            is_shared,
            ..
        } = run
        else {
            return limits.end;
        };
        let start = pages.start.max(limits.start);
        let area = guard.area_at(VirtAddr::from_usize(start));
        let area = area.map(|area| area.area());
        let end = area
            .as_ref()
            .map_or(limits.end, |area| area.end().as_usize());
        let mut end = end.min(pages.end).min(limits.end);
        let kind = area.map_or(Frames::Uncounted, |area| Frames::of(area.backend()));
        if kind == Frames::Owned {
            end = end.min(start + AT_A_TIME);
        }
        let (bytes, frame) = (end - start, *paddr + (start - pages.start));
        self.all += bytes;
        self.huge += if *level > 0 { bytes } else { 0 };
        match kind {
            Frames::Uncounted => {}
            Frames::Owned | Frames::OfObject if is_zero_frame(frame) => self.zero += bytes,
            Frames::OfObject => self.shared += bytes,
            Frames::Owned if *is_shared => self.shared += bytes,
            Frames::Owned => {
                let private = exclusive_bytes(frame, bytes);
                self.private += private;
                self.shared += bytes - private;
            }
        }
        end
    }
}

/// Whose the frames of an area's pages are.
#[derive(Clone, Copy, PartialEq)]
enum Frames {
    /// Their owners are not counted.
    Uncounted,
    /// A memory object's. The pages do not count as owners.
    OfObject,
    /// Each page is an owner of its frame.
    Owned,
}

impl Frames {
    fn of(backend: &Backend) -> Self {
        match backend {
            Backend::Linear { .. } => Self::Uncounted,
            Backend::Object(ObjectArea {
                is_shared: true, ..
            }) => Self::OfObject,
            Backend::Object(_) | Backend::Alloc { .. } => Self::Owned,
        }
    }
}

/// Returns how many of `bytes` bytes of contiguous frames have no other owner. The caller holds the
/// index lock, and pages of an area that owns its frames map them.
fn exclusive_bytes(first: PhysAddr, bytes: usize) -> usize {
    let frames = (0..bytes).step_by(PAGE_SIZE_4K);
    let exclusive = frames.filter(|offset| TableFrames::is_exclusive(first + *offset, 1));
    exclusive.count() * PAGE_SIZE_4K
}
