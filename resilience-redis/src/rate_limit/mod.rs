//! Rate limits that a whole fleet shares: what a client may do does not grow with the number of
//! your servers, and does not start anew on the next one.
//!
//! Not for a limit that protects one process from overload: that is nobody else's business, and
//! the limits in `resilience_core` decide it without a network in between.
//!
//! # In place of a limit in memory
//!
//! One line makes the limiter: `store.rate_limiter(&policy)?` in place of `RateLimiter::new(policy)?`.
//! `layer`, `layer_by` and `layer_with` are the same, and so is what they answer. Whoever asks without
//! a layer awaits the answer; a [`refund`](RateLimiter::refund) is awaited as well, since units are
//! back when the server has heard of it, and it says where that failed.
//!
//! For keys in [tiers](Policy::tier) it is `store.rate_limiter_with_tiers(&policy, &options, tier_of)?`
//! in place of `RateLimiter::with_tiers(policy, &environment, tier_of)`. A quota is known by its window
//! and algorithm: a key that moves to a tier of the same window and algorithm has used there what it
//! used before, as in memory; where they differ, each has counts of its own, which stay as they are.
//!
//! # A quota of all keys
//!
//! The counts of a key and those of [all keys](Policy::global) may stand on different servers of a
//! cluster. So the key's quotas are asked first and, where they have room, that of all keys: two round
//! trips under one deadline, where no [lease](Options::lease_up_to) makes them less. Where all keys
//! have no room what the key gave goes back, so that neither limit is ever exceeded; until it is back,
//! for a round trip, another call of the same key may be refused for want of it, and in another process
//! for up to a second. A call that is refused for its own key takes nothing of all keys, and where it is
//! known that all is used up no key is asked.
//!
//! What is told of a call that was admitted is where the tightest quota stands, the key's where both
//! have as few left; [`Decision::source`] is [`Source::Degraded`] where this process decided for either,
//! else [`Source::Redis`] where either was asked, else [`Source::Lease`]. A refusal tells of the first
//! that has no room: the other may ask for a longer wait.
//!
//! Who [waits](#waiting) waits for room for both, and holds nothing meanwhile: where all keys have none,
//! what his key gave goes back, and is asked for anew when it is his turn; where others took it by then
//! he waits for his key once more. Callers come into the line of all keys as their keys have answered.
//! Of one key no more wait there than the key has room for in time, so that none fills the line; what
//! comes beyond that is refused.
//!
//! The key counts units when it gave them, [leased](Options::lease_up_to) ones too, and they are used when
//! all keys have answered: a round trip later, and at most as late as the deadline of a call that does not
//! wait. One that may wait holds them while others before it in the line of all keys are asked for, but for
//! that deadline and an eighth at most: then they go back, and when all keys have given theirs the key is
//! asked anew, for as long as that at most as well. While a question under way is its own it holds them
//! until it hears: for one question, or a few where the first is not answered in time or others took the
//! room meanwhile. By so much, a deadline and an eighth and what its questions take, may units that count in
//! one step of a window be used in a later one. Where Redis is silent such a call hears so after two
//! deadlines for each of the two.
//!
//! # Waiting
//!
//! Up to [`Policy::max_wait`] a call over its quota waits for its units, through a layer and with
//! [`take`](RateLimiter::take); who would have to wait longer, as far as is known, is refused at once and
//! takes nothing. In one process whoever comes first is served first, whatever each costs, and no
//! more callers of a key wait than get their units in time. Of several quotas each is reckoned by
//! itself: what one holds up leaves the others later, and who waits for it may be refused when his time
//! is over; nobody is refused at once who would have got his units in time.
//!
//! Units are booked for nobody: those of a window are free for all processes at once when it ends, and
//! others may take what one waits for. He then goes on waiting, and is refused when his time is over.
//! Between processes no order is kept; one that waits for many units at once can wait in vain while others
//! take single ones. Who waits for a key asks when there is to be room and, since units may come back
//! sooner, once in each tenth of the window: after 100 ms at least, and after a second at most. While
//! the server gives no decision, those who wait are decided as all others when there was to be room.
//! Who comes, may wait and hears nothing by the deadline is asked for once more before this process
//! decides: so a stall of a moment refuses nobody who comes and has time, where Redis is silent he hears so
//! after two deadlines, and what the first question took for him is taken in vain.
//! Units of a sliding window that somebody waited for are taken as a tenth of it begins, and come back
//! after 1.1 windows.
//!
//! # Algorithms
//!
//! Those of `resilience_core`, by the same [`Policy`]. A [sliding window](Algorithm::SlidingWindow)
//! is cut into ten steps; the present one and the ten before it are counted whole. So *no* window
//! of the quota's length ever holds more than its limit, wherever it begins; in return a unit comes
//! back up to a tenth of the window late. An [exact log](Algorithm::SlidingLog) writes every unit
//! down, for limits up to 1000. [`Gcra`](Algorithm::Gcra) counts in whole microseconds. Of several
//! quotas all are taken from, or none.
//!
//! # Time
//!
//! The clock is the server's own, read by the script that decides. What clocks the callers have is
//! of no account: they only guess at the step that the server is in, and where the guess is wrong
//! the server does nothing and says what time it is. If somebody sets the *server's* clock, or a
//! server takes over whose clock is another, each quota may be granted once more. Nobody is held back
//! longer than a window and a tenth, or twice that where a clock was set back: units that were taken at
//! a time that comes again count once more then.
//!
//! # Cost
//!
//! Calls that are under way together share a round trip, and those of one key one increment; they
//! are served in the order in which they came. A key that is known to be used up is refused here,
//! without a question, until the time that the server named, and so is whoever wants more than it had
//! no room for; but since units that were taken elsewhere may come back sooner, one call asks after
//! each tenth of the window: after 100 ms at least, and after a second at most.
//!
//! A call of one window that comes alone, to a key that has used less than half of what it may, takes
//! its units by two plain commands instead of a script, which is what the server needs longest for
//! then; in a cluster, and where units may be taken ahead, it is a script as well. Where the answer is
//! not what was hoped for the units go back, and the script decides: other callers may find less room
//! for as long as that takes, and never more.
//!
//! On the server, a key of a sliding window has a counter of 72 bytes for each step in which it took
//! something, where its name has up to 30 bytes, else some more; each is gone by itself after 1.1
//! windows. In this process [`Policy::capacity`] keys are remembered, at about 550 bytes each, and 750
//! where it is used up; one that is forgotten costs a longer question and nothing else. Of each tier
//! there may be as many.
//!
//! # Leases
//!
//! [`Options::lease_up_to`] lets a process take units of a busy key ahead of its callers, who then
//! need no question. The limit stays as strict: such a unit counts on the server from when it was
//! taken, and is used in the same step of the window or not at all. What time it is on the server is
//! reckoned from its last answer, and the latest that it can be is believed, also where the two clocks
//! drift apart by up to a millisecond in a second. Only if they do so faster, or somebody sets the
//! server's clock, may what was taken be counted at another time than it is used: by as much as they
//! drift apart in a step, or for as long as a step. What is not used goes back; until then other processes may refuse for want of it.
//!
//! # Without Redis
//!
//! What holds while the server gives no decision says [`Fallback`]: by default each process allows its
//! part of the quota. [`Decision::source`] and [`Decision::error`] say when that was.
//!
//! # Sharing
//!
//! Limiters of one name share their counts if their stores share server, database and prefix,
//! whatever process they are in. A quota is known by its window and algorithm: a limit can be changed
//! from one process to the next, and what was taken stays taken.
//!
//! # Cancellation
//!
//! A call that is dropped takes nothing: what it was granted meanwhile goes back, and one that
//! waits holds nobody up. Where the server cannot be heard, units may stay taken that nobody was
//! granted; they come back with the window.

