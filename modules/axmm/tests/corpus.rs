//! Runs the fuzz targets with the inputs that the fuzzers have kept (`fuzz/corpus/`).

use std::fs;
use std::path::Path;

use axmm_machines::targets::TARGETS;

#[test]
fn every_kept_input_passes() {
    for (name, target) in TARGETS {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
        let mut inputs = 0;
        for input in fs::read_dir(corpus.join(name)).unwrap() {
            let path = input.unwrap().path();
            println!("{}", path.display());
            target(&fs::read(&path).unwrap());
            inputs += 1;
        }
        assert!(inputs >= 10, "{inputs} inputs of {name}");
    }
}
