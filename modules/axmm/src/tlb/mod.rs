//! Translations that harts keep in their TLBs: which harts may keep which
//! ([`state`]), and what must be flushed before frames are freed ([`gather`]).

pub mod gather;
pub mod state;