// Words of the code behind this, from the caller to the server:
//
// engine      decides for the keys of one tier, of none, or for all keys together
// entry       one key: its name on the server, its line, and what is left of a loan
// line        the callers of one key, in the order in which they came, and what is known of it
// place       where one of them stands until he has an answer
// waiters     those of them who have time and for whom there is no room yet
// lease       units of a key that were taken ahead of its callers
// denial      a refusal that holds until a time that the server named
// loan        what a line lends, units or a refusal, to who comes next and need not lock it then
// front       where a loan is used: in the table of keys, under the lock that it has anyway
// told        what a caller hears, and what it takes to take that back
// question    what is asked about one line; a run of it are callers in a row who want the same
// batch       the questions about many keys in one call of a script; a call of it is that about one
// lane        the way of an engine's questions to the server
// flight      a task that asks one batch after the other; it boards entries, is away, and lands
// departures  the entries that wait for a flight, and how many are under way
// stand       where a flight that found nothing to ask waits for who comes next
// share       what this process may allow while the server gives no decision
// part        a share of one quota
// stake       the parts of a share that are one engine's
// own         when this process allowed units of a key by itself, which the server does not count

// What users hold and read.
mod decision;
mod layer;
mod limiter;
mod measure;
mod options;
mod tiers;

// Who decides for their callers, with all that the clones of a limiter share.
mod engine;

// The callers of one key who wait for an answer, and what is known of it meanwhile.
mod line;

// What the server counts of a key, and what follows from that.
mod quota;

// Who asks the server for those in line, and in what words.
mod batch;
mod lane;

// Units that go back.
mod refund;

// What this process may do without the server.
mod fallback;

pub use resilience_core::rate_limit::{Algorithm, Mode, Policy, Quota};

pub use self::{
    decision::{Decision, Source},
    fallback::Fallback,
    layer::{Gate, Layer, Permit, Service, Wait},
    limiter::RateLimiter,
    measure::{BySource, Snapshot},
    options::Options,
    tiers::{Tiered, Tiers, Untiered},
};
