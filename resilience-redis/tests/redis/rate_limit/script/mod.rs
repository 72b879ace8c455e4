//! The scripts as pure machines: on a real server, under a clock moved by hand, beside models.

#![allow(
    clippy::cast_possible_truncation,
    reason = "numbers of callers and units are small here"
)]

mod machine;
mod model;
mod one;

use redis::Value;

use self::{
    machine::{Machine, Run, ints, name, texts},
    model::{Model, quota},
};
use crate::support::script;

const WINDOW: &str = script!("window_take");
const QUOTAS: &str = script!("quotas", "quotas_take");
const REFUND: &str = script!("quotas", "quotas_refund");
/// A day in November 2025, in microseconds: the size that real times have.
const TODAY: u64 = 1_763_800_000_000_000;
const MOST: u64 = 1 << 52;

#[tokio::test]
async fn scripts_decide_as_a_model_that_forgets_nothing() {
    let mut machine = Machine::start().await;
    for (seed, quotas) in [
        &[quota("window", 20, 100, 0)][..],
        &[quota("window", 1, 1, 0)],
        &[quota("log", 9, 500, 0)],
        &[quota("cells", 3, 1000, 5)],
        &[quota("window", 7, 30, 0), quota("window", 12, 100, 0)],
        &[
            quota("window", 9, 33, 0),
            quota("log", 12, 1000, 0),
            quota("cells", 5, 700, 8),
        ],
    ]
    .into_iter()
    .enumerate()
    {
        machine.command(&["FLUSHALL"]).await;
        let mut random = fastrand::Rng::with_seed(seed as u64);
        let (mut model, mut now) = (Model::new(quotas), TODAY);
        let (mut granted, mut cut, mut over) = (0, 0, 0);
        for _ in 0..1200 {
            let runs: Vec<Run> = (0..random.usize(1..4))
                .map(|_| (random.u64(0..4), several(&mut random)))
                .collect();
            let mut expected = model.before(now);
            let mut short = vec![Vec::new(); quotas.len()];
            let mut held_up = false;
            for (cost, callers) in &runs {
                let all = callers.unsigned_abs();
                let mut take = |_: &u64| (*cost == 0 || !held_up) && model.take(*cost, now);
                let fits = (0..all).filter(&mut take).count();
                granted += fits;
                if fits < all as usize {
                    cut += 1;
                    over += usize::from(held_up && model.has_room(*cost, now));
                    held_up |= *callers < 0;
                    for (index, quota) in quotas.iter().enumerate() {
                        let excess = (model.used(index, now) + cost).saturating_sub(quota.limit);
                        let mut counting = model.taken[index].iter();
                        counting.find(|at| Model::counts(*quota, **at, now));
                        let counting = model.taken[index].iter();
                        let counting = counting.filter(|at| Model::counts(*quota, **at, now));
                        let last = counting.take(excess as usize).last();
                        short[index].push(last.copied().unwrap_or(0));
                    }
                }
            }
            for ((told, quota), short) in expected.iter_mut().zip(quotas).zip(short) {
                if quota.kind == "log" {
                    told.push(short.len() as u64);
                    told.extend(short);
                }
            }
            let expected: Vec<u64> = [now].into_iter().chain(expected.concat()).collect();
            machine.name_steps(&mut random);
            let reply = machine.quotas(now, quotas, &runs).await;
            assert_eq!(ints(reply), expected, "seed {seed}, now {now}, {runs:?}");
            if random.u8(..10) == 0 {
                let units = random.u64(1..6);
                machine.refund(now, quotas, units).await;
                model.refund(units, now);
            }
            now += match random.u8(0..4) {
                0 => 0,
                1 => random.u64(0..=1000),
                _ => random.u64(0..=60),
            };
        }
        assert!(granted > 300 && cut > 100, "{granted} {cut}");
        // A limit of one leaves no room for less.
        assert!(over > 10 || seed == 1, "{over}");
    }
}

/// Some callers, who may hold up those behind.
fn several(random: &mut fastrand::Rng) -> i64 {
    random.i64(1..5) * [1, -1][random.usize(0..2)]
}

