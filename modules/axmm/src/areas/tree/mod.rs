//! The tree of areas: a B+ tree that is followed down by address, and up again
//! along the way that was taken.

mod balance;
#[cfg(test)]
mod check;
mod gaps;

use core::cell::Cell;
use core::ptr;

use axerrno::AxResult;
use page_table_multiarch::MappingFlags;

use super::entry::Entry;
use super::inner::Inner;
use super::leaf::Leaf;
use super::pool::Pool;
use super::version::Version;
use super::word::{Link, Word};
use super::{Area, Backing, Extent};

/// The most levels of inner nodes. Numbers of nodes have 32 bits, and below a root
/// of two children every inner node has at least 16: with nine levels there would
/// be 2^33 leaves.
const LEVELS: usize = 8;

/// A turn on the way down: an inner node, and the slot of the child.
#[derive(Clone, Copy)]
struct Turn {
    inner: u32,
    slot: u32,
}

impl Turn {
    fn new(inner: u32, slot: usize) -> Self {
        Self {
            inner,
            slot: slot as u32,
        }
    }
}

const NOWHERE: Turn = Turn { inner: 0, slot: 0 };

/// The way to one leaf.
struct Finger {
    /// `None` if nodes have been split or merged since.
    leaf: Cell<Option<u32>>,
    /// The address that was sought, or where an area has come, and the position there:
    /// the highest address of all, which never is, if areas have gone or moved since.
    sought: Cell<usize>,
    position: Cell<usize>,
    /// From the leaf's parent up to the root.
    turns: [Cell<Turn>; LEVELS],
}

/// All areas, in order, and what the hart with the index lock keeps. A tree with no areas
/// has no nodes.
pub struct Tree<B> {
    nodes: Nodes<B>,
    /// So many areas are to be inserted by who has been promised room.
    promised: Cell<usize>,
    /// The leaf that was worked on last, where work mostly goes on.
    finger: Finger,
}

/// The nodes of a tree. Any hart may [peek](Self::peek) while one changes them.
pub struct Nodes<B> {
    leaves: Pool<Leaf<B>>,
    inners: Pool<Inner>,
    /// Of the root, the depth, and which child is where.
    shape: Version,
    root: Link,
    /// How many levels of inner nodes there are.
    depth: Word,
}

impl<B: Backing> Nodes<B> {
    /// The area that `addr` lies in, and where it has been seen, while another hart may
    /// change the tree. `None` if there is none, or it has been changed meanwhile.
    pub fn peek(&self, addr: usize) -> Option<(Area<B>, Sight<B>)> {
        let addr = below_the_highest(addr);
        let shape = self.shape.read()?;
        let mut id = self.root.get()?;
        for _ in 0..self.depth.get().min(LEVELS) {
            let inner = self.inners.peek(id)?;
            id = inner.child(inner.search(addr));
        }
        let leaf = self.leaves.peek(id)?;
        let (area, version) = leaf.peek(addr)?;
        let sight = Sight { leaf, version };
        self.shape.is_still(shape).then_some((area, sight))
    }

    fn start_of(&self, height: usize, id: u32) -> usize {
        match height {
            0 => self.leaves.get(id).start(),
            _ => self.inners.get(id).start(),
        }
    }

    fn extent_of(&self, height: usize, id: u32) -> Extent {
        match height {
            0 => self.leaves.get(id).extent(),
            _ => self.inners.get(id).extent(),
        }
    }
}

impl<B: Backing> Tree<B> {
    /// No areas.
    pub fn new() -> Self {
        Self {
            nodes: Nodes {
                leaves: Pool::new(),
                inners: Pool::new(),
                shape: Version::first(),
                root: Link::none(),
                depth: Word::new(0),
            },
            promised: Cell::new(0),
            finger: Finger {
                leaf: Cell::new(None),
                sought: Cell::new(usize::MAX),
                position: Cell::new(0),
                turns: [const { Cell::new(NOWHERE) }; LEVELS],
            },
        }
    }

    /// What other harts may look at.
    pub fn nodes(&self) -> &Nodes<B> {
        &self.nodes
    }

    fn depth(&self) -> usize {
        self.nodes.depth.get()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.nodes.root.get().is_none()
    }

    /// From where to where the areas lie, and the largest gap between them.
    /// `None` if there are none.
    pub fn extent(&self) -> Option<Extent> {
        let root = self.nodes.root.get()?;
        Some(self.nodes.extent_of(self.depth(), root))
    }

