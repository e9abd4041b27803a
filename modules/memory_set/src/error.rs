//! What can go wrong.

/// What went wrong when memory was mapped, unmapped or protected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MappingError {
    /// A parameter is invalid: a range is empty, or reaches beyond the highest address.
    InvalidParam,
    /// The range overlaps with an existing area.
    AlreadyExists,
    /// The backend has reported that it could not change the page table, or there was no memory
    /// for the set itself.
    BadState,
}

#[cfg(feature = "axerrno")]
impl From<MappingError> for axerrno::AxError {
    fn from(error: MappingError) -> Self {
        match error {
            MappingError::InvalidParam => axerrno::AxError::InvalidInput,
            MappingError::AlreadyExists => axerrno::AxError::AlreadyExists,
            MappingError::BadState => axerrno::AxError::BadState,
        }
    }
}

#[cfg(feature = "axerrno")]
impl From<NoMemory> for axerrno::AxError {
    fn from(_: NoMemory) -> Self {
        axerrno::AxError::NoMemory
    }
}

#[cfg(feature = "axerrno")]
impl From<ReserveError> for axerrno::AxError {
    fn from(error: ReserveError) -> Self {
        match error {
            ReserveError::AlreadyExists => axerrno::AxError::AlreadyExists,
            ReserveError::NoMemory => axerrno::AxError::NoMemory,
        }
    }
}

/// The result of an operation on mappings.
pub type MappingResult<T = ()> = Result<T, MappingError>;

/// There is no memory for the nodes of the tree.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NoMemory;

/// Why memory for an area was not reserved: the area cannot be inserted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReserveError {
    /// The range overlaps with an existing area.
    AlreadyExists,
    /// There is no memory for the nodes of the tree.
    NoMemory,
}

impl From<NoMemory> for ReserveError {
    fn from(_: NoMemory) -> Self {
        Self::NoMemory
    }
}

impl From<NoMemory> for MappingError {
    fn from(_: NoMemory) -> Self {
        Self::BadState
    }
}
