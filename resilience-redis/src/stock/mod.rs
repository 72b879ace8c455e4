//! Units that a fleet reserves and sells, counted ahead of the database.
//!
//! Of a dish that everybody wants, most buyers get none. When each of them asks the database, those
//! who come too late cost as much as those who buy, and all wait in one line. A [`Stock`] keeps the
//! counts in memory: it refuses whoever comes too late, and lets so many through as there are units.
//!
//! ```no_run
//! use resilience_redis::{RedisStore, Settings, stock};
//!
//! # async fn sell_in_database(order: &str) -> bool { true }
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let store = RedisStore::connect("redis://127.0.0.1:6379", Settings::new()).await?;
//! let dishes = store.stocks(&stock::Policy::new("dishes"))?.stock("kitchen 7");
//! dishes.fill([(1_u64, 50), (2, 12)]).await?; // what the database says, for as long as that is good
//!
//! match dishes.reserve("order 42", &[(1_u64, 2)]).await {
//!     Err(stock::Error::SoldOut { left, .. }) => println!("{left} left"),
//!     Ok(_) if sell_in_database("order 42").await => drop(dishes.confirm("order 42").await?),
//!     Ok(_) => drop(dishes.release("order 42").await?),
//!     // Whatever else is the matter: the database decides.
//!     Err(_) => drop(sell_in_database("order 42").await),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Who decides
//!
//! The database does, by a conditional update: `UPDATE … SET stock = stock - $2 WHERE id = $1 AND
//! stock >= $2`. A server that fails over, restarts or is flushed has forgotten reservations, and
//! then lets through more than there are; the database refuses them. So:
//!
//! - *Nothing is sold twice*, whatever becomes of the counts, as long as each sale is an update of
//!   the database that cannot go below zero.
//! - *Counts that are missing are [`Error::Unknown`]*, neither none left nor any number: ask the
//!   database, and [`fill`](Stock::fill) them.
//! - *Counts are believed for a time* ([`Policy::life`]), then they are unknown again. They can be too
//!   high by what was under way while they were read, which costs the database a refusal for each,
//!   and too low by what came back and was not told, until that time is over.
//!
//! # An order
//!
//! All of its items are reserved in one step or none of them. It is known by its id: reserved,
//! confirmed or released again, it answers what it did the first time. A reservation that is neither
//! confirmed nor released expires, and its units are back.
//!
//! ```text
//! reserve ──▶ reserved ──confirm──▶ confirmed (sold)
//!                ├───────release──▶ released  (units back)
//!                └──────too late──▶ expired   (units back) ──confirm──▶ confirmed (units taken again)
//! ```
//!
//! All items of one stock live on one server, so that they can be taken together. A fleet that sells
//! more than one server counts (about 100 000 orders a second) has a stock for each kitchen.
//!
//! # Panics
//!
//! Calls keep their deadlines by the runtime of their caller, and panic where that is none of
//! Tokio's or has no time driver (`enable_time`).
//!
//! # Cancellation
//!
//! A reservation whose caller went away or whose answer was lost expires. Each call looks after two
//! orders that are due, and after a hundred before it says "sold out": no task need run for that.
//! [`Stock::reap`] does it where nobody reserves.
//!
//! # Sharing
//!
//! Stocks of one name and key are the same where server, database and prefix are.

mod error;
mod items;
mod measure;
mod orders;
mod policy;
mod reply;
mod scripts;
mod stocks;

pub use self::{
    error::Error,
    measure::Snapshot,
    policy::Policy,
    reply::{Confirmed, End, Filled, Once, Reaped},
    stocks::{Stock, Stocks},
};