    /// Every area that ends above `addr`, in order.
    pub fn iter_from(&self, addr: usize) -> Iter<'_, B> {
        let addr = below_the_highest(addr);
        let leaf = self.leaf_at(addr);
        Iter {
            tree: self,
            position: match leaf {
                Some(_) if self.finger.sought.get() == addr => self.finger.position.get(),
                Some(leaf) => leaf.search(addr),
                None => 0,
            },
            leaf,
        }
    }

    /// The leaf of the first area that ends above `addr`, or the last leaf.
    fn leaf_at(&self, addr: usize) -> Option<&Leaf<B>> {
        let mut id = self.nodes.root.get()?;
        if let Some(leaf) = self.under_finger(addr) {
            return Some(self.nodes.leaves.get(leaf));
        }
        let inners = self.nodes.inners.all();
        for _ in 0..self.depth() {
            let inner = inners.get(id);
            id = inner.child(inner.search(addr));
        }
        Some(self.nodes.leaves.get(id))
    }

    /// Makes sure that `count` areas can be inserted without asking for memory, and all
    /// that are promised after them. Each can split one node on every level, and the root,
    /// which is not split once more before there are hundreds of areas more.
    ///
    /// # Errors
    ///
    /// `NoMemory`.
    pub fn reserve(&self, count: usize) -> AxResult {
        let (depth, promised) = (self.depth(), self.promised.get());
        self.nodes.leaves.reserve(count + promised)?;
        let inners = count * (depth + 1) + promised * (depth + 2);
        self.nodes.inners.reserve(inners)
    }

    /// Puts the finger on the leaf of the first area that ends above `addr`, or
    /// the last leaf, and answers the area's position there.
    pub fn seek(&self, addr: usize) -> usize {
        let addr = below_the_highest(addr);
        if self.finger.sought.get() == addr {
            return self.finger.position.get();
        }
        let Some(root) = self.nodes.root.get() else {
            return 0;
        };
        let leaf = match self.under_finger(addr) {
            Some(leaf) => leaf,
            None => match self
                .finger
                .leaf
                .get()
                .filter(|_| self.is_before_finger(addr))
            {
                Some(leaf) => leaf,
                None => self.descend(root, addr),
            },
        };
        let position = self.nodes.leaves.get(leaf).search(addr);
        self.finger.sought.set(addr);
        self.finger.position.set(position);
        position
    }

    fn descend(&self, root: u32, addr: usize) -> u32 {
        let mut id = root;
        let inners = self.nodes.inners.all();
        for turn in self.finger.turns[..self.depth()].iter().rev() {
            let inner = inners.get(id);
            let slot = inner.search(addr);
            turn.set(Turn::new(id, slot));
            id = inner.child(slot);
        }
        self.finger.leaf.set(Some(id));
        id
    }

    /// The leaf under the finger, if the first area that ends above `addr` is
    /// there for certain.
    fn under_finger(&self, addr: usize) -> Option<u32> {
        let id = self.finger.leaf.get()?;
        if self.finger.sought.get() == addr {
            return Some(id);
        }
        let leaf = self.nodes.leaves.get(id);
        let inside = leaf.start() <= addr && (addr < leaf.end() || leaf.next().is_none());
        inside.then_some(id)
    }

    /// Whether `addr` lies between the leaf under the finger and the one before.
    fn is_before_finger(&self, addr: usize) -> bool {
        let leaf = self.finger.leaf.get().map(|id| self.nodes.leaves.get(id));
        leaf.is_some_and(|leaf| addr < leaf.start())
            && self.end_before_finger().is_some_and(|end| end <= addr)
    }

    /// Where the leaf before the one under the finger ends.
    pub fn end_before_finger(&self) -> Option<usize> {
        let mut turns = self.finger.turns[..self.depth()].iter().map(Cell::get);
        let turn = turns.find(|turn| turn.slot > 0)?;
        self.nodes
            .inners
            .get(turn.inner)
            .end_before(turn.slot as usize)
    }

    /// The leaf under the finger, to change it.
    fn touch(&self) -> Option<(&Leaf<B>, Extent)> {
        self.finger.sought.set(usize::MAX);
        let leaf = self.nodes.leaves.get(self.finger.leaf.get()?);
        let extent = leaf.extent();
        Some((leaf, extent))
    }

    /// The area at `position` under the finger.
    pub fn at(&self, position: usize) -> Option<Entry<'_, B>> {
        self.nodes.leaves.get(self.finger.leaf.get()?).get(position)
    }

    /// Gives the area at `position` under the finger the rights `flags`.
    pub fn set_flags(&self, position: usize, flags: MappingFlags) {
        if let Some(leaf) = self.finger.leaf.get() {
            self.nodes.leaves.get(leaf).set_flags(position, flags);
        }
    }

    /// Where the area before the one at `position` under the finger ends.
    pub fn end_before(&self, position: usize) -> Option<usize> {
        match position.checked_sub(1) {
            Some(before) => self.at(before).map(|area| area.end()),
            None => self.end_before_finger(),
        }
    }

    /// Keeps room for `count` more areas for later, whatever others do until
    /// [`keep`](Self::keep).
    ///
    /// # Errors
    ///
    /// `NoMemory`; then nothing is promised.
    pub fn promise(&self, count: usize) -> AxResult<Promise> {
        self.promised.set(self.promised.get() + count);
        let promised = self.reserve(0);
        if promised.is_err() {
            self.promised.set(self.promised.get() - count);
        }
        promised.map(|()| Promise { areas: count })
    }

    /// Makes room that was promised everybody's again: who has been promised it inserts
    /// next.
    pub fn keep(&self, promise: Promise) {
        self.promised.set(self.promised.get() - promise.areas);
    }

    /// The area at `position` under the finger, or the first of the next leaf.
    pub fn at_or_behind(&self, position: usize) -> Option<Entry<'_, B>> {
        let leaf = self.nodes.leaves.get(self.finger.leaf.get()?);
        match leaf.get(position) {
            None => self.nodes.leaves.get(leaf.next()?).get(0),
            some => some,
        }
    }

    /// Lets the area at `position` under the finger end at `end`, before its neighbour.
    pub fn set_end(&self, position: usize, end: usize) {
        if let Some((leaf, old)) = self.touch()
            && leaf.set_end(position, end)
        {
            self.refresh(0, old, leaf.extent());
        }
    }

    /// Puts `area` in the place of the one at `position` under the finger, between its
    /// neighbours.
    pub fn replace(&self, position: usize, area: &Area<B>) {
        let backing = area.backing.pack();
        if let Some((leaf, old)) = self.touch()
            && leaf.replace(position, area, backing)
        {
            self.refresh(0, old, leaf.extent());
        }
    }

    /// Inserts `area` at `position` under the finger. Room has been
    /// [reserved](Self::reserve).
    pub fn insert(&self, position: usize, area: &Area<B>) {
        let backing = area.backing.pack();
        if self.nodes.root.get().is_none() {
            self.plant();
        }
        let Some((leaf, old)) = self.touch() else {
            return;
        };
        if leaf.is_full() {
            return self.split(position, area, backing);
        }
        if leaf.insert(position, area, backing) {
            self.refresh(0, old, leaf.extent());
        }
        // Who maps something mostly goes on with it.
        self.finger.sought.set(area.start);
        self.finger.position.set(position);
    }

    /// Takes the area at `position` under the finger out.
    pub fn remove(&self, position: usize) {
        let fewest = match self.depth() {
            0 => 1,
            _ => Leaf::<B>::FEWEST,
        };
        let Some((leaf, old)) = self.touch() else {
            return;
        };
        let changed = leaf.remove(position);
        if leaf.len() < fewest {
            self.shrink();
        } else if changed {
            self.refresh(0, old, leaf.extent());
        }
    }

    /// Makes the first leaf.
    fn plant(&self) {
        let id = self.nodes.leaves.take();
        self.nodes.shape.begin();
        self.nodes.root.set(Some(id));
        self.nodes.shape.end();
        self.finger.leaf.set(Some(id));
    }

    /// Tells the inner nodes on the way to the finger, from `level` up, that the
    /// node below has the extent `new` instead of `old`.
    fn refresh(&self, level: usize, mut old: Extent, mut new: Extent) {
        let inners = self.nodes.inners.all();
        for level in level..self.depth() {
            let turn = self.finger.turns[level].get();
            let (id, slot) = (turn.inner, turn.slot as usize);
            if (old.start, old.gap) == (new.start, new.gap) {
                if old.end == new.end {
                    break;
                }
                let inner = inners.get(id);
                if inner.is_last(slot) {
                    inner.move_end(new.end);
                    continue;
                }
            }
            let next = match old.end == new.end {
                true => None,
                false => inners.get(id).next(slot),
            };
            let next = next.map(|next| self.nodes.extent_of(level, next));
            let inner = inners.get(id);
            let before = inner.extent();
            inner.update(slot, old, new, next);
            (old, new) = (before, inner.extent());
        }
    }
}

