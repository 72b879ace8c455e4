//! A call that comes alone, beside the same among many.

use redis::Value;

use super::{
    MOST, TODAY, WINDOW,
    machine::{Machine, ints, name, texts},
};

const STEP: u64 = 100;

#[tokio::test]
async fn a_call_that_comes_alone_is_decided_as_one_of_many() {
    let mut machine = Machine::start().await;
    let mut random = fastrand::Rng::with_seed(4);
    let (mut now, mut granted, mut denied, mut elsewhere) = (TODAY, 0, 0, 0);
    for _ in 0..2000 {
        let (units, most) = (random.u64(1..4), random.u64(0..12));
        let named = match random.u8(..8) {
            0 => now / STEP - 1,
            1 => now / STEP + 1,
            _ => now / STEP,
        };
        let words = texts(&[STEP, named, 0, 1, units, most, 1]);
        let keys = [name("many", named)];
        let many = ints(machine.run(WINDOW, now, &keys, &words).await);
        let expected = match many[..] {
            [at, count] if count <= most => {
                granted += 1;
                Value::Int(((count - units) * STEP + at % STEP).cast_signed())
            }
            [at, _] => {
                denied += 1;
                Value::Int(-at.cast_signed())
            }
            _ => {
                elsewhere += 1;
                Value::Int(-many[0].cast_signed())
            }
        };
        let words = packed([STEP, named, most, units]);
        let one = machine
            .run(WINDOW, now, &[name("one", named)], &words)
            .await;
        assert_eq!(one, expected, "now {now}, {units} units of {most}");
        now += random.u64(0..=20);
    }
    assert!(
        granted > 300 && denied > 300 && elsewhere > 300,
        "{granted} {denied} {elsewhere}"
    );
}

#[tokio::test]
async fn what_one_call_takes_is_exact_at_the_largest_numbers() {
    let mut machine = Machine::start().await;
    let long = format!("{{{}}}", "k".repeat(510));
    let century = 100 * 31_557_600 * 1_000_000 / 10;
    for key in ["", "{}", &long] {
        for (length, most, units) in [
            (1, MOST, 1),
            (1, MOST, MOST),
            (century, 2 * MOST / century - 1, 3),
            (century, 2 * MOST / century + 1, 1),
            (century, MOST, MOST - 5),
            (STEP, 0, 1),
            (STEP, 0, MOST),
            (STEP, 5, 5),
        ] {
            machine.command(&["FLUSHALL"]).await;
            let keys = [key.to_owned()];
            let words = packed([length, TODAY / length, most, units]);
            let age = (TODAY % length).cast_signed();
            let reply = machine.run(WINDOW, TODAY, &keys, &words).await;
            let held = machine.command(&["GET", key]).await;
            let count = Value::BulkString(if units <= most { units } else { 0 }.to_string().into());
            assert_eq!(held, count);
            if units > most {
                assert_eq!(reply, Value::Int(-TODAY.cast_signed()));
                continue;
            }
            assert_eq!(reply, Value::Int(age));
            // As full as can be.
            machine
                .command(&["SET", key, &(most - units).to_string()])
                .await;
            let reply = machine.run(WINDOW, TODAY, &keys, &words).await;
            let full = u128::from(most - units) * u128::from(length) + u128::from(TODAY % length);
            let told = match i64::try_from(full) {
                Ok(full) if full < 1 << 53 => Value::Int(full),
                _ => Value::Array(
                    [TODAY, most - units]
                        .map(|it| Value::Int(it.cast_signed()))
                        .into(),
                ),
            };
            assert_eq!(reply, told, "{units} of {most}");
            let reply = machine.run(WINDOW, TODAY, &keys, &words).await;
            assert_eq!(reply, Value::Int(-TODAY.cast_signed()));
            let held = machine.command(&["GET", key]).await;
            assert_eq!(held, Value::BulkString(most.to_string().into()));
        }
    }
}

#[tokio::test]
async fn one_call_says_of_a_key_that_holds_something_else_what_it_is() {
    let mut machine = Machine::start().await;
    let spoilt: [&[&str]; 7] = [
        &["SET", "{a}", "not ours"],
        &["SET", "{a}", "9223372036854775807"],
        &["SET", "{a}", ""],
        &["SET", "{a}", "-1"],
        &["SET", "{a}", "-9223372036854775808"],
        &["LPUSH", "{a}", "x"],
        &["HSET", "{a}", "x", "y"],
    ];
    for spoil in spoilt {
        for units in [1, 2] {
            machine.command(&["FLUSHALL"]).await;
            machine.command(spoil).await;
            let keys = ["{a}".to_owned()];
            let words = packed([STEP, TODAY / STEP, 5, units]);
            let reply = machine.try_run(WINDOW, TODAY, &keys, &words).await;
            let error = reply.expect_err("no count");
            assert_eq!(error.code(), Some("WRONGTYPE"), "{spoil:?}: {error}");
        }
    }
}

/// What a call that comes alone is told in.
fn packed(numbers: [u64; 4]) -> [Vec<u8>; 1] {
    [numbers.map(u64::to_le_bytes).as_flattened().to_vec()]
}
