//! A changed linker script links the image anew.
fn main() {
    println!("cargo::rerun-if-changed=linker.ld");
    println!("cargo::rerun-if-changed=../kernel.ld");
}
