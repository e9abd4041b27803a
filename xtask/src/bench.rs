//! `bench`: what the memory manager costs in instructions, beside other people's:
//! in a guest (`apps/mmbench`), then on the host (`bench_host`).

use anyhow::Context;

use crate::bench_host;
use crate::failure::Failure;
use crate::figures;
use crate::icount;
use crate::image::Recipe;
use crate::manifest::App;
use crate::options::Options;
use crate::qemu;

/// The application that measures.
const APP: &str = "apps/mmbench";
/// Its feature that brings other people's allocators along.
const PEERS: &str = "peers";
/// Its word for what a nanosecond is.
const UNIT: &str = "unit=instructions";

/// Measures on one machine and on the host, prints tables and writes
/// `target/bench/mmbench-ARCH.json` and `target/bench/axalloc-host.json`.
pub fn bench(options: &Options) -> Result<(), Failure> {
    let machine = options.machine();
    qemu::set_up(&[machine])?;
    let image = Recipe {
        app: App::ours(APP)?,
        app_features: vec![PEERS.to_owned()],
        ..Recipe::asked(options)
    }
    .build(options.verbose)?;
    let (_, console) =
        icount::run(options, &image, 1, &[UNIT]).with_context(|| format!("{APP} on {machine}"))?;
    let rows = figures::read(&console).with_context(|| format!("no rows:\n{console}"))?;
    println!("{machine}, instructions of the guest; others': how many times ours");
    println!("{}", figures::table(&rows));
    let path = figures::write(&format!("mmbench-{machine}.json"), &rows)?;
    println!("all rows in {}\n", path.display());
    bench_host::bench_host(options)
}
