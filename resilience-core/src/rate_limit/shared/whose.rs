/// Whose quotas a call meets.
#[derive(Clone, Copy, Debug)]
pub(in crate::rate_limit) enum Whose<K> {
    /// Those of a key.
    Key(K),
    /// Those that all requests without a key share.
    Nobody,
    /// None but the quota of all keys.
    Exempt,
}

impl<K> Whose<K> {
    /// Whether the quota of those without a key is meant, or of a limiter without keys `Of`.
    #[inline]
    pub(super) const fn is_keyless<Of>(&self) -> bool {
        match self {
            Self::Key(_) => !has_keys::<Of>(),
            Self::Nobody => true,
            Self::Exempt => false,
        }
    }

    pub(in crate::rate_limit) const fn as_ref(&self) -> Whose<&K> {
        match self {
            Self::Key(key) => Whose::Key(key),
            Self::Nobody => Whose::Nobody,
            Self::Exempt => Whose::Exempt,
        }
    }
}

pub(super) const fn has_keys<K>() -> bool {
    // A type without a size has one value, which needs no map.
    size_of::<K>() > 0
}
