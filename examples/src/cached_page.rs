//! What is cached, and how it is written where all gateways read it.

use bytes::Bytes;
use resilience_core::cache::Codec;

/// A page about dishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Page {
    /// The whole menu.
    Menu,
    /// One dish.
    Dish(i64),
}

/// A page is the bytes of its answer already.
#[derive(Clone, Copy, Debug)]
pub struct PageCodec;

impl Codec<Page, Bytes> for PageCodec {
    fn key(&self, page: &Page) -> Vec<u8> {
        match page {
            Page::Menu => b"menu".to_vec(),
            Page::Dish(id) => format!("dish {id}").into_bytes(),
        }
    }

    fn encode(&self, answer: &Bytes) -> Option<Vec<u8>> {
        Some(answer.to_vec())
    }

    fn decode(&self, bytes: &[u8]) -> Option<Bytes> {
        Some(Bytes::copy_from_slice(bytes))
    }
}
