use std::fmt::Display;

use resilience_core::cache::Codec;

/// Keys as they are displayed, and values that are text.
///
/// For keys of which no two look alike, such as numbers and strings.
#[derive(Clone, Copy, Debug, Default)]
pub struct Text;

impl<K, V> Codec<K, V> for Text
where
    K: Display,
    V: AsRef<str> + for<'a> From<&'a str>,
{
    fn key(&self, key: &K) -> Vec<u8> {
        key.to_string().into_bytes()
    }

    fn encode(&self, value: &V) -> Option<Vec<u8>> {
        Some(value.as_ref().into())
    }

    fn decode(&self, bytes: &[u8]) -> Option<V> {
        std::str::from_utf8(bytes).ok().map(V::from)
    }
}
