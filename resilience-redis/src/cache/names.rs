//! What the keys and the channel of one cache are called.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::LazyLock,
};

use resilience_core::InvalidPolicy;

use crate::key;

/// The names of one cache: how each begins, up to the key.
#[derive(Debug)]
pub(super) struct Names {
    value: String,
    lease: String,
    void: String,
    /// Where processes tell one another what no key of theirs tells.
    pub(super) channel: String,
}

/// A key as it stands in every name: encoded, or its hash where it is long.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Part(String);

/// What a name was read as.
#[derive(Debug, PartialEq)]
pub(super) enum Meant {
    /// This key.
    Key(Part),
    /// Every key.
    All,
}

impl Names {
    pub(super) fn new(prefix: &str, name: &str) -> Result<Self, InvalidPolicy> {
        let start = |kind| key::start(prefix, kind, name);
        Ok(Self {
            value: start("cache")?,
            lease: start("cache_lease")?,
            void: start("cache_void")?,
            channel: start("cache_news")? + "}",
        })
    }

    /// Where the entry of a key is, where its lease, and what is touched when it becomes void.
    pub(super) fn keys(&self, part: &Part) -> [String; 3] {
        [&self.value, &self.lease, &self.void].map(|start| format!("{start}{}}}", part.0))
    }

    pub(super) fn value(&self, part: &Part) -> String {
        format!("{}{}}}", self.value, part.0)
    }

    pub(super) fn lease(&self, part: &Part) -> String {
        format!("{}{}}}", self.lease, part.0)
    }

    /// What is touched when everything becomes void: no key is encoded like this.
    pub(super) fn void_all(&self) -> String {
        format!("{}{ALL}}}", self.void)
    }

    /// What every name begins with that is touched when something becomes void.
    pub(super) fn void_prefix(&self) -> String {
        format!("{}:", self.void)
    }

    /// The patterns of all leases and all entries.
    pub(super) fn patterns(&self) -> [String; 2] {
        [&self.lease, &self.value].map(|start| format!("{start}:*"))
    }

    /// What became void when `name` was touched, where that is one of ours.
    pub(super) fn meant(&self, name: &[u8]) -> Option<Meant> {
        let name = std::str::from_utf8(name).ok()?;
        let part = name.strip_prefix(&self.void)?.strip_suffix('}')?;
        Meant::read(part)
    }
}

impl Part {
    pub(super) fn of(key: &[u8]) -> Self {
        let mut part = String::new();
        key::push_parts(&mut part, key);
        Self(part)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The number that stands for it in notices: different ones may share it.
    pub(super) fn mark(&self) -> u64 {
        // Keys come from strangers. Whoever made many share a mark would make each invalidation
        // one of many, so nobody outside may know the seed, which is this process' own.
        let mut hasher = MARKS.build_hasher();
        hasher.write(self.0.as_bytes());
        hasher.finish()
    }
}

impl Meant {
    pub(super) fn read(part: &str) -> Option<Self> {
        match part {
            ALL => Some(Self::All),
            part if part.starts_with(':') => Some(Self::Key(Part(part.to_owned()))),
            _ => None,
        }
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Key(part) => part.as_str(),
            Self::All => ALL,
        }
    }
}

static MARKS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Encoded keys have no asterisk.
const ALL: &str = ":*";

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names::new("res", "dishes").expect("a short name")
    }

    #[test]
    fn the_keys_of_one_entry_share_a_hash_tag_of_ours() {
        let keys = names().keys(&Part::of(b"a{b}:c"));
        assert_eq!(keys[0], "res:cache:{dishes:a%7Bb%7D%3Ac}");
        let tag = |key: &str| key[key.find('{').expect("a tag")..].to_owned();
        assert!(keys.iter().all(|key| tag(key) == tag(&keys[0])));
        assert!(keys.iter().all(|key| key.len() <= 512));
    }

    #[test]
    fn a_name_that_is_touched_says_which_key_is_meant() {
        let names = names();
        for key in [&b""[..], b"7", b"a b", &[0xFF; 1000]] {
            let part = Part::of(key);
            let [_, _, void] = names.keys(&part);
            assert!(void.starts_with(&names.void_prefix()));
            assert_eq!(names.meant(void.as_bytes()), Some(Meant::Key(part)));
        }
        assert_eq!(names.meant(names.void_all().as_bytes()), Some(Meant::All));
        assert_ne!(Part::of(b"*").as_str(), ALL);
        for foreign in ["", "res:cache:{dishes:7}", "res:cache_void:{dishes2:7}"] {
            assert_eq!(names.meant(foreign.as_bytes()), None);
        }
        assert_eq!(names.meant(&[0xFF]), None);
    }
}
