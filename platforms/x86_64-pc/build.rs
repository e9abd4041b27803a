//! Links the image again when a linker script has changed.
fn main() {
    println!("cargo::rerun-if-changed=linker.ld");
    println!("cargo::rerun-if-changed=../kernel.ld");
}
