//! From the process's first instruction to the kernel's: libc is made ready as for
//! any program, but its `main` is not the application's, which Rust names the same.

use core::arch::{asm, global_asm};
use core::ffi::{CStr, c_char, c_int};

use axconfig::MAX_HARTS;

global_asm!(
    "
    .section .text.boot, \"ax\"
    .global process_start
process_start:
    // The kernel's words to a new process lie on the stack (System V ABI, AMD64
    // supplement, \"Process Initialization\"); what follows is glibc's call.
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

/// What ends a run that was asked for with wrong values.
const USAGE: c_int = 2;

/// What libc calls.
extern "C" fn start(count: c_int, arguments: *const *const c_char) -> c_int {
    let boot_args = match count {
        ..2 => "",
        // SAFETY: the second of at least two arguments, which stay as they are.
        _ => unsafe { CStr::from_ptr(*arguments.add(1)) }
            .to_str()
            .unwrap_or_default(),
    };
    let harts = variable(c"SMP").map_or(Some(1), number);
    let harts = harts.filter(|harts| (1..=MAX_HARTS).contains(harts));
    let mem = variable(c"MEM").map_or(Some(128 << 20), bytes);
    let (Some(harts), Some(mem)) = (harts, mem) else {
        return fail(
            c"SMP is a number of harts, 1 to 64; MEM a size as 128M",
            USAGE,
        );
    };
    if !crate::power_on(harts, mem, boot_args) || !crate::ram::map_stack(0) {
        return fail(
            c"there is no memfd of that size, or something lies where the kernel maps",
            1,
        );
    }
    // SAFETY: nobody else runs on the first hart's stack.
    unsafe { go_on(axconfig::hart_stack(0).end, 0, primary) }
}

fn variable(name: &CStr) -> Option<&'static str> {
    // SAFETY: the name ends with 0, and nobody changes the environment.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    if value.is_null() {
        return None;
    }
    // SAFETY: a value ends with 0 and stays.
    unsafe { CStr::from_ptr(value) }.to_str().ok()
}

fn number(text: &str) -> Option<usize> {
    text.parse().ok()
}

/// A size with K, M or G behind it, or in MiB.
fn bytes(text: &str) -> Option<usize> {
    let units = [("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30)];
    let mut with_unit = units
        .iter()
        .filter_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)));
    let (digits, unit) = with_unit.next().unwrap_or((text, 1 << 20));
    number(digits)?.checked_mul(unit)
}

fn fail(why: &'static CStr, status: c_int) -> c_int {
    // SAFETY: both are strings that end with 0.
    unsafe {
        libc::write(libc::STDERR_FILENO, why.as_ptr().cast(), why.count_bytes());
        libc::write(libc::STDERR_FILENO, c"\n".as_ptr().cast(), 1);
    }
    status
}

extern "C" fn primary(_: usize) -> ! {
    axplat::call_main(0, 0)
}

/// Goes on with `entry(number)` on the stack whose end is `top`. What libc keeps for
/// the thread stays on the one it has given it: the kernel's can vanish.
///
/// # Safety
///
/// The stack is nobody else's, and mapped.
pub unsafe fn go_on(top: usize, number: usize, entry: extern "C" fn(usize) -> !) -> ! {
    // SAFETY: the caller's promise; a call finds the stack aligned to 16 before it.
    unsafe {
        asm!(
            "mov rsp, {top}",
            "xor ebp, ebp",
            "call {entry}",
            "ud2",
            top = in(reg) top,
            entry = in(reg) entry,
            in("rdi") number,
            options(noreturn),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_have_units() {
        let sizes = ["64", "64M", "1G", "512K"].map(bytes);
        assert_eq!(sizes, [64 << 20, 64 << 20, 1 << 30, 512 << 10].map(Some));
        let wrong = ["", "M", "-1M", "1T", "1MM", "99999999999G", "1 M"];
        assert!(wrong.iter().all(|text| bytes(text).is_none()));
    }
}
