//! Reads a RISC-V hart's instruction-set extensions from the device tree (Linux's binding
//! `riscv/extensions.yaml`).

use axconfig::PAGE_SIZE;

use crate::fdt::Node;

/// Returns how many bytes `cbo.zero` zeroes on `hart`: a power of two, at most a page.
/// `None` if the hart lacks the instruction or has another size. The size depends on the
/// machine, and no register has it (RISC-V CMO specification, "Zicboz").
pub fn zero_block(hart: Node) -> Option<usize> {
    let size = hart.u32("riscv,cboz-block-size")? as usize;
    let is_usable = size.is_power_of_two() && size <= PAGE_SIZE;
    (is_usable && has_extension(hart, "zicboz")).then_some(size)
}

/// Returns whether `hart` has the extension `name`, which has several letters. The list
/// `riscv,isa-extensions` replaces the older string `riscv,isa`.
fn has_extension(hart: Node, name: &str) -> bool {
    match hart.property("riscv,isa-extensions") {
        Some(list) => list.split(|&b| b == 0).any(|ext| ext == name.as_bytes()),
        None => hart
            .string("riscv,isa")
            .and_then(|isa| core::str::from_utf8(isa).ok())
            .is_some_and(|isa| isa_string_has(isa, name)),
    }
}

/// Returns whether an ISA string, such as `rv64imafdc_zicboz_zicsr`, has the extension
/// `name` (RISC-V Unprivileged Architecture, "ISA Extension Naming Conventions").
///
/// The first extension of several letters may follow the single letters without an
/// underscore. A version such as `1p0` may follow any extension.
fn isa_string_has(isa: &str, name: &str) -> bool {
    let mut parts = isa.split('_');
    let base = parts.next().unwrap_or_default();
    let first = base.find(['s', 'x', 'z']).and_then(|at| base.get(at..));
    first
        .into_iter()
        .chain(parts)
        .filter_map(|part| part.strip_prefix(name))
        .any(|rest| {
            rest.bytes()
                .all(|byte| byte == b'p' || byte.is_ascii_digit())
        })
}

#[cfg(test)]
mod tests {
    use super::isa_string_has;

    #[test]
    fn an_isa_string_names_its_extensions() {
        let has = |isa| isa_string_has(isa, "zicboz");
        assert!(has("rv64imafdch_zicbom_zicboz_zicsr_sstc"));
        assert!(has("rv64imafdc_zicboz"));
        assert!(has("rv64imaczicboz_zicsr"));
        assert!(has("rv64imac_zicboz1p0_zicsr2p0"));
        assert!(!has("rv64imafdch_zicbom_zicbop_zicsr"));
        assert!(!has("rv64imac_zicbozz_xzicboz"));
        assert!(!has("rv64imac"));
        assert!(!has(""));
    }
}
