//! Taking an object's pages away from an address space, or the right to write to them.
//!
//! The object does this to all address spaces that show the pages, and flushes them together
//! ([`Batch`]). An address space locks a part of a mapping, which lies in one shard, as any operation
//! does. It keeps the part locked until the batch has been flushed. No area changes, so the
//! operation needs no memory.

use core::convert::Infallible;
use core::ptr::NonNull;

use page_table_multiarch::MappingFlags;

use super::space::AddrSpace;
use super::write_guard::{Unlocked, WriteGuard};
use crate::addr::{Pages, as_span, clip, va_range};
use crate::machine::Machine;
use crate::page_table::Protection;
use crate::tlb::gather::TlbGather;
use crate::vmo::batch::{Batch, Take};
use crate::vmo::mappings::Space;

impl<M: Machine> Space<M> for AddrSpace<M> {
    fn first_part(&self, pages: Pages) -> Pages {
        let shard = self.shards.range(self.shards.number_of(pages.start));
        as_span(clip(va_range(pages.start, pages.end), shard))
    }

    fn take(&self, part: Pages, mapping: NonNull<()>, batch: &mut Batch<'_, M>) -> bool {
        let Some(shard) = self.shards.at(part.start) else {
            // The mapping is being made, and shows nothing yet.
            let mut gather = TlbGather::new(&self.tlb_state);
            batch.flush(&mut gather);
            gather.finish();
            return true;
        };
        let mut guard = WriteGuard::new(self, shard, va_range(part.start, part.end));
        if !lock(&mut guard, batch.is_empty()) {
            return false;
        }
        guard.unlock_index_without_room();
        let what = batch.what();
        let unlocked = Unlocked::new(&guard);
        let mut gather = unlocked.gather();
        change(&unlocked, mapping, what, &mut gather);
        if what == Take::All {
            gather_tables(&mut guard, &mut gather);
        }
        batch.flush(&mut gather);
        gather.finish();
        if what == Take::All {
            guard.lock_index();
            guard.free_tables();
        }
        true
    }
}

/// Locks the range of an operation. If it must not wait for other operations, it may fail. Returns
/// whether the range is locked.
fn lock<M: Machine>(guard: &mut WriteGuard<'_, M>, may_wait: bool) -> bool {
    if !may_wait {
        return guard.try_begin();
    }
    let has_begun = guard.begin().is_ok();
    if has_begun {
        guard.lock_range();
    }
    has_begun
}

/// Unmaps the pages that still belong to the mapping, or makes them read-only.
fn change<M: Machine>(
    unlocked: &Unlocked<'_, '_, M>,
    mapping: NonNull<()>,
    what: Take,
    gather: &mut TlbGather<'_, M>,
) {
    let (table, range) = (&unlocked.space().table, unlocked.range());
    let Ok(()) = unlocked.for_each_area::<Infallible>(|area| {
        let object = area.backend().object();
        if object.is_some_and(|of| of.record == mapping.addr().get()) {
            let pages = as_span(clip(area.va_range(), range));
            match what {
                Take::All => table.unmap_whole_pages(pages, gather),
                Take::Write => {
                    let protection = Protection {
                        flags: area.flags().difference(MappingFlags::WRITE),
                        changes_memory_kind: false,
                        may_be_shared: false,
                    };
                    table.protect_whole_pages(pages, protection, gather);
                }
            }
        }
        Ok(())
    });
}

/// Adds the page tables that have become empty to what is flushed.
fn gather_tables<M: Machine>(guard: &mut WriteGuard<'_, M>, gather: &mut TlbGather<'_, M>) {
    guard.lock_index();
    guard.gather_tables(gather);
    guard.unlock_index_without_room();
}