/// Room that is kept for somebody.
#[derive(Debug)]
pub struct Promise {
    areas: usize,
}

/// Where an area has been seen.
pub struct Sight<B> {
    leaf: *const Leaf<B>,
    version: usize,
}

impl<B: Backing> Sight<B> {
    /// Nowhere.
    pub const NOWHERE: Self = Self {
        leaf: ptr::null(),
        version: 0,
    };

    /// Whether the area is still as it was, while another hart may change the tree.
    ///
    /// # Safety
    ///
    /// The tree that it was seen in exists.
    #[inline(always)]
    pub unsafe fn holds(&self) -> bool {
        // SAFETY: a leaf stays where it is as long as its tree exists, which the caller
        // promises.
        let leaf = unsafe { self.leaf.as_ref() };
        leaf.is_some_and(|leaf| leaf.is_still(self.version))
    }
}

/// Areas in order.
pub struct Iter<'a, B> {
    /// Not its nodes alone: this stays with the thread that has the tree.
    tree: &'a Tree<B>,
    leaf: Option<&'a Leaf<B>>,
    position: usize,
}

impl<'a, B: Backing> Iterator for Iter<'a, B> {
    type Item = Entry<'a, B>;

    fn next(&mut self) -> Option<Entry<'a, B>> {
        loop {
            let leaf = self.leaf?;
            if let Some(area) = leaf.get(self.position) {
                self.position += 1;
                return Some(area);
            }
            self.leaf = leaf.next().map(|next| self.tree.nodes.leaves.get(next));
            self.position = 0;
        }
    }
}

/// The address to search for instead of `addr`: nodes mark with the highest one
/// what is not there, and no area ends above it.
fn below_the_highest(addr: usize) -> usize {
    addr.min(usize::MAX - 1)
}
