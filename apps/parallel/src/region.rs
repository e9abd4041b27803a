//! Room for numbers that takes memory when it is touched: a lazy mapping in the kernel's
//! address space, or, on `std`, what a large allocation is there.

use std::string::String;

pub use imp::Region;

fn too_large(count: usize, why: &str) -> String {
    std::format!("no room for {count} numbers: {why}")
}

#[cfg(feature = "axstd")]
mod imp {
    use std::format;
    use std::string::String;

    use std::memory::{Mapping, MappingFlags};

    /// Numbers, all zero at first.
    pub struct Region {
        mapping: Mapping,
        count: usize,
    }

    impl Region {
        /// Room for `count` numbers.
        pub fn new(count: usize) -> Result<Self, String> {
            let size = (count * size_of::<u64>()).next_multiple_of(4096);
            let mapping = Mapping::lazy(size, MappingFlags::READ | MappingFlags::WRITE);
            let mapping = mapping.map_err(|why| super::too_large(count, &format!("{why:?}")))?;
            Ok(Self { mapping, count })
        }

        /// The numbers.
        pub fn as_mut(&mut self) -> &mut [u64] {
            let start = self.mapping.start() as *mut u64;
            // SAFETY: the mapping is this region's alone, as large as `count` numbers at
            // least, and full of zeroes.
            unsafe { std::slice::from_raw_parts_mut(start, self.count) }
        }
    }
}

#[cfg(not(feature = "axstd"))]
mod imp {
    /// Numbers, all zero at first.
    pub struct Region(Vec<u64>);

    impl Region {
        /// Room for `count` numbers.
        pub fn new(count: usize) -> Result<Self, String> {
            let mut room = Vec::new();
            let got = room.try_reserve_exact(count);
            got.map_err(|why| super::too_large(count, &why.to_string()))?;
            room.resize(count, 0);
            Ok(Self(room))
        }

        /// The numbers.
        pub fn as_mut(&mut self) -> &mut [u64] {
            &mut self.0
        }
    }
}
