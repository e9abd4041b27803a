//! Calls of the firmware for a set of other harts.

use axmachine::hardware_id;

/// Makes a firmware call by `call` for each hart of the set `harts`. Returns whether all
/// calls succeeded, and stops at the first that fails.
///
/// One call has up to 64 hardware ids, from the lowest remaining one on. So the firmware
/// addresses those harts at the same time, not one after the other.
pub fn for_each_mask(harts: u64, call: impl Fn(sbi_rt::HartMask) -> bool) -> bool {
    let mut remaining = harts;
    while remaining != 0 {
        let ids = bits(remaining).map(|number| (number, hardware_id(number)));
        let base = ids.clone().map(|(_, id)| id).min().unwrap_or(0);
        let (mut addressed, mut mask) = (0, 0);
        for (number, id) in ids.filter(|(_, id)| id - base < 64) {
            addressed |= 1 << number;
            mask |= 1 << (id - base);
        }
        if !call(sbi_rt::HartMask::from_mask_base(mask, base)) {
            return false;
        }
        remaining &= !addressed;
    }
    true
}

/// Returns the numbers of the bits that are set.
fn bits(set: u64) -> impl Iterator<Item = usize> + Clone {
    (0..64).filter(move |number| set & 1 << number != 0)
}
