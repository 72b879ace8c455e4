#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| resilience_fuzz::circuit_breaker::run(data));
