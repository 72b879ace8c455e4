use std::collections::BTreeMap;

use resilience_core::rate_limit::{self, Algorithm, Policy};

use super::{super::rules::rules, *};

/// A quota as a server counts it, in microseconds, asked at one instant after the other.
enum Model {
    Window {
        step: u64,
        counts: BTreeMap<u64, u64>,
    },
    Log {
        length: u64,
        times: Vec<u64>,
    },
    Cells {
        length: u64,
        level: u64,
        at: u64,
    },
}

impl Model {
    /// When there is room, from `now` on.
    fn room(&self, rule: &Rule, cost: u64, now: u64) -> u64 {
        let room = match self {
            Self::Window { step, counts } => {
                let used = |it: u64| counts.range(it - PAST as u64..=it).map(|(_, count)| count);
                let mut steps = now / step..;
                let room = steps.find(|it| used(*it).sum::<u64>() + cost <= rule.limit());
                room.map(|it| it * step)
            }
            Self::Log { length, times } => {
                let mut ends = [now].into_iter().chain(times.iter().map(|it| it + length));
                let used = |at: u64| times.iter().filter(move |it| **it + length > at).count();
                ends.find(|at| *at >= now && used(*at) as u64 + cost <= rule.limit())
            }
            Self::Cells { length, level, at } => {
                let most = (rule.burst() - cost) * length;
                let drains = level.saturating_sub(most).div_ceil(rule.limit());
                Some(at + drains)
            }
        };
        room.expect("in the end").max(now)
    }

    fn take(&mut self, rule: &Rule, cost: u64, now: u64) {
        match self {
            Self::Window { step, counts } => *counts.entry(now / *step).or_default() += cost,
            Self::Log { times, .. } => times.extend((0..cost).map(|_| now)),
            Self::Cells { length, level, at } => {
                *level = level.saturating_sub((now - *at) * rule.limit()) + cost * *length;
                *at = now;
            }
        }
    }

    /// What the server tells of it.
    fn before(&self, now: u64) -> Before<'_> {
        match self {
            Self::Window { step, counts } => {
                let count = |age| counts.get(&(now / step - age)).copied().unwrap_or(0);
                let past: Vec<u64> = (1..=PAST as u64).map(count).collect();
                let mut window = Window::default();
                window.learn(now / step, count(0), &past);
                Before::Window(window)
            }
            Self::Log { times, .. } => Before::Log {
                used: times.len() as u64,
                oldest: times.first().copied().unwrap_or(0),
                short: &[],
                times,
            },
            Self::Cells { level, .. } => Before::Cells { level: *level },
        }
    }
}

/// A quota, and what was taken of it up to `now`.
fn quota(random: &mut fastrand::Rng, millis: u64, now: u64) -> (rate_limit::Quota, Model) {
    let (limit, length) = (random.u64(1..12), millis * 1000);
    let quota = rate_limit::Quota::new(limit, Duration::from_millis(millis));
    let mut times: Vec<u64> = (0..random.u64(..=limit))
        .map(|_| now - random.u64(..length))
        .collect();
    times.sort_unstable();
    match random.u8(..3) {
        0 => {
            let (step, mut counts) = (length / 10, BTreeMap::new());
            for time in times {
                *counts.entry(time / step).or_default() += 1;
            }
            (quota, Model::Window { step, counts })
        }
        1 => {
            let quota = quota.algorithm(Algorithm::SlidingLog);
            (quota, Model::Log { length, times })
        }
        _ => {
            let (level, at) = (random.u64(..=limit * length), now);
            let cells = Model::Cells { length, level, at };
            (quota.algorithm(Algorithm::Gcra), cells)
        }
    }
}

/// Who is refused at once would have waited as long in vain: nobody who comes while others wait
/// can be served sooner, if all who wait take what leaves as soon as it does.
#[test]
fn nobody_is_told_a_later_time_than_he_has_room_at() {
    let sent = Timestamp::from_nanos(7);
    let mut exact = [0_u32; 2];
    for seed in 0..1000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let now = 1_763_800_000_000_000 + random.u64(..100_000);
        let mut models = Vec::new();
        let mut policy = None::<Policy>;
        // Of different lengths, so that no two are the same.
        for millis in (10..).step_by(7).take(random.usize(1..4)) {
            let (quota, model) = quota(&mut random, millis, now);
            models.push(model);
            policy = Some(match policy {
                None => Policy::new("test", quota),
                Some(policy) => policy.and(quota),
            });
        }
        let terms = policy.expect("a quota").terms().expect("valid");
        let rules = rules(&terms.quotas).expect("valid");
        let most = rules.iter().map(Rule::burst).min().expect("a quota");
        let before: Vec<_> = models.iter().map(|model| model.before(now)).collect();
        let outlook = Outlook::new(&rules, (&before, 0), (sent, now));
        let dearest = random.u64(1..=most);
        let (mut ahead, mut time) = (0, now);
        for _ in 0..20 {
            let cost = random.u64(1..=dearest);
            let told = outlook.verdict(ahead, cost, sent).wait;
            let room = |time| {
                let quotas = models.iter().zip(&rules);
                let times = quotas.map(|(model, rule)| model.room(rule, cost, time));
                times.max().filter(|later| *later > time)
            };
            while let Some(later) = room(time) {
                time = later;
            }
            let waits = Duration::from_micros(time - now);
            assert!(told <= waits, "{told:?} and not {waits:?}, seed {seed}");
            let is_exact = waits - told < Duration::from_micros(1);
            if dearest == 1 && rules.len() == 1 {
                assert!(is_exact, "{told:?} and not {waits:?}, seed {seed}");
            }
            exact[usize::from(is_exact)] += 1;
            for (model, rule) in models.iter_mut().zip(&rules) {
                model.take(rule, cost, time);
            }
            ahead += cost;
        }
    }
    // Several quotas, and callers who want many units, take longer than each by itself.
    let [sooner, exact] = exact;
    assert!(sooner > 1000 && exact > 5000, "{sooner} and {exact}");
}
