//! Entry point of the target `captures`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flowml_tests::fuzz::run("captures", bytes));
