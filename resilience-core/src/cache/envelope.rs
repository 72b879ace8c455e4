//! What an entry looks like in a second tier: a mark with a version, whether there is a value, how
//! long its load took, its weight, a checksum of all that and the key, and the value. Whatever is cut off,
//! changed or somebody else's is told from what was put.

use std::time::Duration;

use crate::clock::nanos;

/// What is put of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Letter<'a> {
    /// The bytes of its value; `None` where it has none.
    pub(super) payload: Option<&'a [u8]>,
    /// How long its load took, to the microsecond.
    pub(super) took: Duration,
    /// Its share of a cache's capacity.
    pub(super) weight: u64,
}

/// `letter` as it is put for `key`.
pub(super) fn seal(key: &[u8], letter: Letter<'_>) -> Vec<u8> {
    let payload = letter.payload.unwrap_or_default();
    let mut sealed = Vec::with_capacity(OVERHEAD + payload.len());
    sealed.extend(MARK);
    sealed.push(if letter.payload.is_some() {
        VALUE
    } else {
        ABSENT
    });
    sealed.extend((nanos(letter.took) / 1000).to_le_bytes());
    sealed.extend(letter.weight.to_le_bytes());
    sealed.extend(checksum(key, &sealed, payload).to_le_bytes());
    sealed.extend(payload);
    sealed
}

/// What was put for `key`, where `sealed` is that.
pub(super) fn open<'a>(key: &[u8], sealed: &'a [u8]) -> Option<Letter<'a>> {
    let (head, rest) = sealed.split_at_checked(HEAD)?;
    let (sum, payload) = rest.split_first_chunk()?;
    if u64::from_le_bytes(*sum) != checksum(key, head, payload) {
        return None;
    }
    let (kind, numbers) = head.strip_prefix(&MARK)?.split_first()?;
    let (took, weight) = numbers.split_first_chunk()?;
    let payload = match *kind {
        VALUE => Some(payload),
        ABSENT if payload.is_empty() => None,
        _ => return None,
    };
    Some(Letter {
        payload,
        took: Duration::from_micros(u64::from_le_bytes(*took)),
        weight: u64::from_le_bytes(weight.try_into().ok()?),
    })
}

/// FNV-1a of 64 bits (Fowler, Noll, Vo) over the length of the key, the key, what stands ahead of
/// the sum, and the payload: against accidents, not against whoever can write into the tier. The
/// same in every version.
fn checksum(key: &[u8], head: &[u8], payload: &[u8]) -> u64 {
    let length = (key.len() as u64).to_le_bytes();
    let bytes = length.iter().chain(key).chain(head).chain(payload);
    bytes.fold(0xCBF2_9CE4_8422_2325, |sum, &byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

/// The mark, and its version.
const MARK: [u8; 4] = *b"RSC2";
const VALUE: u8 = b'v';
const ABSENT: u8 = b'n';
const HEAD: usize = MARK.len() + size_of::<u8>() + 2 * size_of::<u64>();

/// Bytes that an envelope adds.
pub(super) const OVERHEAD: usize = HEAD + size_of::<u64>();

#[cfg(test)]
mod tests {
    use super::*;

    const LETTER: Letter<'static> = Letter {
        payload: Some(b"of the day"),
        took: Duration::from_micros(7),
        weight: 3,
    };

    #[test]
    fn what_was_sealed_is_opened_for_its_own_key_alone() {
        let sealed = seal(b"soup", LETTER);
        assert_eq!(open(b"soup", &sealed), Some(LETTER));
        assert_eq!(open(b"stew", &sealed), None);
        for payload in [Some(&b""[..]), None] {
            let empty = Letter { payload, ..LETTER };
            assert_eq!(open(b"", &seal(b"", empty)), Some(empty));
        }
    }

    #[test]
    fn whatever_is_cut_off_or_changed_is_not_opened() {
        let sealed = seal(b"soup", LETTER);
        for length in 0..sealed.len() {
            assert_eq!(open(b"soup", &sealed[..length]), None);
        }
        for at in 0..sealed.len() {
            for bit in 0..8 {
                let mut changed = sealed.clone();
                changed[at] ^= 1 << bit;
                assert_eq!(open(b"soup", &changed), None, "bit {bit} of byte {at}");
            }
        }
        assert_eq!(open(b"soup", b"{\"foreign\": true}"), None);
    }

    #[test]
    fn a_load_may_have_taken_forever() {
        let took = Duration::MAX;
        let sealed = seal(b"", Letter { took, ..LETTER });
        assert!(open(b"", &sealed).is_some_and(|letter| letter.took.as_secs() > 500 * 31_557_600));
    }
}
