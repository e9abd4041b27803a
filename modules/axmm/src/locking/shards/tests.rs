//! Where shards begin and end.

use super::*;
use crate::by_turns::FourHarts;

/// The bytes that an entry of the root table translates.
const TOP: usize = 512 << 30;
const PAGE: usize = 4096;

#[test]
fn every_address_is_in_the_shard_of_its_number() {
    for (start, end, bits) in [
        (0x1000, 0x40_0000_0000 - 0x1000, 30),
        (0xffff_ffc0_0000_0000, 0xffff_fff0_0000_0000, 30),
        (0xffff_8000_0000_0000, 0xffff_e000_0000_0000, 39),
        (0xffff_ff80_0000_0000, 0xffff_ffff_ffff_f000, 30),
        (0x4000_0000, 0x8000_0000, 39),
        (0xffff_ff80_0000_0000, 0xffff_ffff_ffff_f000, 39),
        (3 * TOP + PAGE, 4 * TOP + PAGE, 39),
        (PAGE, MAX_SHARDS * TOP, 39),
        (PAGE, (MAX_SHARDS + 1) * TOP, 39),
    ] {
        let layout = Layout::new(va_range(start, end), bits).unwrap();
        let shards = Shards::<FourHarts>::new(layout);
        let count = |bits: u32| ((end - 1) >> bits) - (start >> bits) + 1;
        let most = (bits..).map(count).find(|count| *count <= MAX_SHARDS);
        assert_eq!(Some(shards.count()), most);
        assert_eq!(shards.number_of(start), 0);
        assert_eq!(shards.number_of(end - 1), shards.count() - 1);
        let mut next = 0;
        for number in 0..shards.count() {
            let range = shards.range(number);
            assert_eq!(range.start.as_usize(), next);
            next = range.end.as_usize();
            assert_eq!(shards.number_of(range.start.as_usize()), number);
            assert_eq!(shards.number_of(next - 1), number);
            assert!(next == usize::MAX || next.is_multiple_of(1 << bits));
        }
        assert!(next >= end);
    }
}
