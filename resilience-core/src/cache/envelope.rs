//! What an entry looks like in a second tier: a mark with a version, a checksum of key and value,
//! and the value. Whatever is cut off, changed or somebody else's is told from what was put.

/// The mark, and its version.
const MARK: [u8; 4] = *b"RSC1";

/// Bytes that an envelope adds.
pub(super) const OVERHEAD: usize = MARK.len() + size_of::<u64>();

/// `payload` as it is put for `key`.
pub(super) fn seal(key: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(OVERHEAD + payload.len());
    sealed.extend(MARK);
    sealed.extend(checksum(key, payload).to_le_bytes());
    sealed.extend(payload);
    sealed
}

/// What was put for `key`, where `sealed` is that.
pub(super) fn open<'a>(key: &[u8], sealed: &'a [u8]) -> Option<&'a [u8]> {
    let rest = sealed.strip_prefix(&MARK)?;
    let (sum, payload) = rest.split_first_chunk()?;
    (u64::from_le_bytes(*sum) == checksum(key, payload)).then_some(payload)
}

/// FNV-1a of 64 bits (Fowler, Noll, Vo) over the length of the key, the key and the payload:
/// against accidents, not against whoever can write into the tier. The same in every version.
fn checksum(key: &[u8], payload: &[u8]) -> u64 {
    let length = (key.len() as u64).to_le_bytes();
    let bytes = length.iter().chain(key).chain(payload);
    bytes.fold(0xCBF2_9CE4_8422_2325, |sum, &byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_is_opened_for_its_own_key_alone() {
        let sealed = seal(b"soup", b"of the day");
        assert_eq!(open(b"soup", &sealed), Some(&b"of the day"[..]));
        assert_eq!(open(b"stew", &sealed), None);
        assert_eq!(open(b"", &seal(b"", b"")), Some(&b""[..]));
    }

    #[test]
    fn whatever_is_cut_off_or_changed_is_not_opened() {
        let sealed = seal(b"soup", b"of the day");
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
}
