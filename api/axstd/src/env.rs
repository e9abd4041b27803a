//! What the application was started with.

/// The words that the boot loader passed on (QEMU: `-append`), split at blanks.
pub fn args() -> impl Iterator<Item = &'static str> {
    axfeat::axhal::boot_args().split_ascii_whitespace()
}

/// The value of the last `name=value` among [`args`].
pub fn var(name: &str) -> Option<&'static str> {
    args()
        .filter_map(|arg| arg.split_once('='))
        .filter(|(key, _)| *key == name)
        .last()
        .map(|(_, value)| value)
}
