//! The entry code: from the first instruction of the process to `axplat`'s entry.
//!
//! libc is initialized as in any program, but it then calls `start` in place of `main`, since
//! the application has a function of that name.

use core::arch::global_asm;
use core::ffi::{CStr, c_char, c_int};

use axconfig::MAX_HARTS;

use crate::harts;

global_asm!(
    "
    .section .text.boot, \"ax\"
    .global process_start
process_start:
    // Linux passes the arguments on the stack (System V ABI, AMD64 supplement,
    // \"Process Initialization\"). glibc expects them in registers.
    xor     ebp, ebp
    mov     r9, rdx
    mov     rsi, [rsp]
    lea     rdx, [rsp + 8]
    and     rsp, -16
    push    rax
    push    rsp
    xor     r8d, r8d
    xor     ecx, ecx
    lea     rdi, [rip + {start}]
    call    [rip + __libc_start_main@GOTPCREL]
    hlt
    ",
    start = sym start,
);

/// The exit status for a wrong `SMP` or `MEM`.
const USAGE: c_int = 2;

/// Reads the options of the machine and starts it. libc calls this.
extern "C" fn start(count: c_int, arguments: *const *const c_char) -> c_int {
    let boot_args = match count {
        ..2 => "",
        // SAFETY: there are at least two arguments. libc keeps them, unchanged, as strings
        // that end with 0.
        _ => unsafe { CStr::from_ptr(*arguments.add(1)) }
            .to_str()
            .unwrap_or_default(),
    };
    let harts = variable(c"SMP").map_or(Some(1), parse_number);
    let harts = harts.filter(|harts| (1..=MAX_HARTS).contains(harts));
    let mem = variable(c"MEM").map_or(Some(128 << 20), parse_size);
    let (Some(harts), Some(mem)) = (harts, mem) else {
        return fail(
            c"SMP must be a number of harts, 1 to 64, and MEM a size such as 128M",
            USAGE,
        );
    };
    if !crate::power_on(harts, mem, boot_args) || !crate::ram::map_stack(0) {
        return fail(
            c"Linux has no memory of this size, or the kernel's addresses are not free",
            1,
        );
    }
    // SAFETY: `map_stack` has mapped the first hart's stack, which no other thread uses.
    unsafe { harts::continue_on_stack(axconfig::hart_stack(0).end, 0, primary) }
}

/// Returns the value of an environment variable; `None` if it is unset or not UTF-8.
fn variable(name: &CStr) -> Option<&'static str> {
    // SAFETY: the name ends with 0, and no code of the process changes the environment.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    if value.is_null() {
        return None;
    }
    // SAFETY: libc returned a string that ends with 0. The environment never changes, so the
    // string stays.
    unsafe { CStr::from_ptr(value) }.to_str().ok()
}

fn parse_number(text: &str) -> Option<usize> {
    text.parse().ok()
}

/// Returns a size in bytes. The text is a number with the suffix K, M or G, or in MiB without
/// a suffix.
fn parse_size(text: &str) -> Option<usize> {
    let units = [("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30)];
    let mut with_unit = units
        .iter()
        .filter_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)));
    let (digits, unit) = with_unit.next().unwrap_or((text, 1 << 20));
    parse_number(digits)?.checked_mul(unit)
}

/// Prints a message to standard error and returns `status`.
fn fail(message: &'static CStr, status: c_int) -> c_int {
    let message_ptr = message.as_ptr().cast();
    // SAFETY: each pointer is to as many bytes as the length says.
    unsafe {
        libc::write(libc::STDERR_FILENO, message_ptr, message.count_bytes());
        libc::write(libc::STDERR_FILENO, c"\n".as_ptr().cast(), 1);
    }
    status
}

extern "C" fn primary(_: usize) -> ! {
    axplat::call_main(0, 0)
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn a_size_is_a_number_with_an_optional_unit() {
        let sizes = ["64", "64M", "1G", "512K"].map(parse_size);
        assert_eq!(sizes, [64 << 20, 64 << 20, 1 << 30, 512 << 10].map(Some));
        let wrong = ["", "M", "-1M", "1T", "1MM", "99999999999G", "1 M"];
        assert!(wrong.iter().all(|text| parse_size(text).is_none()));
    }
}
