//! The tree of processes: who began whom, who has ended, and who waits for that.
//!
//! A process keeps its children in a list until it has waited for them. The list owns a reference to
//! each child. A child has a reference to its parent until it ends. When a process ends, its children
//! go to the root of the tree. Beginning, ending and waiting never allocate.
//!
//! Locks: that of a list of children, and within it that of one child's exit status. A child's
//! reference to its parent has a lock, in which no other is taken.

use core::mem;
use core::sync::atomic::{AtomicU64, Ordering};

use axerrno::{AxError, AxResult};
use axtask::{Shared, Thread, WaitQueue};
use intrusive_collections::{LinkedList, LinkedListAtomicLink, UnsafeRef, intrusive_adapter};
use kspin::SpinNoIrq;

use crate::exit::Exit;
use crate::space::UserSpace;

intrusive_adapter!(SiblingLink = UnsafeRef<Process>: Process { sibling => LinkedListAtomicLink });

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A process: a program in an address space of its own.
pub struct Process {
    id: u64,
    /// The process that gets the children of one that ends. `None` for that process itself.
    root: Option<Shared<Process>>,
    /// `None` after the end, and for the root.
    parent: SpinNoIrq<Option<Shared<Process>>>,
    children: SpinNoIrq<Children>,
    /// Notified when a child has ended, or when children of another process have come.
    child_ended: WaitQueue,
    exit: SpinNoIrq<Option<Exit>>,
    /// The thread that runs the program, until somebody waits for it.
    thread: SpinNoIrq<Option<Shared<Thread>>>,
    /// Linked while the parent has not waited for this process.
    sibling: LinkedListAtomicLink,
}

// SAFETY: the list's references are used only under its lock, and `sibling` is changed only under the
// lock of the list that it belongs to. All other fields are locks, or never change.
unsafe impl Sync for Process {}
// SAFETY: no field depends on the thread that drops it.
unsafe impl Send for Process {}

/// The most children that a process may have begun and not waited for. A search of the list keeps
/// interrupts off, so a process must not decide how long it is.
const MAX_CHILDREN: usize = 256;

/// The children of a process.
struct Children {
    list: LinkedList<SiblingLink>,
    count: usize,
}

impl Children {
    const NONE: Self = Self {
        list: LinkedList::new(SiblingLink::NEW),
        count: 0,
    };
}

/// Why waiting for a child has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitError {
    /// There is no such child.
    NoChild,
    /// No such child has ended yet.
    NotYet,
}

impl Process {
    /// Makes the root of a tree. It runs no program, and never ends.
    ///
    /// # Errors
    ///
    /// `NoMemory`.
    pub fn new_root() -> AxResult<Shared<Self>> {
        // The first address space takes page tables of the kernel that stay.
        drop(UserSpace::new()?);
        Self::new(None, None)
    }

    fn new(root: Option<Shared<Self>>, parent: Option<Shared<Self>>) -> AxResult<Shared<Self>> {
        Shared::try_new(Self {
            // Relaxed: an atomic increment makes the numbers distinct, and no more is asked of them.
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            root,
            parent: SpinNoIrq::new(parent),
            children: SpinNoIrq::new(Children::NONE),
            child_ended: WaitQueue::new(),
            exit: SpinNoIrq::new(None),
            thread: SpinNoIrq::new(None),
            sibling: LinkedListAtomicLink::new(),
        })
    }

    /// Returns the number of the process, which is unique and never 0.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Makes a child of `parent`, and begins it by `begin`.
    ///
    /// # Errors
    ///
    /// `NoMemory`, or the error of `begin`. `ResourceBusy` if there are 256 children that the parent
    /// has not waited for, unless it is the root. Then there is no child.
    pub(crate) fn begin_child(
        parent: &Shared<Self>,
        begin: impl FnOnce(Shared<Self>) -> AxResult,
    ) -> AxResult<u64> {
        let root = parent.root.as_ref().unwrap_or(parent);
        if parent.root.is_some() && parent.children.lock().count >= MAX_CHILDREN {
            return Err(AxError::ResourceBusy);
        }
        let child = Self::new(Some(root.clone()), Some(parent.clone()))?;
        let id = child.id;
        parent.adopt(child.clone());
        if let Err(error) = begin(child.clone()) {
            parent.disown(&child);
            parent.child_ended.notify_all();
            return Err(error);
        }
        Ok(id)
    }

