//! The level is part of the build: a changed `AX_LOG` builds anew.
fn main() {
    println!("cargo::rerun-if-env-changed=AX_LOG");
}
