//! The tree of areas: a B+ tree that is followed down by address, and up again
//! along the way that was taken.

mod balance;
#[cfg(test)]
mod check;
mod gaps;

use core::ptr;

use axerrno::AxResult;
use page_table_multiarch::MappingFlags;

use super::inner::Inner;
use super::leaf::Leaf;
use super::pool::Pool;
use super::version::Version;
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
    leaf: Option<u32>,
    /// The address that was sought, or where an area has come, and the position there:
    /// the highest address of all, which never is, if areas have gone or moved since.
    sought: usize,
    position: usize,
    /// From the leaf's parent up to the root.
    turns: [Turn; LEVELS],
}

/// All areas, in order. A tree with no areas has no nodes.
pub struct Tree<B> {
    leaves: Pool<Leaf<B>>,
    inners: Pool<Inner>,
    /// Another after nodes have come or gone.
    shape: Version,
    root: Option<u32>,
    /// How many levels of inner nodes there are.
    depth: usize,
    /// So many areas are to be inserted by who has been promised room.
    promised: usize,
    /// The leaf that was worked on last, where work mostly goes on.
    finger: Finger,
}

impl<B: Backing> Tree<B> {
    /// No areas.
    pub fn new() -> Self {
        Self {
            leaves: Pool::new(),
            inners: Pool::new(),
            shape: Version::first(),
            root: None,
            depth: 0,
            promised: 0,
            finger: Finger {
                leaf: None,
                sought: usize::MAX,
                position: 0,
                turns: [NOWHERE; LEVELS],
            },
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// From where to where the areas lie, and the largest gap between them.
    /// `None` if there are none.
    pub fn extent(&self) -> Option<Extent> {
        self.root.map(|root| self.extent_of(self.depth, root))
    }

    /// Every area that ends above `addr`, in order.
    pub fn iter_from(&self, addr: usize) -> Iter<'_, B> {
        let addr = below_the_highest(addr);
        let leaf = self.leaf_at(addr);
        Iter {
            leaves: &self.leaves,
            position: match leaf {
                Some(_) if self.finger.sought == addr => self.finger.position,
                Some(leaf) => leaf.search(addr),
                None => 0,
            },
            leaf,
        }
    }

    /// The leaf of the first area that ends above `addr`, or the last leaf.
    fn leaf_at(&self, addr: usize) -> Option<&Leaf<B>> {
        let mut id = self.root?;
        if let Some(leaf) = self.under_finger(addr) {
            return Some(self.leaves.get(leaf));
        }
        for _ in 0..self.depth {
            let inner = self.inners.get(id);
            id = inner.child(inner.search(addr));
        }
        Some(self.leaves.get(id))
    }

    /// The area that `addr` lies in, and where it has been seen, while another may change
    /// the tree at `this`. `None` if there is none, or it has been changed meanwhile.
    ///
    /// # Safety
    ///
    /// There is the tree for as long as this takes.
    pub unsafe fn peek(this: *const Self, addr: usize) -> Option<(Area<B>, Sight<B>)> {
        let addr = below_the_highest(addr);
        // SAFETY: the caller's promise, here and below.
        let shape = unsafe { (*this).shape.read() }?;
        // SAFETY: as above.
        let (root, depth) = unsafe {
            let root = ptr::read_volatile(&raw const (*this).root);
            (root, ptr::read_volatile(&raw const (*this).depth))
        };
        let mut id = root?;
        for _ in 0..depth.min(LEVELS) {
            // SAFETY: as above, and inner nodes stay.
            id = unsafe { Inner::peek(Pool::peek(&raw const (*this).inners, id)?, addr) };
        }
        // SAFETY: as above, and leaves stay.
        let (leaf, seen) = unsafe {
            let leaf = Pool::peek(&raw const (*this).leaves, id)?;
            (leaf, Leaf::peek(leaf, addr))
        };
        let (area, version) = seen?;
        // SAFETY: as above.
        let sight = unsafe { (*this).shape.is_still(shape) }.then_some(Sight { leaf, version });
        sight.map(|sight| (area, sight))
    }

    /// Makes sure that `count` areas can be inserted without asking for memory, and all
    /// that are promised after them. Each can split one node on every level, and the root,
    /// which is not split once more before there are hundreds of areas more.
    ///
    /// # Errors
    ///
    /// `NoMemory`.
    pub fn reserve(&mut self, count: usize) -> AxResult {
        self.leaves.reserve(count.saturating_add(self.promised))?;
        let own = count.saturating_mul(self.depth + 1);
        let promised = self.promised * (self.depth + 2);
        self.inners.reserve(own.saturating_add(promised))
    }

    /// Puts the finger on the leaf of the first area that ends above `addr`, or
    /// the last leaf, and answers the area's position there.
    pub fn seek(&mut self, addr: usize) -> usize {
        let addr = below_the_highest(addr);
        if self.finger.sought == addr {
            return self.finger.position;
        }
        let Some(root) = self.root else { return 0 };
        let leaf = match self.under_finger(addr) {
            Some(leaf) => leaf,
            None => match self.finger.leaf.filter(|_| self.is_before_finger(addr)) {
                Some(leaf) => leaf,
                None => self.descend(root, addr),
            },
        };
        self.finger.sought = addr;
        self.finger.position = self.leaves.get(leaf).search(addr);
        self.finger.position
    }

    fn descend(&mut self, root: u32, addr: usize) -> u32 {
        let mut id = root;
        for turn in self.finger.turns[..self.depth].iter_mut().rev() {
            let inner = self.inners.get(id);
            let slot = inner.search(addr);
            *turn = Turn::new(id, slot);
            id = inner.child(slot);
        }
        self.finger.leaf = Some(id);
        id
    }

    /// The leaf under the finger, if the first area that ends above `addr` is
    /// there for certain.
    fn under_finger(&self, addr: usize) -> Option<u32> {
        let id = self.finger.leaf?;
        if self.finger.sought == addr {
            return Some(id);
        }
        let leaf = self.leaves.get(id);
        let Extent { start, end, .. } = leaf.extent();
        (start <= addr && (addr < end || leaf.next().is_none())).then_some(id)
    }

    /// Whether `addr` lies between the leaf under the finger and the one before.
    fn is_before_finger(&self, addr: usize) -> bool {
        let leaf = self.finger.leaf.map(|id| self.leaves.get(id));
        leaf.is_some_and(|leaf| addr < leaf.extent().start)
            && self.end_before_finger().is_some_and(|end| end <= addr)
    }

    /// Where the leaf before the one under the finger ends.
    pub fn end_before_finger(&self) -> Option<usize> {
        let mut turns = self.finger.turns[..self.depth].iter();
        let turn = turns.find(|turn| turn.slot > 0)?;
        self.inners.get(turn.inner).end_before(turn.slot as usize)
    }

    /// The leaf under the finger, to change it.
    fn touch(&mut self) -> Option<(&mut Leaf<B>, Extent)> {
        self.finger.sought = usize::MAX;
        let leaf = self.leaves.get_mut(self.finger.leaf?);
        let extent = leaf.extent();
        Some((leaf, extent))
    }

    /// The area at `position` under the finger.
    pub fn at(&self, position: usize) -> Option<&Area<B>> {
        self.leaves.get(self.finger.leaf?).get(position)
    }

    /// Gives the area at `position` under the finger the rights `flags`.
    pub fn set_flags(&mut self, position: usize, flags: MappingFlags) {
        if let Some(leaf) = self.finger.leaf {
            self.leaves.get_mut(leaf).set_flags(position, flags);
        }
    }

    /// Where the area before the one at `position` under the finger ends.
    pub fn end_before(&self, position: usize) -> Option<usize> {
        match position.checked_sub(1) {
            Some(before) => self.at(before).map(|area| area.span.end),
            None => self.end_before_finger(),
        }
    }

    /// Keeps room for `count` more areas for later, whatever others do until
    /// [`keep`](Self::keep).
    ///
    /// # Errors
    ///
    /// `NoMemory`; then nothing is promised.
    pub fn promise(&mut self, count: usize) -> AxResult<Promise> {
        self.promised += count;
        let promised = self.reserve(0);
        if promised.is_err() {
            self.promised -= count;
        }
        promised.map(|()| Promise { areas: count })
    }

    /// Makes room that was promised everybody's again: who has been promised it inserts
    /// next.
    pub fn keep(&mut self, promise: Promise) {
        self.promised -= promise.areas;
    }

    /// The area at `position` under the finger, or the first of the next leaf.
    pub fn at_or_behind(&self, position: usize) -> Option<&Area<B>> {
        let leaf = self.leaves.get(self.finger.leaf?);
        match position < leaf.len() {
            true => leaf.get(position),
            false => self.leaves.get(leaf.next()?).get(0),
        }
    }

    /// Changes the addresses of the area at `position` under the finger. It stays
    /// between its neighbours.
    pub fn reshape(&mut self, position: usize, change: impl FnOnce(&mut Area<B>)) {
        if let Some((leaf, old)) = self.touch()
            && leaf.reshape(position, change)
        {
            let new = leaf.extent();
            self.refresh(0, old, new);
        }
    }

    /// Inserts `area` at `position` under the finger. Room has been
    /// [reserved](Self::reserve).
    pub fn insert(&mut self, position: usize, area: Area<B>) {
        if self.root.is_none() {
            self.plant();
        }
        let Some((leaf, old)) = self.touch() else {
            return;
        };
        if leaf.is_full() {
            return self.split(position, area);
        }
        let start = area.span.start;
        if leaf.insert(position, area) {
            let new = leaf.extent();
            self.refresh(0, old, new);
        }
        // Who maps something mostly goes on with it.
        self.finger.sought = start;
        self.finger.position = position;
    }

    /// Takes the area at `position` under the finger out.
    pub fn remove(&mut self, position: usize) {
        let fewest = match self.depth {
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
            let new = leaf.extent();
            self.refresh(0, old, new);
        }
    }

    /// Makes the first leaf.
    fn plant(&mut self) {
        let id = self.leaves.take();
        self.shape.begin();
        self.root = Some(id);
        self.shape.end();
        self.finger.leaf = Some(id);
    }

    /// Tells the inner nodes on the way to the finger, from `level` up, that the
    /// node below has the extent `new` instead of `old`.
    fn refresh(&mut self, level: usize, mut old: Extent, mut new: Extent) {
        for level in level..self.depth {
            let turn = self.finger.turns[level];
            let (id, slot) = (turn.inner, turn.slot as usize);
            if (old.start, old.gap) == (new.start, new.gap) {
                if old.end == new.end {
                    break;
                }
                let inner = self.inners.get_mut(id);
                if inner.is_last(slot) {
                    inner.move_end(new.end);
                    continue;
                }
            }
            let next = match old.end == new.end {
                true => None,
                false => self.inners.get(id).next(slot),
            };
            let next = next.map(|next| self.extent_of(level, next));
            let inner = self.inners.get_mut(id);
            let before = inner.extent();
            inner.update(slot, old, new, next);
            (old, new) = (before, inner.extent());
        }
    }

    fn extent_of(&self, height: usize, id: u32) -> Extent {
        match height {
            0 => self.leaves.get(id).extent(),
            _ => self.inners.get(id).extent(),
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

    /// Whether the area is still as it was.
    ///
    /// # Safety
    ///
    /// There is the tree that it was seen in.
    #[inline(always)]
    pub unsafe fn holds(&self) -> bool {
        // SAFETY: the caller's promise, and leaves stay.
        !self.leaf.is_null() && unsafe { Leaf::is_still(self.leaf, self.version) }
    }
}

/// Areas in order.
pub struct Iter<'a, B> {
    leaves: &'a Pool<Leaf<B>>,
    leaf: Option<&'a Leaf<B>>,
    position: usize,
}

impl<'a, B: Backing> Iterator for Iter<'a, B> {
    type Item = &'a Area<B>;

    fn next(&mut self) -> Option<&'a Area<B>> {
        loop {
            let leaf = self.leaf?;
            if let Some(area) = leaf.get(self.position) {
                self.position += 1;
                return Some(area);
            }
            self.leaf = leaf.next().map(|next| self.leaves.get(next));
            self.position = 0;
        }
    }
}

/// The address to search for instead of `addr`: nodes mark with the highest one
/// what is not there, and no area ends above it.
fn below_the_highest(addr: usize) -> usize {
    addr.min(usize::MAX - 1)
}
