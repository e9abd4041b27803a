//! The arguments that the application was started with.

/// Returns the arguments from the boot loader (QEMU: `-append`), split at white space.
pub fn args() -> impl Iterator<Item = &'static str> {
    axfeat::axhal::boot_args().split_ascii_whitespace()
}

/// Returns the value of the last argument `name=value`, or `None` if there is none.
pub fn var(name: &str) -> Option<&'static str> {
    args()
        .filter_map(|arg| arg.split_once('='))
        .filter(|(key, _)| *key == name)
        .last()
        .map(|(_, value)| value)
}
