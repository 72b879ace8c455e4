#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| resilience_fuzz::rate_limit::run(data));
