//! The script as a pure machine: on a real server, under a clock moved by hand, beside a model.

use redis::aio::MultiplexedConnection;

use crate::support::RedisServer;

const SCRIPT: &str = include_str!("../../src/lua/sliding_window.lua");
const CLOCK: &str = "redis.call('TIME')";
const EXPIRY: &str = "'PX', ttl";
/// A day in November 2025, in microseconds: the size that real times have.
const TODAY: u64 = 1_763_800_000_000_000;

#[derive(Debug, PartialEq)]
struct Reply {
    wait: u64,
    refusing: u64,
    used: Vec<u64>,
}

/// The script with its clock in the test's hand, on a server of its own.
struct Machine {
    connection: MultiplexedConnection,
    text: String,
    /// Limit and step of each quota.
    quotas: Vec<(u64, u64)>,
    _server: RedisServer,
}

impl Machine {
    async fn with(quotas: &[(u64, u64)]) -> Self {
        assert_eq!(SCRIPT.matches(CLOCK).count(), 1);
        assert_eq!(SCRIPT.matches(EXPIRY).count(), 1);
        let server = RedisServer::start().await;
        Self {
            connection: server.raw().await,
            // Keys expire by the server's clock, which no hand moves: here they stay.
            text: SCRIPT
                .replace(CLOCK, "{ ARGV[#ARGV - 1], ARGV[#ARGV] }")
                .replace(EXPIRY, "'KEEPTTL'"),
            quotas: quotas.to_vec(),
            _server: server,
        }
    }

    async fn take(&mut self, now: u64, cost: u64) -> Reply {
        let mut call = redis::cmd("EVAL");
        call.arg(&self.text).arg(self.quotas.len());
        for index in 0..self.quotas.len() {
            call.arg(format!("{{key}}:{index}"));
        }
        call.arg(cost);
        for (limit, step) in &self.quotas {
            call.arg(limit).arg(step);
        }
        call.arg(now / 1_000_000).arg(now % 1_000_000);
        let reply: Vec<u64> = call.query_async(&mut self.connection).await.expect("reply");
        assert_eq!(reply[0], now);
        Reply {
            wait: reply[1],
            refusing: reply[2],
            used: reply[3..].to_vec(),
        }
    }
}

/// Remembers every admission, and counts them all again at each question.
struct Model {
    quotas: Vec<(u64, u64)>,
    taken: Vec<(u64, u64)>,
}

impl Model {
    fn used(&self, step: u64, now: u64) -> u64 {
        let counts = |&&(at, _): &&(u64, u64)| now / step - at / step <= 10;
        self.taken.iter().filter(counts).map(|(_, cost)| cost).sum()
    }

    fn take(&mut self, now: u64, cost: u64) -> Reply {
        let wait = |&(limit, step): &(u64, u64)| {
            let fits = |&at: &u64| self.used(step, at) + cost <= limit;
            let steps = (1..).map(|ahead| (now / step + ahead) * step);
            std::iter::once(now)
                .chain(steps)
                .find(fits)
                .expect("cost fits")
                - now
        };
        let waits: Vec<u64> = self.quotas.iter().map(wait).collect();
        let longest = waits.iter().copied().max().expect("a quota");
        if longest == 0 && cost > 0 {
            self.taken.push((now, cost));
        }
        let first = waits.iter().position(|&wait| wait == longest).expect("it");
        Reply {
            wait: longest,
            refusing: if longest == 0 { 0 } else { first as u64 + 1 },
            used: self
                .quotas
                .iter()
                .map(|(_, step)| self.used(*step, now))
                .collect(),
        }
    }

    /// The most units in any window of ten steps of this quota.
    fn fullest_window(&self, step: u64) -> u64 {
        let window = |&(end, _): &(u64, u64)| {
            let inside = |&&(at, _): &&(u64, u64)| at <= end && end - at < 10 * step;
            self.taken.iter().filter(inside).map(|(_, cost)| cost).sum()
        };
        self.taken.iter().map(window).max().unwrap_or(0)
    }
}

#[tokio::test]
async fn no_window_ever_holds_more_than_the_limit_and_every_wait_is_exact() {
    for (seed, quotas) in [
        &[(20, 100)][..],
        &[(1, 1)],
        &[(7, 30), (12, 100)],
        &[(5, 10), (9, 33), (30, 1000)],
    ]
    .into_iter()
    .enumerate()
    {
        let mut random = fastrand::Rng::with_seed(seed as u64);
        let smallest = quotas
            .iter()
            .map(|(limit, _)| *limit)
            .min()
            .expect("a quota");
        let longest = quotas.iter().map(|(_, step)| *step).max().expect("a quota");
        let mut machine = Machine::with(quotas).await;
        let mut model = Model {
            quotas: quotas.to_vec(),
            taken: Vec::new(),
        };
        let mut now = TODAY;
        for _ in 0..1500 {
            let cost = random.u64(0..=smallest);
            let reply = machine.take(now, cost).await;
            assert_eq!(
                reply,
                model.take(now, cost),
                "seed {seed}, now {now}, cost {cost}"
            );
            now += match random.u8(0..4) {
                0 => 0,
                // The last moment of a refusal, then its end.
                1 if reply.wait > 0 => reply.wait - 1,
                2 if reply.wait > 0 => reply.wait,
                3 => random.u64(0..=longest * 3),
                _ => random.u64(0..=longest / 2),
            };
        }
        for (limit, step) in quotas {
            assert!(model.fullest_window(*step) <= *limit, "seed {seed}");
        }
        assert!(model.taken.len() > 100);
    }
}

#[tokio::test]
async fn a_clock_that_was_set_back_forgets_nothing_and_holds_nobody_for_longer_than_a_window() {
    let mut machine = Machine::with(&[(5, 1000)]).await;
    assert_eq!(machine.take(TODAY, 5).await.wait, 0);
    let earlier = TODAY - 3_600_000_000;
    let refused = machine.take(earlier, 1).await;
    assert_eq!((refused.wait, &refused.used[..]), (11_000, &[5][..]));
    let still = machine.take(earlier + refused.wait - 1, 1).await;
    assert_eq!((still.wait, &still.used[..]), (1, &[5][..]));
    let free = machine.take(earlier + refused.wait, 1).await;
    assert_eq!((free.wait, &free.used[..]), (0, &[1][..]));
}

#[tokio::test]
async fn numbers_stay_exact_at_their_largest() {
    let century = 100 * 31_557_600 * 1_000_000 / 10;
    let mut machine = Machine::with(&[(1 << 53, century)]).await;
    let most = (1 << 53) - 1;
    assert_eq!(machine.take(TODAY, most).await.used, [most]);
    assert_eq!(machine.take(TODAY, 1).await.used, [1 << 53]);
    let refused = machine.take(TODAY, 1 << 53).await;
    assert_eq!(
        (refused.refusing, &refused.used[..]),
        (1, &[1_u64 << 53][..])
    );
    assert_eq!(refused.wait, (TODAY / century + 11) * century - TODAY);
    assert_eq!(machine.take(TODAY + refused.wait, 1 << 53).await.wait, 0);
}
