//! What can go wrong between us and a Redis server.

use std::{error::Error, fmt, time::Duration};

use redis::{ErrorKind, RedisError, ServerError, ServerErrorKind};
use resilience_core::InvalidPolicy;

/// Why Redis gave no decision.
///
/// Not a refusal: what to do without an answer is for the caller to say. Of what the server wrote
/// only the code at its head is kept (`OOM`, `NOPERM`): the text behind it may quote the command,
/// and with it a password.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreError {
    /// A setting cannot work.
    InvalidSettings(InvalidPolicy),
    /// The [`Target`](crate::Target) cannot work; this says why.
    InvalidTarget(&'static str),
    /// No answer within this time. The server may still do, or have done, what it was asked.
    Timeout(Duration),
    /// Nothing was asked of the server: no connection stands and one is being made, or so many
    /// calls failed that it is left alone for a moment.
    Unavailable,
    /// The connection broke before the answer. The server may have done what it was asked.
    Disconnected,
    /// The server is up and serves nobody now: loading, a replica, out of memory, too busy.
    NotServing(Code),
    /// Over TLS the server could not prove who it is, or did not believe who we are.
    Untrusted,
    /// The credentials do not allow this; waiting helps only if an operator changes them.
    Unauthorized(Code),
    /// Under our key stands something that we did not write.
    ForeignValue,
    /// Any other error of the server, which waiting will not heal.
    Server(Code),
    /// The answer makes no sense.
    Protocol,
}

/// The word at the head of an error of the server, such as `OOM`.
#[derive(Clone, PartialEq, Eq)]
pub struct Code(Box<str>);

impl Code {
    /// The word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn of(error: &RedisError) -> Self {
        let code = error.code().unwrap_or("ERR");
        let plain = |byte: u8| byte.is_ascii_uppercase() || byte == b'_';
        let known = code.len() <= LONGEST_CODE && code.bytes().all(plain);
        Self(if known { code } else { "ERR" }.into())
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StoreError {
    /// Whether the server may have done what it was asked, although nobody heard of it.
    ///
    /// Such a call must not be made again by itself: it could count twice.
    #[must_use]
    pub const fn may_have_run(&self) -> bool {
        match self {
            Self::Timeout(_) | Self::Disconnected | Self::Protocol => true,
            Self::InvalidSettings(_)
            | Self::InvalidTarget(_)
            | Self::Unavailable
            | Self::NotServing(_)
            | Self::Untrusted
            | Self::Unauthorized(_)
            | Self::ForeignValue
            | Self::Server(_) => false,
        }
    }
}

impl StoreError {
    /// What a call hears that comes while no connection stands: of it nothing was sent.
    pub(crate) fn as_seen_later(&self) -> Self {
        if self.may_have_run() {
            Self::Unavailable
        } else {
            self.clone()
        }
    }
}

impl From<&ServerError> for StoreError {
    fn from(error: &ServerError) -> Self {
        Self::from(&RedisError::from(error.clone()))
    }
}

impl From<&RedisError> for StoreError {
    fn from(error: &RedisError) -> Self {
        match error.kind() {
            ErrorKind::Io => Self::Disconnected,
            ErrorKind::InvalidClientConfig => Self::InvalidTarget("the client cannot use it"),
            ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm) => {
                Self::Unauthorized(Code::of(error))
            }
            ErrorKind::Server(
                ServerErrorKind::BusyLoading
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ReadOnly,
            ) => Self::NotServing(Code::of(error)),
            ErrorKind::Server(_) => Self::Server(Code::of(error)),
            ErrorKind::Extension => match error.code() {
                Some("OOM" | "BUSY" | "MISCONF" | "NOREPLICAS") => {
                    Self::NotServing(Code::of(error))
                }
                Some("NOAUTH" | "WRONGPASS" | "DENIED") => Self::Unauthorized(Code::of(error)),
                Some("WRONGTYPE") => Self::ForeignValue,
                _ => Self::Server(Code::of(error)),
            },
            _ => Self::Protocol,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidSettings(invalid) => write!(f, "redis settings: {invalid}"),
            Self::InvalidTarget(problem) => write!(f, "redis target: {problem}"),
            Self::Timeout(after) => write!(f, "redis gave no answer within {after:?}"),
            Self::Unavailable => f.write_str("redis is not connected"),
            Self::Disconnected => f.write_str("the connection to redis broke before the answer"),
            Self::NotServing(code) => write!(f, "redis does not serve now ({code})"),
            Self::Untrusted => {
                f.write_str("redis and we could not trust each other's certificates")
            }
            Self::Unauthorized(code) => write!(f, "redis does not allow this ({code})"),
            Self::ForeignValue => f.write_str("redis holds something else under our key"),
            Self::Server(code) => write!(f, "redis answered with an error ({code})"),
            Self::Protocol => f.write_str("redis gave an answer that makes no sense"),
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::InvalidSettings(invalid) => Some(invalid),
            Self::InvalidTarget(_)
            | Self::Timeout(_)
            | Self::Unavailable
            | Self::Disconnected
            | Self::NotServing(_)
            | Self::Untrusted
            | Self::Unauthorized(_)
            | Self::ForeignValue
            | Self::Server(_)
            | Self::Protocol => None,
        }
    }
}

/// Redis' own codes are shorter; a longer word came from elsewhere and is not repeated.
const LONGEST_CODE: usize = 24;
