//! What can be set, and the figures that are set for good reasons.

use std::{fmt, str::FromStr, time::Duration};

use resilience_core::Clock;
use resilience_redis::Target;

/// A restaurant-ordering service at noon.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "ordering", version, args_override_self = true)]
#[non_exhaustive]
pub struct Config {
    /// Address and port to serve; port 0 takes a free one
    #[arg(long, value_name = "ADDR", env = "ORDERING_LISTEN", default_value = DEFAULT_LISTEN)]
    pub listen: String,

    /// The database: a SQLite file, made where there is none, or `postgres://USER:PASSWORD@HOST/NAME`
    #[arg(
        long,
        visible_alias = "database",
        value_name = "URL",
        env = "ORDERING_DATABASE_URL",
        hide_env_values = true,
        default_value = DEFAULT_DATABASE
    )]
    pub database_url: DatabaseUrl,

    /// Requests that one client address may send in ten seconds
    #[arg(long, value_name = "COUNT", default_value_t = DEFAULT_REQUESTS_PER_CLIENT, value_parser = clap::value_parser!(u32).range(1..))]
    pub requests_per_client: u32,

    /// Requests that all clients together may send in a second
    #[arg(long, value_name = "COUNT", default_value_t = DEFAULT_REQUESTS_PER_SECOND, value_parser = clap::value_parser!(u32).range(1..))]
    pub requests_per_second: u32,

    /// A Redis server, cluster or group of sentinels, which several gateways share
    #[arg(
        long,
        value_name = "URL",
        env = "ORDERING_REDIS",
        hide_env_values = true
    )]
    pub redis: Option<Target>,

    /// A secret of all gateways that share a Redis, 64 hexadecimal digits: who knows it can choose
    /// numbers of no dish that cost the database a statement each
    #[arg(
        long,
        value_name = "HEX",
        env = "ORDERING_FILTER_SEED",
        hide_env_values = true
    )]
    pub filter_seed: Option<FilterSeed>,

    /// How orders are charged.
    #[arg(skip)]
    pub payment: PaymentTimes,

    /// What gateways that share a Redis expect of it.
    #[arg(skip)]
    pub fleet: FleetSettings,

    /// What tells how old the pages of dishes are. Default: the machine's.
    #[arg(skip)]
    pub clock: Clock,
}

/// The URL of a database, which may hold a password and is not shown.
#[derive(Clone)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// The whole URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: Into<String>> From<T> for DatabaseUrl {
    fn from(url: T) -> Self {
        Self(url.into())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseUrl(..)")
    }
}

/// The seed of the filter that tells which dishes there are. It is not shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FilterSeed([u8; 32]);

impl FilterSeed {
    /// The same in all gateways that were given none.
    pub const KNOWN_TO_ALL: Self = Self(*b"which dishes a restaurant serves");

    /// Its bytes.
    #[must_use]
    pub const fn bytes(self) -> [u8; 32] {
        self.0
    }
}

impl FromStr for FilterSeed {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const PROBLEM: &str = "a seed has 64 hexadecimal digits";
        let mut seed = [0; 32];
        let (digits, rest) = text.as_bytes().as_chunks::<2>();
        if digits.len() != seed.len() || !rest.is_empty() {
            return Err(PROBLEM);
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        for (byte, [high, low]) in seed.iter_mut().zip(digits) {
            let value = digit(*high).zip(digit(*low));
            let value = value.and_then(|(high, low)| u8::try_from(high << 4 | low).ok());
            *byte = value.ok_or(PROBLEM)?;
        }
        Ok(Self(seed))
    }
}

impl fmt::Debug for FilterSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FilterSeed(..)")
    }
}

/// How patient the service is with its payment provider.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PaymentTimes {
    /// For one answer of the provider. Default: 2 s.
    pub answer: Duration,
    /// For the request that placed an order, before the settlement may take the order up. Longer
    /// than a wait for a place and an answer together. Default: 5 s.
    pub head_start: Duration,
    /// For which a provider that failed is left alone. Default: 5 s.
    pub circuit_open: Duration,
    /// Before the first retry; doubled for every further one. Default: 500 ms.
    pub first_retry: Duration,
    /// Between two retries at most. Default: 15 s.
    pub longest_retry: Duration,
    /// For the whole payment; an order that is older is given up. Default: 2 min.
    pub give_up: Duration,
}

/// How patient a gateway is with Redis, and what it does with what all gateways have there.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct FleetSettings {
    /// For one answer of Redis, with a customer waiting for it. Default: 10 ms.
    pub answer: Duration,
    /// Between two times that the portions are counted. What is counted is believed for twice as
    /// long: one count may come to nothing. Default: 30 s.
    pub recount: Duration,
    /// Paid orders that may wait for the kitchens; where there are as many, no more are taken.
    /// Default: 1 000.
    pub kitchen_queue: u64,
    /// How long orders are turned away once there were as many. Then one is tried. Default: 1 s.
    pub turn_away: Duration,
    /// After how long kitchens are told again of an order that is paid and not cooked.
    /// Default: 5 s.
    pub remind: Duration,
    /// Cooks in this gateway's kitchen. Default: 1.
    pub cooks: u32,
}

impl Config {
    /// The defaults, with an address and a database of one's own.
    #[must_use]
    pub fn new(listen: impl Into<String>, database_url: impl Into<DatabaseUrl>) -> Self {
        Self {
            listen: listen.into(),
            database_url: database_url.into(),
            requests_per_client: DEFAULT_REQUESTS_PER_CLIENT,
            requests_per_second: DEFAULT_REQUESTS_PER_SECOND,
            redis: None,
            filter_seed: None,
            payment: PaymentTimes::default(),
            fleet: FleetSettings::default(),
            clock: Clock::default(),
        }
    }
}

impl Default for PaymentTimes {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(2),
            head_start: Duration::from_secs(5),
            circuit_open: Duration::from_secs(5),
            first_retry: Duration::from_millis(500),
            longest_retry: Duration::from_secs(15),
            give_up: Duration::from_secs(120),
        }
    }
}

impl Default for FleetSettings {
    fn default() -> Self {
        Self {
            answer: Duration::from_millis(10),
            recount: Duration::from_secs(30),
            kitchen_queue: 1_000,
            turn_away: Duration::from_secs(1),
            remind: Duration::from_secs(5),
            cooks: 1,
        }
    }
}

const DEFAULT_LISTEN: &str = "127.0.0.1:8080";
const DEFAULT_DATABASE: &str = "sqlite://ordering-data/ordering.db";

/// A lunch crowd behind one office's address orders two hundred times at once, and looks at the
/// menu before.
const DEFAULT_REQUESTS_PER_CLIENT: u32 = 1_000;

/// Pages are mostly served from memory: what comes to the database is a fraction of it.
const DEFAULT_REQUESTS_PER_SECOND: u32 = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_64_hexadecimal_digits_and_is_not_shown() {
        let text = "00ff".repeat(16);
        let seed: FilterSeed = text.parse().expect("it is one");
        assert_eq!(seed.bytes()[..4], [0, 255, 0, 255]);
        assert!(!format!("{seed:?}").contains("255"));
        let wrong = ["", "00", &text[1..], &"x0".repeat(32), &"+0".repeat(32)];
        assert!(wrong.iter().all(|text| text.parse::<FilterSeed>().is_err()));
    }
}
