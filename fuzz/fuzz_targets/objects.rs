#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| axmm_machines::targets::objects(bytes));
