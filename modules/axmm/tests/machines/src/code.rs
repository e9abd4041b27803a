//! Records how an address space makes instruction fetches see the code that was written.

use std::cell::RefCell;
use std::ops::Range;

use crate::Walk;

/// A request of an address space to its machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// These physical addresses were cleaned.
    Cleaned(Range<usize>),
    /// Every hart was made to fetch anew. The number of executable bytes mapped then.
    Synced(usize),
}

thread_local! {
    static EVENTS: RefCell<Option<Vec<Event>>> = const { RefCell::new(None) };
    static WATCHED: RefCell<Option<(usize, Walk)>> = const { RefCell::new(None) };
}

/// Calls `operation`, and returns its requests. `watched` is a root table and the function
/// that reads the page table.
pub fn events(watched: (usize, Walk), operation: impl FnOnce()) -> Vec<Event> {
    EVENTS.set(Some(Vec::new()));
    WATCHED.set(Some(watched));
    operation();
    WATCHED.set(None);
    EVENTS.take().unwrap_or_default()
}

/// Adds to the events, if they are recorded.
pub(crate) fn record(event: Event) {
    axalloc::fault::paused(|| {
        EVENTS.with_borrow_mut(|events| {
            if let Some(events) = events {
                events.push(event);
            }
        });
    });
}

/// Returns the number of bytes that are mapped and executable. 0 if no table is watched.
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
