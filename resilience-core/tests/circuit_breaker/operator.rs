use std::{
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use resilience_core::{
    Environment, Event, ManualClock, Measured, Outcome, Reason,
    circuit_breaker::{CircuitBreaker, Mode, OpenWait, Phase, Policy, Window},
};

use crate::{Circuit, SECOND, fragile};

#[test]
fn forcing_open_beats_probes_that_are_out() {
    let circuit = Circuit::fragile();
    circuit.fail(1).advance(SECOND);
    let probe = circuit.try_acquire().unwrap();
    circuit.force_open().unwrap();
    probe.settle(Outcome::Success);
    circuit.advance(SECOND * 3_600).is(Phase::ForcedOpen);
    assert_eq!(circuit.refused().reason(), Reason::CircuitForcedOpen);
    assert_eq!(circuit.retry_after(), None);
}

#[test]
fn closing_by_hand_ends_an_open_wait_and_empties_the_window() {
    let circuit = Circuit::fragile();
    circuit.fail(1).is(Phase::Open);
    circuit.force_closed().unwrap();
    assert_eq!(circuit.snapshot().calls, 0);
    circuit.succeed(1).is(Phase::Closed);
}

#[test]
fn a_forced_open_circuit_can_be_probed() {
    let circuit = Circuit::fragile();
    circuit.force_open().unwrap();
    circuit.force_half_open().unwrap();
    assert_eq!(circuit.snapshot().permits_left, 1);
    circuit.advance(SECOND).is(Phase::Open);
}

#[test]
fn opening_for_no_time_leaves_probes_the_usual_time() {
    let circuit = Circuit::fragile();
    circuit.open_for(Duration::ZERO).unwrap();
    let probe = circuit.try_acquire().unwrap();
    circuit.is(Phase::HalfOpen);
    probe.settle(Outcome::Success);
    circuit.is(Phase::Closed);
}

#[test]
fn a_breaker_that_only_looks_on_cannot_be_opened() {
    let shadow = Circuit::new(fragile().mode(Mode::Shadow));
    let illegal = shadow.force_open().unwrap_err();
    assert_eq!(
        (illegal.from(), illegal.to()),
        (Phase::Closed, Phase::ForcedOpen)
    );
    assert_eq!(
        illegal.to_string(),
        "a circuit that is closed cannot become forced_open"
    );
    assert!(shadow.open_for(SECOND).is_err());
    assert!(shadow.force_closed().is_ok());
    let disabled = Circuit::new(fragile().mode(Mode::Disabled));
    assert!(disabled.force_open().is_err() && disabled.force_closed().is_err());
    assert!(shadow.entered().is_empty() && disabled.entered().is_empty());
}

#[test]
fn a_new_policy_takes_effect_at_once_and_keeps_what_the_window_holds() {
    let policy = Policy::new("p").window(Window::count(10)).min_calls(10);
    let circuit = Circuit::new(policy.clone());
    circuit.succeed(6).fail(4).is(Phase::Closed);
    circuit
        .reconfigure(policy.clone().failure_rate(0.3))
        .unwrap();
    circuit.is(Phase::Closed).succeed(1).is(Phase::Open);

    let circuit = Circuit::new(policy.clone());
    circuit.succeed(6).fail(4);
    circuit
        .reconfigure(policy.window(Window::count(20)))
        .unwrap();
    assert_eq!(circuit.snapshot().calls, 0);
}

#[test]
fn a_new_policy_is_checked_and_keeps_the_name() {
    let circuit = Circuit::fragile();
    let field = |policy| circuit.reconfigure(policy).unwrap_err().field();
    assert_eq!(field(Policy::new("other")), "name");
    assert_eq!(field(Policy::new("fragile").min_calls(0)), "min_calls");
}

#[test]
fn a_change_of_mode_is_a_transition() {
    let circuit = Circuit::fragile();
    circuit.fail(1).is(Phase::Open);
    circuit.reconfigure(fragile().mode(Mode::Shadow)).unwrap();
    circuit.fail(10).is(Phase::Closed);
    circuit.reconfigure(fragile().mode(Mode::Disabled)).unwrap();
    circuit.fail(10).is(Phase::Disabled);
    circuit.reconfigure(fragile()).unwrap();
    circuit.is(Phase::Closed).fail(1).is(Phase::Open);
    let entered = [
        Phase::Open,
        Phase::Closed,
        Phase::Disabled,
        Phase::Closed,
        Phase::Open,
    ];
    assert_eq!(circuit.entered(), entered);
}

#[test]
fn a_shadow_that_is_told_to_enforce_opens_with_the_next_vote() {
    let circuit = Circuit::new(fragile().mode(Mode::Shadow));
    circuit.fail(3).is(Phase::Closed);
    circuit.reconfigure(fragile()).unwrap();
    circuit.fail(1).is(Phase::Open);
}

#[test]
fn an_observer_may_use_the_breaker_and_hears_everything_in_order() {
    let (breaker, heard) = (Arc::new(OnceLock::new()), Arc::new(Mutex::new(vec![])));
    let (inner, ear) = (breaker.clone(), heard.clone());
    let observer = move |event: &Event<'_>| {
        let Event::PhaseChanged { to, .. } = *event else {
            return;
        };
        ear.lock().unwrap().push(to);
        let breaker: &CircuitBreaker = inner.get().unwrap();
        match to {
            Phase::Open => breaker.force_half_open().unwrap(),
            Phase::HalfOpen => breaker.try_acquire().unwrap().settle(Outcome::Success),
            _ => assert_eq!(breaker.snapshot().phase, Phase::Closed),
        }
    };
    let environment = Environment::new()
        .clock(ManualClock::new())
        .observer(observer);
    let _ = breaker.set(CircuitBreaker::new_in(fragile(), &environment).unwrap());
    breaker
        .get()
        .unwrap()
        .try_acquire()
        .unwrap()
        .settle(Outcome::Failure);
    let order = [Phase::Open, Phase::HalfOpen, Phase::Closed];
    assert_eq!(*heard.lock().unwrap(), order);
}

