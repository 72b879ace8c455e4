//! Rules that circuits may have.

use std::time::Duration;

use proptest::prelude::*;
use resilience_core::circuit_breaker::{Mode, OpenWait, Policy, Window};

use super::{Setup, Share, Votes};

impl Setup {
    pub(super) fn policy(&self) -> Policy {
        let nanos = Duration::from_nanos;
        let rate = |(part, whole): Share| part as f64 / whole as f64;
        let (first, longest) = (nanos(self.first_wait), nanos(self.longest_wait));
        let mut policy = Policy::new("model")
            .window(match self.window {
                Votes::Last(calls) => Window::count(calls),
                Votes::Within { length, buckets } => Window::time(nanos(length), buckets),
            })
            .min_calls(self.min_calls)
            .no_failure_rate()
            .half_open_permits(self.permits)
            .open(OpenWait::exponential(
                first,
                f64::from(self.factor),
                longest,
            ))
            .mode(self.mode)
            .recovery_ramp(nanos(self.ramp))
            .max_retry_after(nanos(self.max_retry_after));
        if let Some(share) = self.failure_rate {
            policy = policy.failure_rate(rate(share));
        }
        if let Some((after, share)) = self.slow_calls {
            policy = policy.slow_calls(nanos(after), rate(share));
        }
        if let Some(failures) = self.consecutive_failures {
            policy = policy.consecutive_failures(failures);
        }
        if let Some(wait) = self.max_wait {
            policy = policy.half_open_max_wait(nanos(wait));
        }
        policy
    }
}

pub(super) fn setup() -> impl Strategy<Value = Setup> {
    let window = prop_oneof![
        (1_u32..12).prop_map(Votes::Last),
        Just(Votes::Last(70)),
        (6_u64..60, 1_u32..6).prop_map(|(length, buckets)| Votes::Within { length, buckets }),
    ];
    let mode = prop_oneof![
        8 => Just(Mode::Enforce),
        3 => Just(Mode::Shadow),
        1 => Just(Mode::Disabled),
    ];
    let signals = (
        proptest::option::weighted(0.8, share()),
        proptest::option::weighted(0.4, (1_u64..8, share())),
        proptest::option::weighted(0.3, 1_u32..5),
    );
    let waits = (
        1_u64..20,
        1_u32..4,
        0_u64..100,
        proptest::option::of(1_u64..20),
    );
    let rest = (
        1_u32..8,
        1_u32..5,
        prop_oneof![2 => Just(0), 1 => 1_u64..40],
        0_u64..50,
    );
    (window, mode, signals, waits, rest).prop_map(|(window, mode, signals, waits, rest)| Setup {
        window,
        min_calls: rest.0,
        failure_rate: signals.0,
        slow_calls: signals.1,
        consecutive_failures: signals.2,
        permits: rest.1,
        max_wait: waits.3,
        first_wait: waits.0,
        factor: waits.1,
        longest_wait: waits.0 + waits.2,
        mode,
        ramp: rest.2,
        max_retry_after: rest.3,
    })
}

fn share() -> impl Strategy<Value = Share> {
    (1_u64..=10).prop_flat_map(|whole| (1..=whole, Just(whole)))
}
