//! The items of ArceOS's own `axmm` have the same names and meanings here. The test is written
//! like a user of that crate, so it shows that such code compiles.

use axerrno::{AxError, AxResult};
use axmm::{AddrSpace, Backend, MappingFlags, mapping_err_to_ax_err};
use memory_addr::{PAGE_SIZE_4K, PhysAddr, VirtAddr, VirtAddrRange, va, va_range};
use page_table_multiarch::PagingError;

const BASE: VirtAddr = va!(0x1000);
const SIZE: usize = 0x7fff_f000;
const FLAGS: MappingFlags = MappingFlags::READ.union(MappingFlags::WRITE);

fn load(aspace: &mut AddrSpace) -> AxResult<VirtAddr> {
    let limit = VirtAddrRange::from_start_size(aspace.base(), aspace.size());
    let start = aspace.find_free_area(aspace.base(), 4 * PAGE_SIZE_4K, limit);
    let start = start.ok_or(AxError::NoMemory)?;
    aspace.map_alloc(start, 4 * PAGE_SIZE_4K, FLAGS, false)?;
    aspace.write(start, b"\x7fELF")?;
    aspace.protect(start, PAGE_SIZE_4K, MappingFlags::READ)?;
    Ok(start)
}

#[test]
fn a_program_is_loaded_as_by_arceos() {
    let memory = axalloc::host::physical_memory(1 << 30, 16 << 20).unwrap();
    // SAFETY: the memory was just mapped for the allocator alone, and is never unmapped.
    unsafe { axalloc::add_memory(&[memory]) }.unwrap();

    let mut aspace = AddrSpace::new_empty(BASE, SIZE).unwrap();
    assert_eq!(aspace.end(), BASE + SIZE);
    assert!(aspace.contains_range(BASE, SIZE));
    assert_eq!(aspace.page_table().root(), aspace.page_table_root());

    let start = load(&mut aspace).unwrap();
    assert!(aspace.can_access_range(start, 4 * PAGE_SIZE_4K, MappingFlags::READ));
    assert!(!aspace.can_access_range(start, PAGE_SIZE_4K, FLAGS));
    let mut magic = [0; 4];
    aspace.read(start, &mut magic).unwrap();
    assert_eq!(&magic, b"\x7fELF");
    assert!(aspace.handle_page_fault(start + PAGE_SIZE_4K, MappingFlags::WRITE));
    assert!(!aspace.handle_page_fault(start, MappingFlags::WRITE));

    let device = va!(0x4000_0000);
    let paddr = PhysAddr::from_usize(0x1000_0000);
    // SAFETY: the test copies nothing to or from the mapping.
    unsafe { aspace.map_linear(device, paddr, PAGE_SIZE_4K, FLAGS) }.unwrap();
    let (area, _) = (aspace.area_at(device).unwrap(), va_range!(0..1));
    let Backend::Linear { pa_va_offset, .. } = *area.backend() else {
        panic!("the area is not linear")
    };
    assert_eq!(pa_va_offset, 0x3000_0000);
    aspace.unmap(device, PAGE_SIZE_4K).unwrap();

    let mut other = AddrSpace::new_empty(va!(1 << 40), SIZE).unwrap();
    other.copy_mappings_from(&aspace).unwrap();
    assert_eq!(other.query(start), aspace.query(start));
    drop(other);
    assert!(format!("{aspace:?}").contains("0x1000"));
    aspace.clear().unwrap();
    assert_eq!(aspace.areas().count(), 0);
    assert_eq!(
        mapping_err_to_ax_err(PagingError::AlreadyMapped),
        AxError::AlreadyExists
    );
    let _: (Backend, Backend) = (Backend::new_linear(0), Backend::new_alloc(true));
}
