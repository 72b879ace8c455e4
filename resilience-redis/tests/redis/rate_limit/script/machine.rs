//! A server whose scripts are told the time by the test.

use redis::{RedisResult, ToRedisArgs, Value, aio::MultiplexedConnection};

use super::{QUOTAS, REFUND, WINDOW, model::Quota};
use crate::support::RedisServer;

/// What each of some callers in a row wants, and how many they are, or less than 0 where they hold up
/// those behind.
pub(super) type Run = (u64, i64);

/// A server whose scripts are told the time by the test.
pub(super) struct Machine {
    pub(super) connection: MultiplexedConnection,
    /// How many steps questions name beyond the present one, and how many may be it beside the last.
    pub(super) named: (u64, u64),
    pub(super) _server: RedisServer,
}

impl Machine {
    pub(super) async fn start() -> Self {
        let server = RedisServer::start().await;
        Self {
            connection: server.raw().await,
            named: (0, 0),
            _server: server,
        }
    }

    pub(super) async fn run(
        &mut self,
        script: &str,
        now: u64,
        keys: &[String],
        arguments: &[impl ToRedisArgs],
    ) -> Value {
        let reply = self.try_run(script, now, keys, arguments).await;
        reply.expect("a reply")
    }

    pub(super) async fn try_run(
        &mut self,
        script: &str,
        now: u64,
        keys: &[String],
        arguments: &[impl ToRedisArgs],
    ) -> RedisResult<Value> {
        assert_eq!(script.matches("call('TIME')").count(), 1);
        // Keys expire by the server's clock, which no hand moves: here they stay.
        let script = script
            .replace("call('TIME')", "{ SECONDS, MICROS }")
            .replace("'PEXPIREAT'", "'EXISTS'")
            .replace("'PEXPIRE'", "'EXISTS'")
            .replace("'PX', integer(lives)", "'KEEPTTL'")
            .replace("'PX', lives", "'KEEPTTL'")
            .replace("and call('PTTL', key)", "and 1")
            // Unpacked, which the library sees to elsewhere.
            .replace("cmsgpack.pack(reply)", "reply");
        let script = format!(
            "local SECONDS, MICROS = ARGV[1], ARGV[2] local ARGV = {{ unpack(ARGV, 3) }} {script}"
        );
        let mut call = redis::cmd("EVAL");
        call.arg(script).arg(keys.len()).arg(keys);
        call.arg(now / 1_000_000)
            .arg(now % 1_000_000)
            .arg(arguments);
        call.query_async(&mut self.connection).await
    }

    /// From now on, questions name some steps beside the present one.
    pub(super) fn name_steps(&mut self, random: &mut fastrand::Rng) {
        let spare = random.u64(0..4);
        self.named = (random.u64(0..=spare), spare);
    }

    /// One call of `window_take`, which asks for the whole past.
    pub(super) async fn window(
        &mut self,
        now: u64,
        (limit, step): (u64, u64),
        runs: &[Run],
    ) -> Value {
        let (last, spare) = (now / step + self.named.0, self.named.1);
        let keys = (0..=10 + spare).map(|age| name("w", last.saturating_sub(age)));
        let keys: Vec<_> = keys.collect();
        let words = [step, last, spare, 0, 10, limit, runs.len() as u64];
        let words = [texts(&words), run_texts(runs)].concat();
        self.run(WINDOW, now, &keys, &words).await
    }

    /// One call of `quotas_take`, which asks for the whole past of windows.
    pub(super) async fn quotas(&mut self, now: u64, quotas: &[Quota], runs: &[Run]) -> Value {
        let (mut keys, mut words) = (Vec::new(), texts(&[self.named.1, quotas.len() as u64]));
        let mut asked = Vec::new();
        for (index, quota) in quotas.iter().enumerate() {
            let [third, lives] = match quota.kind {
                "window" => {
                    let last = now / quota.length + self.named.0;
                    let named = (0..=10 + self.named.1).map(|age| last.saturating_sub(age));
                    keys.extend(named.map(|step| name(&index.to_string(), step)));
                    asked.extend([10, 0]);
                    [last, 0]
                }
                _ => {
                    keys.push(name(&index.to_string(), 0));
                    [quota.burst, 1000]
                }
            };
            words.push(quota.kind.to_owned());
            words.extend(texts(&[quota.limit, quota.length, third, lives]));
        }
        asked.push(runs.len() as u64);
        words.extend(texts(&asked));
        words.extend(run_texts(runs));
        self.run(QUOTAS, now, &keys, &words).await
    }

    pub(super) async fn refund(&mut self, now: u64, quotas: &[Quota], units: u64) {
        let (mut keys, mut words) = (Vec::new(), vec![quotas.len().to_string()]);
        for quota in quotas {
            words.extend([quota.kind.to_owned(), quota.length.to_string()]);
        }
        words.extend(texts(&[units, 0]));
        for (index, quota) in quotas.iter().enumerate() {
            let (ahead, spare) = self.named;
            let steps = match quota.kind {
                // Steps that are over may be named too.
                "window" => {
                    let last = now / quota.length + ahead;
                    last.saturating_sub(10 + spare)..=last
                }
                _ => 0..=0,
            };
            words.extend(texts(&[steps.end() - steps.start() + 1, *steps.start()]));
            keys.extend(steps.map(|step| name(&index.to_string(), step)));
        }
        let reply = self.run(REFUND, now, &keys, &words).await;
        assert_eq!(reply, Value::Int(1));
    }

    pub(super) async fn command(&mut self, words: &[&str]) -> Value {
        let mut command = redis::Cmd::new();
        command.arg(words);
        command
            .query_async(&mut self.connection)
            .await
            .expect("done")
    }
}

pub(super) fn name(quota: &str, step: u64) -> String {
    format!("{{key}}{quota}.{step}")
}

pub(super) fn texts(numbers: &[u64]) -> Vec<String> {
    numbers.iter().map(ToString::to_string).collect()
}

fn run_texts(runs: &[Run]) -> Vec<String> {
    let words = |(cost, callers): &Run| [cost.to_string(), callers.to_string()];
    runs.iter().flat_map(words).collect()
}

pub(super) fn ints(reply: Value) -> Vec<u64> {
    let Value::Array(items) = reply else {
        panic!("no list: {reply:?}")
    };
    let number = |item| match item {
        Value::Int(number) => u64::try_from(number).expect("not less than zero"),
        other => panic!("no number: {other:?}"),
    };
    items.into_iter().map(number).collect()
}
