//! Entry point of the target `configuration`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flowml_tests::fuzz::run("configuration", bytes));
