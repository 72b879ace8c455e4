//! Names of keys in Redis, safe against hostile parts.

use std::{
    fmt::Write as _,
    hash::{BuildHasher, Hasher as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use resilience_core::InvalidPolicy;
use sha2::{Digest, Sha256};

/// Whose quota it is, in a form that every process of the fleet writes alike.
///
/// Parts that differ give keys that differ, whatever they hold: `("a:b", "c")` is not
/// `("a", "b:c")`.
pub trait StoreKey {
    /// Hands the parts of this key, in order, to `part`.
    fn parts(&self, part: &mut dyn FnMut(&[u8]));
}

impl<K: StoreKey + ?Sized> StoreKey for &K {
    fn parts(&self, part: &mut dyn FnMut(&[u8])) {
        (**self).parts(part);
    }
}

impl StoreKey for [u8] {
    fn parts(&self, part: &mut dyn FnMut(&[u8])) {
        part(self);
    }
}

impl StoreKey for Vec<u8> {
    fn parts(&self, part: &mut dyn FnMut(&[u8])) {
        part(self);
    }
}

impl StoreKey for str {
    fn parts(&self, part: &mut dyn FnMut(&[u8])) {
        part(self.as_bytes());
    }
}

impl StoreKey for String {
    fn parts(&self, part: &mut dyn FnMut(&[u8])) {
        part(self.as_bytes());
    }
}

macro_rules! written_as_text {
    ($($kind:ty),+) => {$(
        impl StoreKey for $kind {
            fn parts(&self, part: &mut dyn FnMut(&[u8])) {
                part(self.to_string().as_bytes());
            }
        }
    )+};
}

written_as_text!(u16, u32, u64, u128, i64, IpAddr, Ipv4Addr, Ipv6Addr);

impl StoreKey for () {
    fn parts(&self, _: &mut dyn FnMut(&[u8])) {}
}

impl<A: StoreKey, B: StoreKey> StoreKey for (A, B) {
    fn parts(&self, part: &mut dyn FnMut(&[u8])) {
        self.0.parts(part);
        self.1.parts(part);
    }
}

/// What the keys of the engine `name` begin with, up to the name inside their hash tag.
pub(crate) fn start(prefix: &str, kind: &str, name: &str) -> Result<String, InvalidPolicy> {
    if encoded_len(name.as_bytes()) > LONGEST_NAME {
        return Err(InvalidPolicy::new(
            "name",
            "must have at most 128 bytes, each one other than an ASCII letter, digit, `-`, `_`, \
             `.` or `~` counted as three",
        ));
    }
    let mut start = String::new();
    push_encoded(&mut start, prefix.as_bytes());
    start.push(':');
    start.push_str(kind);
    start.push_str(":{");
    push_encoded(&mut start, name.as_bytes());
    Ok(start)
}

/// The keys of an engine that keeps something for each key of its users.
#[derive(Debug)]
pub(crate) struct Names {
    /// What all of them begin with, the engine's name included.
    start: String,
}

impl Names {
    /// Those of the engine `name`.
    pub(crate) fn new(prefix: &str, kind: &str, name: &str) -> Result<Self, InvalidPolicy> {
        let start = start(prefix, kind, name)?;
        Ok(Self { start })
    }

    /// The name of `key`, all that tells it from others within the hash tag.
    pub(crate) fn of(&self, key: &(impl StoreKey + ?Sized)) -> String {
        let mut name = self.start.clone();
        push_parts(&mut name, key);
        name.push('}');
        name
    }
}

/// Appends `:` and the encoded part, for every part of `key`; past [`LONGEST_KEY`] bytes the
/// SHA-256 of them all stands in their place, behind a mark that no encoded part contains.
pub(crate) fn push_parts(name: &mut String, key: &(impl StoreKey + ?Sized)) {
    let start = name.len();
    key.parts(&mut |part| {
        name.push(':');
        push_encoded(name, part);
    });
    if name.len() - start > LONGEST_KEY {
        let digest = Sha256::digest(&name.as_bytes()[start..]);
        name.truncate(start);
        name.push_str(HASHED);
        for byte in digest {
            // Writing to a string cannot fail.
            let _ = write!(name, "{byte:02x}");
        }
    }
}

/// A hash of what tells `key` from all others.
pub(crate) fn hash(state: &impl BuildHasher, key: &(impl StoreKey + ?Sized)) -> u64 {
    let mut hasher = state.build_hasher();
    key.parts(&mut |part| {
        hasher.write_usize(part.len());
        hasher.write(part);
    });
    hasher.finish()
}

/// Whether `name` is what [`push_parts`] appends for `key`.
pub(crate) fn is_name(name: &[u8], key: &(impl StoreKey + ?Sized)) -> bool {
    if name.starts_with(HASHED.as_bytes()) {
        let mut other = String::new();
        push_parts(&mut other, key);
        return name == other.as_bytes();
    }
    let mut rest = Some(name);
    key.parts(&mut |part| {
        let behind = rest.and_then(|rest| rest.strip_prefix(b":"));
        rest = behind.and_then(|rest| strip_encoded(rest, part));
    });
    rest.is_some_and(<[u8]>::is_empty)
}

/// Appends `part` with every byte that means something in a key, a hash tag or a pattern as `%XX`.
pub(crate) fn push_encoded(name: &mut String, part: &[u8]) {
    // Runs of plain bytes go over as they are: each decision about a limit begins with this.
    for run in part.chunk_by(|one, other| is_plain(*one) == is_plain(*other)) {
        match str::from_utf8(run) {
            Ok(text) if is_plain(run[0]) => name.push_str(text),
            _ => {
                let escaped = run.iter().flat_map(|byte| escaped(*byte));
                name.extend(escaped.map(char::from));
            }
        }
    }
}

fn escaped(byte: u8) -> [u8; 3] {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |half: u8| DIGITS[usize::from(half)];
    [b'%', digit(byte >> 4), digit(byte & 15)]
}

/// What is behind all that [`push_encoded`] appends for `part`, where `name` begins with it.
fn strip_encoded<'a>(name: &'a [u8], part: &[u8]) -> Option<&'a [u8]> {
    let mut rest = name.iter();
    for &byte in part {
        let same = if is_plain(byte) {
            *rest.next()? == byte
        } else {
            escaped(byte).iter().all(|it| rest.next() == Some(it))
        };
        if !same {
            return None;
        }
    }
    Some(rest.as_slice())
}

