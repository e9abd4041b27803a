//! What the TLBs of harts may hold, and how they are flushed before frames are freed.
//!
//! ```text
//!   asid      AsidAllocator   which ASIDs are in use
//!   state     TlbState        of one address space: its ASID, and the harts that are inside
//!   gather    TlbGather       of one operation: what is flushed, then freed
//!   joint     JointFlush      of operations in several address spaces: one request for all
//! ```

pub mod asid;
pub(crate) mod gather;
#[cfg(feature = "objects")]
pub(crate) mod joint;
pub mod state;
