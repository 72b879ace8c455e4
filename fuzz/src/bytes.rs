use std::time::Duration;

/// Reads values from a fuzzer's bytes; past their end it reads zeros.
#[derive(Debug)]
pub struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.take(N);
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    pub fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.array())
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// Any number at all: infinite, negative, none.
    pub fn f64(&mut self) -> f64 {
        f64::from_bits(self.u64())
    }

    /// A number in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        f64::from(self.u32()) / (f64::from(u32::MAX) + 1.0)
    }

    /// From nothing to [`Duration::MAX`], most often some milliseconds.
    pub fn duration(&mut self) -> Duration {
        match self.u8() {
            0 => Duration::ZERO,
            1 => Duration::from_nanos(1),
            2 => Duration::MAX,
            3 => Duration::from_nanos(u64::MAX),
            4 => Duration::from_nanos(self.u64()),
            5..64 => Duration::from_secs(u64::from(self.u8())),
            64.. => Duration::from_millis(u64::from(self.u8())),
        }
    }

    /// Up to `length` bytes.
    pub fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// The bytes up to the next `end`, which is dropped.
    pub fn until(&mut self, end: u8) -> &'a [u8] {
        let length = self.0.iter().position(|byte| *byte == end);
        let taken = self.take(length.unwrap_or(self.0.len()));
        self.take(1);
        taken
    }
}
