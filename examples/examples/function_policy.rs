//! The same engines around any future, without Tower: `cargo run -p ordering --example function_policy`
//!
//! For SQL, queues and SDKs: whatever is a function and can be asked too much, or fail.

use std::{error::Error, time::Duration};

use resilience_core::{
    BoxError, CircuitBreaker, RateLimiter, Results, circuit_breaker,
    concurrency::{self, Bulkhead},
    rate_limit::{self, Quota},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let cooks = concurrency::Policy::new("cooks", 2)
        .queue(10)
        .max_wait(Duration::from_secs(1));
    let cooks = Bulkhead::new(cooks)?;
    let oven = CircuitBreaker::new(circuit_breaker::Policy::tripping_after("oven", 3))?;
    let guests = rate_limit::Policy::new("guests", Quota::per_minute(6));
    let guests: RateLimiter<String> = RateLimiter::new(guests)?;

    for order in 1..=8 {
        if let Err(rejected) = guests.try_take("ada") {
            println!("order {order}: {rejected}");
            continue;
        }
        // A cook is taken first: the oven hears of what was baked and of nothing else. Around one
        // layer `call` does; `call_with` nests, and one error type carries what each has to say.
        let baked = cooks.call_with(Results, || oven.call_with(Results, || bake(order)));
        match baked.await {
            Ok(dish) => println!("order {order}: {dish}"),
            Err(error) => println!("order {order}: {error}"),
        }
    }
    println!("{:?}", oven.snapshot());
    Ok(())
}

/// The first two succeed, then the gas is out.
async fn bake(order: u32) -> Result<&'static str, BoxError> {
    if order <= 2 {
        Ok("a cake")
    } else {
        Err("the oven is cold".into())
    }
}
