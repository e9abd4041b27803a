//! What makes instruction fetches see what was written, on record.

use std::cell::RefCell;
use std::ops::Range;

use crate::Walk;

/// What an address space has asked of its machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// To clean these physical addresses.
    Cleaned(Range<usize>),
    /// To make every hart fetch anew, when so many bytes were mapped that may be executed.
    Synced(usize),
}

thread_local! {
    static EVENTS: RefCell<Option<Vec<Event>>> = const { RefCell::new(None) };
    static WATCHED: RefCell<Option<(usize, Walk)>> = const { RefCell::new(None) };
}

/// What an operation asks for. `watched` is a root, and what is to walk it.
pub fn events(watched: (usize, Walk), operation: impl FnOnce()) -> Vec<Event> {
    EVENTS.set(Some(Vec::new()));
    WATCHED.set(Some(watched));
    operation();
    WATCHED.set(None);
    EVENTS.take().unwrap_or_default()
}

pub(crate) fn happened(event: Event) {
    axalloc::fault::paused(|| {
        EVENTS.with_borrow_mut(|events| {
            if let Some(events) = events {
                events.push(event);
            }
        });
    });
}

/// The bytes that are mapped and may be executed, where somebody watches.
pub(crate) fn executable() -> usize {
    axalloc::fault::paused(|| {
        WATCHED.with_borrow(|watched| {
            let raw = watched.and_then(|(root, walk)| walk(root).ok());
            let pages = raw.map(|raw| raw.pages).unwrap_or_default();
            let executable = pages.iter().filter(|page| page.rights.execute);
            executable.map(|page| page.size).sum()
        })
    })
}