#[test]
fn each_refusal_is_an_event() {
    let heard = Arc::new(Mutex::new(vec![]));
    let ear = heard.clone();
    let environment =
        Environment::new()
            .clock(ManualClock::new())
            .observer(move |event: &Event<'_>| {
                if let Event::Rejected(rejected) = event {
                    ear.lock().unwrap().push((*rejected).clone());
                }
            });
    let breaker = CircuitBreaker::new_in(fragile(), &environment).unwrap();
    breaker.try_acquire().unwrap().settle(Outcome::Failure);
    let refused = [(); 3].map(|()| breaker.try_acquire().unwrap_err());
    assert_eq!(*heard.lock().unwrap(), refused);
    assert_eq!(refused[0].policy(), "fragile");
}

#[test]
fn an_observer_that_panics_harms_nobody() {
    let environment = Environment::new()
        .clock(ManualClock::new())
        .observer(|_: &Event<'_>| panic!("a broken listener"));
    let breaker = CircuitBreaker::new_in(fragile(), &environment).unwrap();
    breaker.try_acquire().unwrap().settle(Outcome::Failure);
    assert!(breaker.try_acquire().is_err());
    breaker.force_closed().unwrap();
    breaker.try_acquire().unwrap().settle(Outcome::Success);
    assert_eq!(breaker.snapshot().transitions_total, 2);
}

#[test]
fn every_call_is_in_exactly_one_figure() {
    let circuit = Circuit::new(Policy::new("p").min_calls(4).open(OpenWait::fixed(SECOND)));
    let late = circuit.try_acquire().unwrap();
    circuit
        .succeed(2)
        .fail(1)
        .calls(1, Outcome::Overload { retry_after: None });
    late.settle(Outcome::Success);
    circuit.refused();
    circuit.advance(SECOND);
    drop(circuit.try_acquire().unwrap());
    let mut figures = vec![];
    circuit.measure(&mut |sample| {
        assert!(circuit.instruments().contains(&sample.instrument));
        assert_eq!(sample.label.is_some(), sample.instrument.label.is_some());
        figures.push((sample.instrument.name, sample.label, sample.value));
    });
    let of = |name: &str, label: Option<&str>| {
        let name = format!("resilience.circuit_breaker.{name}");
        let mut found = figures
            .iter()
            .filter(|figure| figure.0 == name && figure.1 == label);
        let value = found.next().unwrap().2;
        assert!(found.next().is_none());
        value
    };
    assert_eq!(of("calls", Some("success")), 3);
    assert_eq!(of("calls", Some("failure")), 1);
    assert_eq!(of("calls", Some("overload")), 1);
    assert_eq!(of("calls", Some("canceled")), 1);
    assert_eq!(of("rejected", None), 1);
    assert_eq!(of("transitions", None), 2);
    assert_eq!(of("state", Some("half_open")), 1);
    assert_eq!(of("state", Some("closed")), 0);
}