/// How many bytes [`push_encoded`] appends.
pub(crate) fn encoded_len(part: &[u8]) -> usize {
    let width = |&byte: &u8| if is_plain(byte) { 1 } else { 3 };
    part.iter().map(width).sum()
}

const fn is_plain(byte: u8) -> bool {
    PLAIN[byte as usize]
}

/// The characters that RFC 3986, section 2.3, leaves as they are.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        plain[byte as usize] =
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
        byte += 1;
    }
    plain
};

/// Prefix, name and key with what stands between them stay under 512 bytes: 64 + 128 + 256 + 40.
pub(crate) const LONGEST_PREFIX: usize = 64;
pub(crate) const LONGEST_NAME: usize = 128;
const LONGEST_KEY: usize = 256;
/// What stands before a digest. No encoded part contains the mark.
const HASHED: &str = ":#";

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(key: &(impl StoreKey + ?Sized)) -> String {
        let mut name = String::new();
        push_parts(&mut name, key);
        name
    }

    /// Which of `names` are the one of `key`.
    fn own(names: &[String], key: &(impl StoreKey + ?Sized)) -> Vec<usize> {
        let is_own = |index: &usize| is_name(names[*index].as_bytes(), key);
        (0..names.len()).filter(is_own).collect()
    }

    #[test]
    fn parts_that_differ_give_keys_that_differ() {
        let long = "x".repeat(300);
        macro_rules! of_all {
            ($of:ident $(, $with:expr)?) => {
                [
                    $of($($with,)? &("a:b", "c")),
                    $of($($with,)? &("a", "b:c")),
                    $of($($with,)? "a:b:c"),
                    $of($($with,)? "a%3Ab"),
                    $of($($with,)? "{a}"),
                    $of($($with,)? "a"),
                    $of($($with,)? ""),
                    $of($($with,)? &("", "")),
                    $of($($with,)? &()),
                    $of($($with,)? &[0xFF_u8, 0x00][..]),
                    $of($($with,)? &long),
                    $of($($with,)? &(long.as_str(), "")),
                    $of($($with,)? encoded(&long).as_str()),
                    $of($($with,)? &long[..255]),
                    $of($($with,)? &(&long[..254], "")),
                    $of($($with,)? &(&long[..200], &long[..100])),
                    $of($($with,)? &(&long[..100], &long[..200])),
                    $of($($with,)? ":"),
                    $of($($with,)? "%"),
                    $of($($with,)? "#"),
                ]
            };
        }
        let names = of_all!(encoded);
        for (i, one) in names.iter().enumerate() {
            assert!(names[i + 1..].iter().all(|other| one != other), "{one}");
        }
        for (i, own) in of_all!(own, &names).into_iter().enumerate() {
            assert_eq!(own, [i]);
        }
    }

    #[test]
    fn nothing_but_plain_characters_comes_through_and_long_keys_are_hashed() {
        let hostile: Vec<u8> = (0..=255).collect();
        let name = encoded(&hostile);
        assert_eq!(name.len(), HASHED.len() + 64);
        let name = encoded(&hostile[..80]);
        assert!(name[1..].bytes().all(|byte| is_plain(byte) || byte == b'%'));
        assert_eq!(name.len() - 1, encoded_len(&hostile[..80]));
    }
}