    /// Puts a child into the list.
    fn adopt(&self, child: Shared<Self>) {
        // SAFETY: the pointer is turned back when `disown` or `take_child` removes it.
        let link = unsafe { UnsafeRef::from_raw(child.into_raw()) };
        let mut children = self.children.lock();
        children.list.push_back(link);
        children.count += 1;
    }

    /// Takes a child that has not begun out of the list.
    fn disown(&self, child: &Shared<Self>) {
        *child.parent.lock() = None;
        let mut children = self.children.lock();
        // SAFETY: `adopt` has put `child` into this list. It has not begun, so it has not ended and
        // nobody else has taken it out.
        let removed = unsafe { children.list.cursor_mut_from_ptr(&raw const **child) }.remove();
        children.count -= 1;
        drop(children);
        drop(removed.map(taken));
    }

    /// Records which thread runs the program.
    pub(crate) fn set_thread(&self, thread: Shared<Thread>) {
        *self.thread.lock() = Some(thread);
    }

    /// Records how the program has ended. All that the process had has been freed.
    pub(crate) fn end(&self, exit: Exit) {
        self.hand_over_children();
        *self.exit.lock() = Some(exit);
        // A parent that ends at the same time gives this child to the root before it notifies the
        // root. So the root, or the parent that is read here, looks after the exit status is there.
        let parent = self.parent.lock().take();
        if let Some(parent) = parent {
            parent.child_ended.notify_all();
        }
    }

    /// Gives all children to the root.
    fn hand_over_children(&self) {
        let Some(root) = &self.root else { return };
        let children = mem::replace(&mut *self.children.lock(), Children::NONE);
        let mut has_children = false;
        for child in children.list {
            let child = taken(child);
            if let Some(parent) = &mut *child.parent.lock() {
                *parent = root.clone();
            }
            root.adopt(child);
            has_children = true;
        }
        if has_children {
            root.child_ended.notify_all();
        }
    }

    /// Returns a child that has ended: its number, and how it has ended. `which` is the child's
    /// number, or `None` for any. The child is forgotten, and the stack of its thread is free.
    ///
    /// # Errors
    ///
    /// [`WaitError`] says why there is none.
    pub fn try_wait(&self, which: Option<u64>) -> Result<(u64, Exit), WaitError> {
        let (child, exit) = self.take_child(which)?;
        child.join();
        Ok((child.id, exit))
    }

    /// Waits until the thread of a process that has ended is gone, too. That takes a moment.
    fn join(&self) {
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            thread.join();
        }
    }

    fn take_child(&self, which: Option<u64>) -> Result<(Shared<Self>, Exit), WaitError> {
        let mut children = self.children.lock();
        let children = &mut *children;
        let mut cursor = children.list.front_mut();
        let mut error = WaitError::NoChild;
        while let Some(child) = cursor.get() {
            if which.is_none_or(|id| id == child.id) {
                error = WaitError::NotYet;
                let exit = *child.exit.lock();
                if let Some(exit) = exit
                    && let Some(child) = cursor.remove()
                {
                    children.count -= 1;
                    return Ok((taken(child), exit));
                }
            }
            cursor.move_next();
        }
        Err(error)
    }

    /// Waits until a child has ended, and returns it as [`try_wait`](Self::try_wait) does. `None` if
    /// there is no such child.
    pub fn wait(&self, which: Option<u64>) -> Option<(u64, Exit)> {
        let mut ended = None;
        self.child_ended
            .wait_until(|| match self.take_child(which) {
                Ok(child) => {
                    ended = Some(child);
                    true
                }
                Err(WaitError::NoChild) => true,
                Err(WaitError::NotYet) => false,
            });
        let (child, exit) = ended?;
        child.join();
        Some((child.id, exit))
    }
}

/// Returns the reference that a list of children had.
fn taken(child: UnsafeRef<Process>) -> Shared<Process> {
    // SAFETY: only `adopt` puts children into lists, by a pointer of a reference, and a list yields each
    // once.
    unsafe { Shared::from_raw(UnsafeRef::into_raw(child)) }
}
