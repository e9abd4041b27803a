//! What the TLBs of harts may hold, and how they are flushed before frames are freed.
//!
//! ```text
//!   asid      AsidAllocator   which ASIDs are in use
//!   state     TlbState        of one address space: its ASID, and the harts that are inside
//!   gather    TlbGather       of one operation: what is flushed, then freed
//! ```

pub mod asid;
pub(crate) mod gather;
pub mod state;