#[tokio::test]
async fn the_script_for_one_window_decides_as_the_one_for_all() {
    let mut machine = Machine::start().await;
    let mut random = fastrand::Rng::with_seed(3);
    let window = quota("window", 25, 100, 0);
    let (mut model, mut now) = (Model::new(&[window]), TODAY);
    for _ in 0..3000 {
        let expected = [now].into_iter().chain(model.before(now).concat());
        let expected: Vec<u64> = expected.collect();
        if random.bool() {
            let past: u64 = expected[2..].iter().sum();
            let bound = window.limit as i64 - past as i64;
            let units = random.u64(1..4);
            let words = [window.length, now / window.length, 0, 1, units];
            let words = [&texts(&words)[..], &[bound.to_string(), "1".to_owned()]].concat();
            let keys = [name("w", now / window.length)];
            let reply = ints(machine.run(WINDOW, now, &keys, &words).await);
            assert_eq!(reply, [now, expected[1] + units], "now {now}");
            let fits = (expected[1] + units) as i64 <= bound;
            assert_eq!(model.take(units, now), fits);
        } else {
            let run = (random.u64(0..4), several(&mut random));
            let limits = (window.limit, window.length);
            machine.name_steps(&mut random);
            let reply = machine.window(now, limits, &[run, (1, 1)]).await;
            assert_eq!(ints(reply), expected, "now {now}, {run:?}");
            let all = run.1.unsigned_abs() as usize;
            let fits = (0..all).filter(|_| model.take(run.0, now)).count();
            if fits == all || run.1 > 0 {
                model.take(1, now);
            }
        }
        now += random.u64(0..=90);
    }
    assert_eq!(model.fullest_window(0), 25);
}

#[tokio::test]
async fn a_counter_per_second_admits_twice_its_limit_and_a_window_does_not() {
    // As it is often written: a key for each second, that goes away with it.
    const PER_SECOND: &str = "local time = call('TIME') \
        local key = KEYS[1] .. time[1] \
        local count = call('INCR', key) \
        if count == 1 then call('PEXPIRE', key, 1000) end \
        return count <= tonumber(ARGV[1]) and 1 or 0";
    let per_second = format!("local call = redis.call {PER_SECOND}");
    let mut machine = Machine::start().await;
    let boundary = TODAY + 1_000_000;
    let mut admitted = [0, 0];
    for now in [boundary - 1, boundary] {
        for _ in 0..10 {
            let (keys, limit) = (["naive".to_owned()], ["10".to_owned()]);
            let naive = machine.run(&per_second, now, &keys, &limit).await;
            admitted[0] += u64::from(naive == Value::Int(1));
            let reply = ints(machine.window(now, (10, 100_000), &[(1, 1)]).await);
            admitted[1] += u64::from(reply[1..].iter().sum::<u64>() < 10);
        }
    }
    assert_eq!(admitted, [20, 10], "within a microsecond");
}

#[tokio::test]
async fn a_question_about_another_step_is_answered_with_the_time_alone() {
    let mut machine = Machine::start().await;
    let present = TODAY / 100;
    for (last, spare) in [
        (0, 0),
        (present - 1, 0),
        (present + 1, 0),
        (present - 1, 5),
        (present + 6, 5),
        (MOST, 9),
    ] {
        let keys: Vec<_> = (0..=spare)
            .map(|age| name("w", last.saturating_sub(age)))
            .collect();
        let runs = [0, 5, 1, 1, 1];
        let words = [&[100, last, spare, 0][..], &runs].concat();
        let reply = machine.run(WINDOW, TODAY, &keys, &texts(&words)).await;
        assert_eq!(ints(reply), [TODAY]);
        if spare == 0 {
            let words = texts(&[100, last, spare, 1, 1, 5, 1]);
            let reply = machine.run(WINDOW, TODAY, &keys, &words).await;
            assert_eq!(ints(reply), [TODAY]);
        }
        let words = [
            &spare.to_string(),
            "1",
            "window",
            "5",
            "100",
            &last.to_string(),
            "9",
            "0",
            "0",
            "1",
            "1",
            "1",
        ];
        let words = words.map(str::to_owned);
        let reply = machine.run(QUOTAS, TODAY, &keys, &words).await;
        assert_eq!(ints(reply), [TODAY]);
    }
    assert_eq!(machine.command(&["DBSIZE"]).await, Value::Int(0));
}

#[tokio::test]
async fn the_times_of_a_log_are_told_to_who_may_wait_for_them_where_not_all_have_room() {
    let mut machine = Machine::start().await;
    let key = [name("e", 0)];
    for (tells, runs, now, expected) in [
        (1, [2, 1], 0, &[0, 0, 0][..]),
        (
            1,
            [1, 3],
            5,
            &[2, TODAY, 1, TODAY, 3, TODAY, TODAY, TODAY + 5],
        ),
        (0, [1, 1], 6, &[3, TODAY, 1, TODAY]),
        (
            1,
            [1, 1],
            6,
            &[3, TODAY, 1, TODAY, 3, TODAY, TODAY, TODAY + 5],
        ),
        (1, [0, 1], 6, &[3, TODAY, 0]),
    ] {
        let [cost, callers] = runs;
        let words = format!("0 1 log 3 100 {tells} 9 1 {cost} {callers}");
        let words: Vec<_> = words.split(' ').map(str::to_owned).collect();
        let reply = machine.run(QUOTAS, TODAY + now, &key, &words).await;
        let reply = ints(reply);
        assert_eq!((reply[0], &reply[1..]), (TODAY + now, expected));
    }
}

