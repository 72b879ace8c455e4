//! What can go wrong between us and a Redis server.

use std::{error::Error, fmt, time::Duration};

use redis::{ErrorKind, RedisError, ServerError};
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
    /// The server is up and serves nobody now: loading, a replica, out of memory, too busy. Or not
    /// these keys, while their slot of a cluster is being moved (`TRYAGAIN`).
    NotServing(Code),
    /// Over TLS the server could not prove who it is, or did not believe who we are.
    Untrusted,
    /// The credentials do not allow this; waiting helps only if an operator changes them.
    ///
    /// Over RESP2 (`?protocol=resp2`) so is whatever the server answers to a login, such as that it
    /// has too many clients, and the code is `ERR`: the client does not pass on what was said.
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

    /// The word at the head of `error`, or the one that a script was told and passes on.
    pub(crate) fn of(error: &ServerError) -> Self {
        let head = error.code();
        let plain = |byte: u8| byte.is_ascii_uppercase() || byte == b'_';
        let known = head.len() <= LONGEST_CODE && head.bytes().all(plain);
        // Before 7.0: `ERR Error running script (…): @user_script: 1: -OOM command not allowed`.
        let within = || {
            let words = error
                .details()?
                .split(' ')
                .map(|word| word.trim_start_matches('-'));
            let from_script = head.starts_with('@') || error.details()?.starts_with(FROM_SCRIPT);
            words
                .filter(|_| from_script)
                .find(|word| TOLD_TO_SCRIPTS.contains(word))
        };
        let is_forbidden = |said: &str| {
            FORBIDDEN_TO_SCRIPTS
                .iter()
                .any(|words| said.contains(words))
        };
        Self(match within() {
            Some(code) => code.into(),
            // It has no code of its own.
            None if error.details().is_some_and(is_forbidden) => "NOPERM".into(),
            None if known => head.into(),
            None => "ERR".into(),
        })
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
    /// Whether this may be over by itself, with nobody changing what we or the server were told.
    pub(crate) const fn may_pass(&self) -> bool {
        match self {
            Self::Timeout(_)
            | Self::Unavailable
            | Self::Disconnected
            | Self::NotServing(_)
            | Self::Protocol => true,
            Self::InvalidSettings(_)
            | Self::InvalidTarget(_)
            | Self::Untrusted
            | Self::Unauthorized(_)
            | Self::ForeignValue
            | Self::Server(_) => false,
        }
    }

    /// What a call hears that comes while no connection stands: of it nothing was sent.
    pub(crate) fn as_seen_later(&self) -> Self {
        if self.may_have_run() {
            Self::Unavailable
        } else {
            self.clone()
        }
    }
}

impl From<&RedisError> for StoreError {
    fn from(error: &RedisError) -> Self {
        match error.kind() {
            ErrorKind::Io => Self::Disconnected,
            ErrorKind::InvalidClientConfig => Self::InvalidTarget("the client cannot use it"),
            // Of a login over RESP2. Neither code nor text come with it.
            ErrorKind::AuthenticationFailed => Self::Unauthorized(Code("ERR".into())),
            // Of a batch the first that failed says why.
            ErrorKind::Server(_) | ErrorKind::Extension => {
                match error.clone().into_server_errors().as_deref() {
                    Some([(_, error), ..]) => Self::from(error),
                    Some([]) | None => Self::Server(Code("ERR".into())),
                }
            }
            _ => Self::Protocol,
        }
    }
}

impl From<&ServerError> for StoreError {
    fn from(error: &ServerError) -> Self {
        let code = Code::of(error);
        match code.as_str() {
            "BUSY" | "CLUSTERDOWN" | "LOADING" | "MASTERDOWN" | "MISCONF" | "NOREPLICAS"
            | "OOM" | "READONLY" | "TRYAGAIN" => Self::NotServing(code),
            "DENIED" | "NOAUTH" | "NOPERM" | "WRONGPASS" => Self::Unauthorized(code),
            "WRONGTYPE" => Self::ForeignValue,
            // It has no code of its own.
            "ERR" if error.details().is_some_and(|said| said.contains(FULL)) => {
                Self::NotServing(code)
            }
            _ => Self::Server(code),
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

const FULL: &str = "max number of clients";
const FROM_SCRIPT: &str = "Error running script";
/// What the commands of a script are refused with for reasons that are not the script's.
const TOLD_TO_SCRIPTS: [&str; 5] = ["MISCONF", "NOREPLICAS", "OOM", "READONLY", "WRONGTYPE"];
/// How a script hears that its user may not do this: up to 7.0, and since.
const FORBIDDEN_TO_SCRIPTS: [&str; 2] = [
    "The user executing the script can't",
    "ACL failure in script",
];
/// Redis' own codes are shorter; a longer word came from elsewhere and is not repeated.
const LONGEST_CODE: usize = 24;

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::*;

    fn seen(error: &str) -> StoreError {
        let reply = redis::parse_redis_value(format!("-{error}\r\n").as_bytes());
        match reply.expect("a reply") {
            Value::ServerError(error) => {
                let wrapped = RedisError::from(error.clone());
                assert_eq!(StoreError::from(&error), StoreError::from(&wrapped));
                StoreError::from(&error)
            }
            other => panic!("no error: {other:?}"),
        }
    }

    fn code(text: &str) -> Code {
        Code(text.into())
    }

    #[test]
    fn an_error_of_the_server_is_known_by_its_first_word() {
        for word in [
            "LOADING",
            "MASTERDOWN",
            "CLUSTERDOWN",
            "TRYAGAIN",
            "OOM",
            "BUSY",
        ] {
            let error = seen(&format!("{word} and why"));
            assert_eq!(error, StoreError::NotServing(code(word)));
        }
        for word in ["NOAUTH", "NOPERM", "WRONGPASS"] {
            assert_eq!(
                seen(&format!("{word} x")),
                StoreError::Unauthorized(code(word))
            );
        }
        assert_eq!(seen("WRONGTYPE x"), StoreError::ForeignValue);
        assert_eq!(seen("MOVED 1 host:1"), StoreError::Server(code("MOVED")));
        assert_eq!(seen("ERR OOM"), StoreError::Server(code("ERR")));
        assert_eq!(seen("planted password"), StoreError::Server(code("ERR")));
        assert_eq!(
            seen("A_WORD_THAT_IS_TOO_LONG_TO_BE_ONE x"),
            StoreError::Server(code("ERR"))
        );
    }

    #[test]
    fn what_a_script_was_told_is_found_in_what_it_says() {
        let said = "ERR Error running script (call to f_25): @user_script:1: @user_script: 1: ";
        assert_eq!(
            seen(&format!("{said}-OOM command")),
            StoreError::NotServing(code("OOM"))
        );
        assert_eq!(
            seen(&format!("{said}-READONLY You")),
            StoreError::NotServing(code("READONLY"))
        );
        assert_eq!(
            seen(&format!("{said}WRONGTYPE x")),
            StoreError::ForeignValue
        );
        assert_eq!(
            seen(&format!("{said}planted OTHER")),
            StoreError::Server(code("ERR"))
        );
        for forbidden in [
            format!("{said}The user executing the script can't run this command"),
            "@user_script: 1: The user executing the script can't run this command".to_owned(),
            "ERR ACL failure in script: No permissions to access a key".to_owned(),
        ] {
            assert_eq!(seen(&forbidden), StoreError::Unauthorized(code("NOPERM")));
        }
        let caught = "@user_script: 1: -READONLY You can't write against a read only replica.";
        assert_eq!(seen(caught), StoreError::NotServing(code("READONLY")));
    }
}
