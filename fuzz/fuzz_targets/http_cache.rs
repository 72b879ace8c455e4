#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| resilience_fuzz::http_cache::run(data));