#[tokio::test]
async fn numbers_stay_exact_at_their_largest() {
    let mut machine = Machine::start().await;
    let century = 100 * 31_557_600 * 1_000_000 / 10;
    let run = |cost, callers| [(cost, callers)];
    for window in [(MOST, century), (MOST, 1)] {
        machine.command(&["FLUSHALL"]).await;
        let all = [quota("window", MOST, window.1, 0)];
        for (runs, before) in [
            (run(MOST - 1, 3), 0),
            (run(MOST, 1), MOST - 1),
            (run(1, 1), MOST - 1),
            (run(1, i64::MAX), MOST),
            (run(0, 1), MOST),
        ] {
            let reply = machine.window(TODAY, window, &runs).await;
            assert_eq!(ints(reply)[..2], [TODAY, before], "{runs:?}");
            let reply = machine.quotas(TODAY, &all, &runs).await;
            assert_eq!(ints(reply)[..2], [TODAY, before], "{runs:?}");
        }
        machine.refund(TODAY, &all, MOST - 1).await;
        let reply = machine.quotas(TODAY, &all, &run(0, 1)).await;
        assert_eq!(ints(reply)[..2], [TODAY, 1]);
    }
    for (limit, length, burst) in [(1, MOST, 1), (MOST, 1, MOST), (7, MOST / 9, 9)] {
        machine.command(&["FLUSHALL"]).await;
        let all = [quota("cells", limit, length, burst)];
        machine.quotas(TODAY, &all, &run(burst, 5)).await;
        let reply = ints(machine.quotas(TODAY, &all, &run(1, 1)).await);
        assert_eq!(reply, [TODAY, burst * length]);
        machine.refund(TODAY, &all, MOST).await;
        let reply = ints(machine.quotas(TODAY, &all, &run(1, 1)).await);
        assert_eq!(reply, [TODAY, 0]);
    }
}

#[tokio::test]
async fn bounds_costs_and_keys_at_every_edge_take_what_they_say() {
    let mut machine = Machine::start().await;
    let step = (TODAY / 100).to_string();
    let long = format!("{{{}}}", "k".repeat(510));
    for key in ["", "{}", &long] {
        for (bound, granted) in [
            (i64::MIN, 0),
            (-1, 0),
            (0, 0),
            (1, 1),
            (MOST as i64, 1),
            (i64::MAX, 1),
        ] {
            machine.command(&["FLUSHALL"]).await;
            let keys = [key.to_owned()];
            let bound_text = bound.to_string();
            let words = ["100", &step, "0", "1", "1", &bound_text, "1"].map(str::to_owned);
            let reply = machine.run(WINDOW, TODAY, &keys, &words).await;
            assert_eq!(ints(reply), [TODAY, 1]);
            let words = [
                "100",
                &step,
                "0",
                "0",
                "0",
                &bound.to_string(),
                "2",
                "0",
                "1",
                "1",
                "1",
            ];
            let words = words.map(str::to_owned);
            let reply = machine.run(WINDOW, TODAY, &keys, &words).await;
            assert_eq!(ints(reply), [TODAY, granted], "{bound}");
        }
    }
    // No callers, no runs, no calls.
    for words in [
        &["100", &step, "0", "0", "0", "5", "1", "1", "0"][..],
        &["100", &step, "0", "0", "0", "5", "0"],
        &["100", &step, "0", "0"],
    ] {
        machine.command(&["FLUSHALL"]).await;
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        let keys = [name("w", 0)];
        let keys = &keys[..usize::from(words.len() > 4)];
        machine.run(WINDOW, TODAY, keys, &words).await;
        assert_eq!(machine.command(&["DBSIZE"]).await, Value::Int(0));
    }
}

