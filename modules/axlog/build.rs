//! Has cargo build the crate again when `AX_LOG` changes, since the level is a constant.
fn main() {
    println!("cargo::rerun-if-env-changed=AX_LOG");
}
