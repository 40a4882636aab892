//! Entry point of the target `models`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flowml_tests::fuzz::run("models", bytes));
