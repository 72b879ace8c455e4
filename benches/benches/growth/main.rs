//! How costs grow: with the calls in a window, with keys, with the bits of a filter, with those
//! who wait for one load; and what is kept of each.

mod bits;
mod keys;
mod memory;
mod waiters;
mod window;

use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    window::bench(&mut criterion);
    keys::bench(&mut criterion);
    bits::bench(&mut criterion);
    waiters::bench(&mut criterion);
    criterion.final_summary();
    memory::measure();
}

/// Powers of ten.
fn decades(from: u32, to: u32) -> impl Iterator<Item = u64> {
    // Where only a run is to be seen, the first says as much as all.
    let to = if benches::smoke() { from } else { to };
    (from..=to).map(|exponent| 10_u64.pow(exponent))
}
