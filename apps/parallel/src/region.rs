//! Memory for numbers: on Tessera a lazy mapping in the kernel's address space, on `std` a vector.

use std::string::String;

pub use imp::Region;

fn too_large(count: usize, why: &str) -> String {
    std::format!("no memory for {count} numbers: {why}")
}

#[cfg(feature = "axstd")]
mod imp {
    use std::format;
    use std::string::String;

    use std::memory::{Mapping, MappingFlags};

    /// Memory for numbers, which are zero at first.
    pub struct Region {
        mapping: Mapping,
        count: usize,
    }

    impl Region {
        /// Returns memory for `count` numbers.
        pub fn new(count: usize) -> Result<Self, String> {
            let size = (count * size_of::<u64>()).next_multiple_of(4096);
            let mapping = Mapping::lazy(size, MappingFlags::READ | MappingFlags::WRITE);
            let mapping = mapping.map_err(|why| super::too_large(count, &format!("{why:?}")))?;
            Ok(Self { mapping, count })
        }

        /// Returns the numbers as a slice.
        pub fn as_mut(&mut self) -> &mut [u64] {
            let start = self.mapping.start() as *mut u64;
            // SAFETY: this region owns the mapping, which holds `count` numbers or more. Lazy pages
            // read as zeroes, so that all numbers are initialized.
            unsafe { std::slice::from_raw_parts_mut(start, self.count) }
        }
    }
}

#[cfg(not(feature = "axstd"))]
mod imp {
    /// Memory for numbers, which are zero at first.
    pub struct Region(Vec<u64>);

    impl Region {
        /// Returns memory for `count` numbers.
        pub fn new(count: usize) -> Result<Self, String> {
            let mut numbers = Vec::new();
            let reserved = numbers.try_reserve_exact(count);
            reserved.map_err(|why| super::too_large(count, &why.to_string()))?;
            numbers.resize(count, 0);
            Ok(Self(numbers))
        }

        /// Returns the numbers as a slice.
        pub fn as_mut(&mut self) -> &mut [u64] {
            &mut self.0
        }
    }
}