#[tokio::test]
async fn a_key_that_holds_something_else_spoils_its_own_call_alone() {
    let mut machine = Machine::start().await;
    let spoilt: [&[&str]; 5] = [
        &["SET", "{b}", "not ours"],
        &["SET", "{b}", "9223372036854775807"],
        &["SET", "{b}", ""],
        &["LPUSH", "{b}", "x"],
        &["HSET", "{b}", "x", "y"],
    ];
    let step = (TODAY / 100).to_string();
    for spoil in spoilt {
        machine.command(&["FLUSHALL"]).await;
        machine.command(spoil).await;
        let keys = ["{a}", "{b}", "{c}", "{d}", "{b}", "{e}"].map(str::to_owned);
        let words = [
            "100", &step, "0", "1", "1", "5", "3", "0", "5", "1", "2", "1", "0", "5", "1", "1",
            "2", "0", "5", "1", "1", "1",
        ];
        let words = words.map(str::to_owned);
        let reply = machine.run(WINDOW, TODAY, &keys, &words).await;
        let Value::Array(items) = reply else {
            panic!("{reply:?}")
        };
        let ours = |index: usize| matches!(items[index], Value::Int(_));
        let all: Vec<bool> = (0..7).map(ours).collect();
        // A count is huge, and so has no room, before it is foreign.
        let full = spoil[2].starts_with('9');
        assert_eq!(
            all,
            [true, true, false, true, true, full, true],
            "{spoil:?}"
        );
        for (key, count) in [("{a}", 1), ("{c}", 1), ("{d}", 2), ("{e}", 1)] {
            let held = machine.command(&["GET", key]).await;
            assert_eq!(held, Value::BulkString(count.to_string().into()), "{key}");
        }
    }
    for kind in ["window", "log", "cells"] {
        let keys = ["{a}", "{b}"].map(str::to_owned);
        for spoil in ["not ours", "1 x"] {
            machine.command(&["FLUSHALL"]).await;
            machine.command(&["HSET", "{a}", "x", "y"]).await;
            machine.command(&["SET", "{b}", spoil]).await;
            for key in ["{a}", "{b}"] {
                let third = if kind == "window" { step.as_str() } else { "5" };
                let mut words = vec!["0", "1", kind, "5", "100", third, "9"];
                if kind == "window" {
                    words.extend(["0", "0"]);
                }
                words.extend(["1", "1", "1"]);
                let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
                let reply = machine.run(QUOTAS, TODAY, &[key.to_owned()], &words).await;
                assert_eq!(
                    reply,
                    Value::Array(vec![Value::Int(TODAY as i64), Value::Nil])
                );
            }
        }
        let first = step.as_str();
        let words = ["1", kind, "100", "3", "0", "1", first, "3", "0", "1", first];
        let words = words.map(str::to_owned);
        let reply = machine.run(REFUND, TODAY, &keys, &words).await;
        assert_eq!(reply, Value::Int(2));
        assert_eq!(machine.command(&["HLEN", "{a}"]).await, Value::Int(1));
    }
}

#[tokio::test]
async fn nothing_is_taken_beside_a_past_that_is_none_of_ours() {
    let mut machine = Machine::start().await;
    let keys = ["{a}", "{b}"].map(str::to_owned);
    let step = (TODAY / 100).to_string();
    let words = ["100", &step, "0", "0", "1", "9", "1", "1", "1"].map(str::to_owned);
    for (past, taken) in [
        ("7", true),
        ("x", false),
        ("-1", false),
        ("1.5", false),
        ("nan", false),
        ("-inf", false),
    ] {
        machine.command(&["FLUSHALL"]).await;
        machine.command(&["SET", "{b}", past]).await;
        machine.run(WINDOW, TODAY, &keys, &words).await;
        let count = machine.command(&["GET", "{a}"]).await;
        assert_eq!(count != Value::Nil, taken, "{past}: {count:?}");
    }
}

#[tokio::test]
async fn a_clock_that_was_set_back_holds_nobody_for_longer_than_a_window() {
    let mut machine = Machine::start().await;
    let earlier = TODAY - 3_600_000_000;
    let quotas = [
        (quota("log", 5, 1000, 0), 1000),
        (quota("cells", 1, 1000, 5), 5000),
        (quota("window", 5, 1000, 0), 11_000),
    ];
    for (quota, longest) in quotas {
        machine.command(&["FLUSHALL"]).await;
        for (now, limit_reached) in [(TODAY, true), (earlier, quota.kind != "window")] {
            let reply = ints(machine.quotas(now, &[quota], &[(5, 2)]).await);
            let reply_after = ints(machine.quotas(now, &[quota], &[(1, 1)]).await);
            let used = |reply: &[u64]| reply[1] > 0;
            assert!(used(&reply_after), "{quota:?}");
            // Counts of steps to come are not seen: the quota is granted once more.
            assert_eq!(used(&reply), limit_reached && now == earlier, "{quota:?}");
        }
        let reply = ints(machine.quotas(earlier + longest, &[quota], &[(5, 1)]).await);
        assert_eq!(reply[1], 0, "{quota:?}");
    }
}
