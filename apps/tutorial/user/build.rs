//! Links the programs by `linker.ld`.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=linker.ld");
    let folder = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    for argument in [
        &format!("-T{folder}/linker.ld"),
        "-no-pie",
        // Some targets' default is 64 KiB, which would only make the files larger.
        "-zmax-page-size=4096",
    ] {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
